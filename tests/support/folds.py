"""The plainest possible fold, one event after the other: the oracle beside the fast one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import xxhash

from guardian.lag import delay_bucket
from guardian.plan import MEASURE, NAMELESS, NO_PLAN, SEGMENTS_MAX, Plan, position
from guardian.sequential.latency import bucket_key
from guardian.summaries import TICK_MS, Arm, FlagSums, Tick, add_counts, add_ticks
from streams.codecs import EXPOSURE, FEEDBACK, OUTCOME, Event


def unit_of(context_id: str) -> int:
    """Return the 52-bit id of a unit."""
    return xxhash.xxh3_64_intdigest(context_id.encode()) >> 12


def plain_sums(
    events: Iterable[Event], arrival_ms: int, tolerance_ms: int = 5_000, plans: Mapping[str, Plan] | None = None
) -> dict[str, FlagSums]:
    """
    Return what one flush of a fold must give for these events, ticks and delays only, if all of them are remembered.
    """
    plain = PlainFold(arrival_ms, tolerance_ms, plans or {})
    for event in events:
        plain.take(event)
    return plain.sums()


class PlainFold:
    """Adds event after event."""

    def __init__(self, arrival_ms: int, tolerance_ms: int, plans: Mapping[str, Plan]) -> None:
        self.arrival_ms, self.tolerance_ms, self.plans = arrival_ms, tolerance_ms, plans
        self.flags: dict[str, FlagSums] = {}
        self.seen: set[tuple[str | None, str]] = set()
        self.counted: dict[tuple[str, frozenset[tuple[str, str]], str | None, int], Event] = {}
        self.met: set[tuple[str, str]] = set()
        self.values: dict[tuple[str, str], list[str]] = {}
        # By flag, start, variation, name of the score and unit: positions, with the weight of each.
        self.said: dict[tuple[str, int, str, str, str], list[tuple[int, int]]] = {}

    def take(self, event: Event) -> None:
        if event.id:
            if (event.source, event.id) in self.seen:
                return
            self.seen.add((event.source, event.id))
        late_ms = self.arrival_ms + self.tolerance_ms
        time_ms = self.arrival_ms if event.time_ms > late_ms else event.time_ms
        start_ms = math.floor(time_ms - (event.latency_ms or 0.0))
        for flag, variation in event.flags.items():
            key = f"{event.environment}|{flag}"
            plan = self.plans.get(key, NO_PLAN)
            if event.kind == FEEDBACK:
                self._hear(event, key, plan, start_ms, variation)
                continue
            arm = _arm(event)
            if plan.fresh and event.context_id and (key, event.context_id) not in self.met:
                self.met.add((key, event.context_id))
                arm.fresh = [unit_of(event.context_id)]
            if event.kind == OUTCOME:
                delay = {delay_bucket(self.arrival_ms - start_ms): event.weight}
                flag_sums = self.flags.setdefault(key, FlagSums(key=key, ticks=[]))
                flag_sums.delays = {**flag_sums.delays, variation: add_counts(flag_sums.delays.get(variation, {}), delay)}
                self._measure(event, arm, plan, start_ms)
            self._add(key, start_ms, variation, arm)
            if event.kind == OUTCOME:
                self._meet(event, flag, key, start_ms, variation)
                for segment in self._segments(event, key, plan):
                    part = msgspec.structs.replace(arm, fresh=[])
                    self._add(key, start_ms, variation, part, segment)

    def _add(self, key: str, start_ms: int, variation: str, arm: Arm, segment: str = "") -> None:
        ticks = self.flags.setdefault(key, FlagSums(key=key, ticks=[])).ticks
        start = start_ms // TICK_MS * TICK_MS
        if segment:
            ticks.append(Tick(start_ms=start, segments={segment: {variation: arm}}))
        else:
            ticks.append(Tick(start_ms=start, arms={variation: arm}))

    def _meet(self, event: Event, flag: str, key: str, start_ms: int, variation: str) -> None:
        """Count the outcome under the variations of the other watched flags."""
        watched = {name for name in event.flags if self.plans.get(f"{event.environment}|{name}", NO_PLAN).company}
        if flag in watched:
            met = event.weight, event.weight if event.error else 0
            company = {name: {variation: {event.flags[name]: met}} for name in watched - {flag}}
            self.flags[key].ticks.append(Tick(start_ms=start_ms // TICK_MS * TICK_MS, company=company))

    def _measure(self, event: Event, arm: Arm, plan: Plan, start_ms: int) -> None:
        measures = {name: span for name, span in plan.scores.items() if name.startswith(MEASURE)}
        if not (plan.latency or plan.over_us or measures):
            return
        if event.context_id and not self._counts(event, start_ms):
            return
        if event.latency_ms is not None and (plan.latency or plan.over_us):
            arm.timed = event.weight
            arm.over = {bound: event.weight for bound in plan.over_us if event.latency_ms * 1000 > bound}
            if plan.latency:
                arm.latency = {bucket_key(event.latency_ms): event.weight}
        for name, span in measures.items():
            value = (event.measures or {}).get(name.removeprefix(MEASURE))
            if value is not None:
                whose = name if event.context_id else name + NAMELESS
                arm.scores[whose] = {position(value, *span): float(event.weight)}

    def _counts(self, event: Event, start_ms: int) -> bool:
        """Say whether the unit had not counted under the same flags in these ten seconds; the event itself is no repeat."""
        window = event.environment, frozenset(event.flags.items()), event.context_id, start_ms // 10_000
        return self.counted.setdefault(window, event) is event

    def _segments(self, event: Event, key: str, plan: Plan) -> list[str]:
        told = {name: text(value) for name, value in (event.attributes or {}).items()}
        own = {"operation": event.operation, "service_name": event.service_name, "error_type": event.error_type}
        found = []
        for name in plan.segments:
            met = self.values.setdefault((key, name), [])
            value = told.get(name)
            if value is not None and value not in met and len(met) < SEGMENTS_MAX:
                met.append(value)
            if value in met:
                found.append(f"{name}={value}")
        found += [cut.name for cut in plan.cuts if all({**told, **own}.get(name) == value for name, value in cut.where)]
        return list(dict.fromkeys(found))

    def _hear(self, event: Event, key: str, plan: Plan, start_ms: int, variation: str) -> None:
        if event.said == "report":
            if plan.reports:
                units = [unit_of(event.context_id)] if event.context_id else []
                self._add(key, start_ms, variation, Arm(reporters=units, reports=0 if units else event.weight))
            return
        name = f"feedback:{event.said}"
        if name in plan.scores:
            assert event.score is not None
            at = position(event.score, *(event.scale or {"rating": (1, 5), "nps": (0, 10)}.get(str(event.said), (0, 1))))
            where = key, start_ms // TICK_MS * TICK_MS, variation, name, event.context_id or ""
            self.said.setdefault(where, []).append((at, event.weight))

    def sums(self) -> dict[str, FlagSums]:
        for (key, start_ms, variation, name, unit), scores in self.said.items():
            for at, weight in scores:
                counts = {at: weight / len(scores) if unit else float(weight)}
                arm = Arm(scores={name if unit else name + NAMELESS: counts})
                self._add(key, start_ms, variation, arm)
        for sums in self.flags.values():
            sums.ticks = merged(sums.ticks)
        return self.flags


def _arm(event: Event) -> Arm:
    weight = event.weight
    if event.kind == EXPOSURE:
        return Arm(exposures=weight)
    arm = Arm(outcomes=weight, errors=weight if event.error else 0)
    if event.error and event.context_id:
        arm.units = [unit_of(event.context_id)]
    elif event.error:
        arm.anonymous = weight
    return arm


def text(value: Any) -> str | None:
    """Return a value as it stands in a segment's name."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"{value:g}"
    return value[:64] if isinstance(value, str) else None


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
