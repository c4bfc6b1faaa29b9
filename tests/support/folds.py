"""The plainest possible fold, one event after the other: the oracle beside the fast one."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import xxhash

from guardian.lag import delay_bucket
from guardian.sequential.latency import bucket_key
from guardian.summaries import TICK_MS, Arm, FlagSums, Tick, add_counts, add_ticks
from streams.codecs import EXPOSURE, FEEDBACK, OUTCOME, Event


def unit_of(context_id: str) -> int:
    """Return the 52-bit id of a unit."""
    return xxhash.xxh3_64_intdigest(context_id.encode()) >> 12


def plain_sums(events: Iterable[Event], arrival_ms: int, tolerance_ms: int = 5_000) -> dict[str, FlagSums]:
    """Return what a fold must give for these events, ticks and delays only, if all of them are remembered."""
    flags: dict[str, FlagSums] = {}
    seen: set[tuple[str | None, str]] = set()
    for event in events:
        if event.id:
            if (event.source, event.id) in seen:
                continue
            seen.add((event.source, event.id))
        if event.kind == FEEDBACK:
            continue
        time_ms = arrival_ms if event.time_ms > arrival_ms + tolerance_ms else event.time_ms
        start_ms = math.floor(time_ms - (event.latency_ms or 0.0))
        for flag, variation in event.flags.items():
            key = f"{event.environment}|{flag}"
            sums = flags.setdefault(key, FlagSums(key=key, ticks=[]))
            tick = Tick(start_ms=start_ms // TICK_MS * TICK_MS, arms={variation: _arm(event)})
            sums.ticks.append(tick)
            if event.kind == OUTCOME:
                delay = {delay_bucket(arrival_ms - start_ms): event.weight}
                sums.delays = {**sums.delays, variation: add_counts(sums.delays.get(variation, {}), delay)}
    for sums in flags.values():
        sums.ticks = merged(sums.ticks)
    return flags


def _arm(event: Event) -> Arm:
    weight = event.weight
    if event.kind == EXPOSURE:
        return Arm(exposures=weight)
    arm = Arm(outcomes=weight, errors=weight if event.error else 0)
    if event.error and event.context_id:
        arm.units = [unit_of(event.context_id)]
    elif event.error:
        arm.anonymous = weight
    if event.latency_ms is not None:
        arm.latency = {bucket_key(event.latency_ms): weight}
    return arm


def merged(ticks: Iterable[Tick]) -> list[Tick]:
    """Return the ticks with those of the same starts added up, in their order."""
    found: dict[tuple[int, int], Tick] = {}
    for tick in ticks:
        key = tick.start_ms, tick.length_ms
        found[key] = add_ticks(found[key], tick) if key in found else tick
    return [found[key] for key in sorted(found)]


def content(flags: Iterable[FlagSums]) -> dict[str, Any]:
    """Return sums in a form that compares equal for equal content, whatever flush each part came with."""
    found: dict[str, FlagSums] = {}
    for sums in flags:
        before = found.get(sums.key, FlagSums(key=sums.key))
        delays = {v: add_counts(before.delays.get(v, {}), d) for v, d in sums.delays.items()}
        found[sums.key] = FlagSums(
            key=sums.key, ticks=merged([*before.ticks, *sums.ticks]), delays={**before.delays, **delays}
        )
    return {key: (sums.ticks, sums.delays) for key, sums in sorted(found.items())}


def totals(flags: Iterable[FlagSums]) -> dict[tuple[str, str], tuple[int, int, int]]:
    """Return exposures, outcomes and errors by flag key and variation."""
    found: dict[tuple[str, str], tuple[int, int, int]] = {}
    for sums in flags:
        for tick in sums.ticks:
            for variation, arm in tick.arms.items():
                exposures, outcomes, errors = found.get((sums.key, variation), (0, 0, 0))
                found[sums.key, variation] = (
                    exposures + arm.exposures, outcomes + arm.outcomes, errors + arm.errors
                )  # fmt: skip
    return found
