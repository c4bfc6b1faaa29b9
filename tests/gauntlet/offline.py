"""
The same tests over the whole stream, offline: what was there to be known, and when.

Requests come in the order of their starts, whole, each once, with their outcome; so nothing is late, nothing is waited
for, and shares are known. A block is closed by every fourth treated request, or at a pass of a second, as live.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from guardian.betting import Past, log_e
from guardian.conditions import Relative
from guardian.levels import BEST, WORST, Floats
from guardian.lines import Line, lines_of
from guardian.plan import position
from guardian.policy import Guardrail, Policy
from guardian.sequential import Account, bucket_key, count_block
from guardian.tally import Pair, Tally
from guardian.watch import BLOCK_MS, BLOCK_UNITS, lane_parts
from tests.support.recorded import T0_MS, Recording

DAY_MS = 86_400_000
COUNTED_S = 10.0
"""Of a unit one latency in so long is counted."""
Steps = tuple[tuple[float, float], ...]
"""The treatment's share by time, as ``World.share``."""
FAILURES = Line("failures", "failures")


class Event(NamedTuple):
    """One thing that a test counts: when it began, whose arm, and what it adds to that arm's sums."""

    at_ms: float
    is_treated: bool
    tally: Tally


def found_s(recording: Recording, policy: Policy, silent_s: float) -> float | None:
    """Return the second at which the first of the policy's guardrails knew, offline; None where none did."""
    known = [_silence_s(recording, silent_s)]
    for at, guardrail in enumerate(policy.guardrails):
        if guardrail.when.signal.kind != "no_data":
            known.append(_tested_s(recording, policy, at, guardrail))
    return min((one for one in known if one is not None), default=None)


def _tested_s(recording: Recording, policy: Policy, at: int, guardrail: Guardrail) -> float | None:
    kind = guardrail.when.signal.kind
    if kind == "error_rate":
        parts = lane_parts(guardrail.when.bound, by_exposures=True)
        full = _read(policy, guardrail, FAILURES, _failures(recording), part=parts.full)
        fast = _count(policy, guardrail, recording, part=parts.fast)
        return min((one for one in (full, fast) if one is not None), default=None)
    line = next(line for line in lines_of(policy).lines if at in line.guardrails)
    if kind == "latency":
        return _read(policy, guardrail, line, _latencies(recording))
    if kind == "csat":
        return _read(policy, guardrail, line, _ratings(recording))
    return _read(policy, guardrail, line, _new_units(recording), shares=recording.world.share)


class Payer:
    """An account that is paid what a guardrail is paid live: its part at the start, and a drip."""

    def __init__(self, policy: Policy, part: float) -> None:
        self.account, self._part, self._kills = Account(), part / lines_of(policy).accounts, policy.false_kills
        self.account.deposit(self._kills.per_rollout * self._part)
        self._paid_ms = float(T0_MS)

    def read(self, at_ms: float, values: Floats) -> float | None:
        """Pay, read the log e-values of what was known at ``at_ms``, and return its second if that was enough."""
        self.account.deposit(self._kills.per_day * self._part * max(at_ms - self._paid_ms, 0.0) / DAY_MS)
        self._paid_ms = max(at_ms, self._paid_ms)
        self.account.update(values)
        return (at_ms - T0_MS) / 1_000 if self.account.crossed() else None


def _read(
    policy: Policy, guardrail: Guardrail, line: Line, events: Iterable[Event], *, part: float = 1.0, shares: Steps = ()
) -> float | None:
    payer, past, block = Payer(policy, part), Past(), None
    for event in events:
        if block is None:
            block = Pair(round(event.at_ms), round(event.at_ms))
        (block.t if event.is_treated else block.c).add(event.tally)
        block.to_ms = round(event.at_ms)
        if not _is_full(block, is_split=bool(shares)):
            continue
        share = [_share(shares, event.at_ms)] if shares else []
        known_s = payer.read(event.at_ms, log_e(guardrail.when, line, block, past, shares=share))
        if known_s is not None:
            return known_s
        past.remember(block, (WORST, BEST))
        block = None
    return None


def _count(policy: Policy, guardrail: Guardrail, recording: Recording, *, part: float) -> float | None:
    """Read first failures one by one, as the fast lane does, each against the share of its moment."""
    bound, payer = guardrail.when.bound, Payer(policy, part)
    assert isinstance(bound, Relative)
    for event in _failures(recording):
        if event.tally.x:
            share = _share(recording.world.share, event.at_ms)
            values = count_block(float(event.is_treated), float(not event.is_treated), share, margin=bound.factor)
            known_s = payer.read(event.at_ms, values)
            if known_s is not None:
                return known_s
    return None


def _share(steps: Steps, at_ms: float) -> float:
    return [share for from_s, share in steps if T0_MS + 1_000 * from_s <= at_ms][-1]


def _is_full(block: Pair, *, is_split: bool) -> bool:
    n = block.t.n + block.c.n if is_split else block.t.n
    return n >= 1 and (is_split or block.c.n >= 1) and (n >= BLOCK_UNITS or block.span_ms >= BLOCK_MS)


def _failures(recording: Recording) -> Iterator[Event]:
    made, failed_before = recording.requests, set[int]()
    columns = (made.start_s, made.user, made.is_treated, made.is_failed, made.is_ended)
    for start_s, user, treated, failed, ended in zip(*(one.tolist() for one in columns), strict=True):
        if ended:
            is_first = failed and user not in failed_before
            if failed:
                failed_before.add(user)
            yield Event(T0_MS + 1_000 * start_s, treated, Tally(1.0, float(is_first)))


def _latencies(recording: Recording) -> Iterator[Event]:
    made, counted = recording.requests, set[tuple[int, int]]()
    columns = (made.start_s, made.user, made.is_treated, made.latency_ms, made.is_ended)
    for start_s, user, treated, latency_ms, ended in zip(*(one.tolist() for one in columns), strict=True):
        window = (user, int(start_s // COUNTED_S))
        if ended and window not in counted:
            counted.add(window)
            yield Event(T0_MS + 1_000 * start_s, treated, Tally(1.0, 0.0, {bucket_key(latency_ms): 1.0}))


def _ratings(recording: Recording) -> Iterator[Event]:
    found = {}
    for line in recording.lines:
        if line.startswith(b'{"type":"feedback"'):
            event = json.loads(line)
            found[event["id"]] = event
    for event in sorted(found.values(), key=lambda one: one["time"]):
        counts = {position(event["score"], 1.0, 5.0): 1.0}
        yield Event(float(event["time"]), "treatment" in event["flags"].values(), Tally(1.0, 0.0, counts))


def _new_units(recording: Recording) -> Iterator[Event]:
    made, met = recording.requests, set[int]()
    columns = (made.start_s, made.user, made.is_treated, made.is_heard)
    for start_s, user, treated, heard in zip(*(one.tolist() for one in columns), strict=True):
        if heard and user not in met:
            met.add(user)
            yield Event(T0_MS + 1_000 * start_s, treated, Tally(1.0))


def _silence_s(recording: Recording, silent_s: float) -> float | None:
    harm = recording.world.harm
    return harm.from_s + silent_s if harm is not None and (harm.silent or harm.mute) else None
