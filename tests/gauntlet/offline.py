"""
The same tests over the whole stream, offline: what was there to be known, and when.

Requests come in the order of their starts, whole, each once, with their outcome; so nothing is late, nothing is waited
for, and shares are known. A block is closed by every fourth treated request, or at a pass of a second, as live.

Nobody knows an outcome before it has arrived, so beside it there is a second yardstick: when all that had been read by
then had arrived.
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
    """One thing that a test counts: when it began, whose arm, what it adds to that arm's sums, and when that arrived."""

    at_ms: float
    is_treated: bool
    tally: Tally
    came_ms: float


class Known(NamedTuple):
    """The start by which a test knew, in seconds, and the second at which all up to it had arrived."""

    at_s: float
    came_s: float


def found(recording: Recording, policy: Policy, silent_s: float) -> Known | None:
    """Return what the first of the policy's guardrails needed to know, by either measure; None where none ever knew."""
    known = [_silent(recording, silent_s)]
    for at, guardrail in enumerate(policy.guardrails):
        if guardrail.when.signal.kind != "no_data":
            known.append(_tested(recording, policy, at, guardrail))
    return _first(known)


def _first(known: Iterable[Known | None]) -> Known | None:
    """The least by each measure, which need not be the same test's."""
    told = [one for one in known if one is not None]
    return Known(min(one.at_s for one in told), min(one.came_s for one in told)) if told else None


def _tested(recording: Recording, policy: Policy, at: int, guardrail: Guardrail) -> Known | None:
    kind = guardrail.when.signal.kind
    if kind == "error_rate":
        parts = lane_parts(guardrail.when.bound, by_exposures=True)
        full = _read(policy, guardrail, FAILURES, _failures(recording), part=parts.full)
        fast = _count(policy, guardrail, recording, part=parts.fast)
        return _first((full, fast))
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
        self._paid_ms = self._came_ms = float(T0_MS)

    def hear(self, event: Event) -> None:
        """Note when an event of the block came."""
        self._came_ms = max(self._came_ms, event.came_ms)

    def read(self, event: Event, values: Floats) -> Known | None:
        """Pay, read the log e-values of a block that ends with ``event``, and return what was known if that was enough."""
        at_ms = event.at_ms
        self.account.deposit(self._kills.per_day * self._part * max(at_ms - self._paid_ms, 0.0) / DAY_MS)
        self._paid_ms = max(at_ms, self._paid_ms)
        self.account.update(values)
        return Known((at_ms - T0_MS) / 1_000, (self._came_ms - T0_MS) / 1_000) if self.account.crossed() else None


def _read(
    policy: Policy, guardrail: Guardrail, line: Line, events: Iterable[Event], *, part: float = 1.0, shares: Steps = ()
) -> Known | None:
    payer, past, block = Payer(policy, part), Past(), None
    for event in events:
        if block is None:
            block = Pair(round(event.at_ms), round(event.at_ms))
        (block.t if event.is_treated else block.c).add(event.tally)
        block.to_ms = round(event.at_ms)
        payer.hear(event)
        if not _is_full(block, is_split=bool(shares)):
            continue
        share = [_share(shares, event.at_ms)] if shares else []
        known = payer.read(event, log_e(guardrail.when, line, block, past, shares=share))
        if known is not None:
            return known
        past.remember(block, (WORST, BEST))
        block = None
    return None


def _count(policy: Policy, guardrail: Guardrail, recording: Recording, *, part: float) -> Known | None:
    """Read first failures one by one, as the fast lane does, each against the share of its moment."""
    bound, payer = guardrail.when.bound, Payer(policy, part)
    assert isinstance(bound, Relative)
    for event in _failures(recording):
        if event.tally.x:
            share = _share(recording.world.share, event.at_ms)
            values = count_block(float(event.is_treated), float(not event.is_treated), share, margin=bound.factor)
            payer.hear(event)
            known = payer.read(event, values)
            if known is not None:
                return known
    return None


def _share(steps: Steps, at_ms: float) -> float:
    return [share for from_s, share in steps if T0_MS + 1_000 * from_s <= at_ms][-1]


def _is_full(block: Pair, *, is_split: bool) -> bool:
    n = block.t.n + block.c.n if is_split else block.t.n
    return n >= 1 and (is_split or block.c.n >= 1) and (n >= BLOCK_UNITS or block.span_ms >= BLOCK_MS)


def _failures(recording: Recording) -> Iterator[Event]:
    made, failed_before = recording.requests, set[int]()
    columns = (made.start_s, made.user, made.is_treated, made.is_failed, made.is_ended, recording.ended_ms)
    for start_s, user, treated, failed, ended, came_ms in zip(*(one.tolist() for one in columns), strict=True):
        if ended:
            is_first = failed and user not in failed_before
            if failed:
                failed_before.add(user)
            yield Event(T0_MS + 1_000 * start_s, treated, Tally(1.0, float(is_first)), came_ms)


def _latencies(recording: Recording) -> Iterator[Event]:
    made, counted = recording.requests, set[tuple[int, int]]()
    columns = (made.start_s, made.user, made.is_treated, made.latency_ms, made.is_ended, recording.ended_ms)
    for start_s, user, treated, latency_ms, ended, came_ms in zip(*(one.tolist() for one in columns), strict=True):
        window = (user, int(start_s // COUNTED_S))
        if ended and window not in counted:
            counted.add(window)
            yield Event(T0_MS + 1_000 * start_s, treated, Tally(1.0, 0.0, {bucket_key(latency_ms): 1.0}), came_ms)


def _ratings(recording: Recording) -> Iterator[Event]:
    rated = {}
    for line in recording.lines:
        if line.startswith(b'{"type":"feedback"'):
            event = json.loads(line)
            rated[event["id"]] = event
    for event in sorted(rated.values(), key=lambda one: one["time"]):
        counts = {position(event["score"], 1.0, 5.0): 1.0}
        at_ms = float(event["time"])
        yield Event(at_ms, "treatment" in event["flags"].values(), Tally(1.0, 0.0, counts), at_ms)


def _new_units(recording: Recording) -> Iterator[Event]:
    made, met = recording.requests, set[int]()
    columns = (made.start_s, made.user, made.is_treated, made.is_heard)
    for start_s, user, treated, heard in zip(*(one.tolist() for one in columns), strict=True):
        if heard and user not in met:
            met.add(user)
            at_ms = T0_MS + 1_000 * start_s
            yield Event(at_ms, treated, Tally(1.0), at_ms)


def _silent(recording: Recording, silent_s: float) -> Known | None:
    harm = recording.world.harm
    if harm is None or not (harm.silent or harm.mute):
        return None
    return Known(harm.from_s + silent_s, harm.from_s + silent_s)
