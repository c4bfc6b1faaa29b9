"""Where every guardrail of a variation stands: one list, whatever it reads."""

from __future__ import annotations

import math
from collections import defaultdict
from operator import attrgetter
from typing import NamedTuple

from guardian.evidence import Breach
from guardian.line_watch import LineWatch
from guardian.lines import ALL, Line
from guardian.policy import Action, Guardrail, Policy
from guardian.sequential import anytime_p, pooled_log_s
from guardian.state import RolloutState
from guardian.tally import Pair
from guardian.watch import Lane, Parts, Watch, lane_parts

POOLED = "pooled"
_WHOLE = Parts(1.0, 0.0)


class Held(NamedTuple):
    """
    One guardrail, ``at`` its place in the policy, for all traffic or for one ``segment``.

    ``line`` and ``read`` are what it reads and how far; None where it tests the failures among all requests.
    """

    at: int
    guardrail: Guardrail
    segment: str
    watch: Watch
    line: Line | None = None
    read: LineWatch | None = None

    @property
    def name(self) -> str:
        """A name that no other guardrail of the variation has."""
        return name_of(self.at, self.segment)

    @property
    def since(self) -> Pair | None:
        """The sums since the evidence has been growing; None for failures among all requests, which have a history."""
        return None if self.read is None else self.read.stories[self.at].pair

    @property
    def lanes(self) -> list[Lane]:
        """Its lanes."""
        return [lane for lane in (self.watch.full, self.watch.fast) if lane is not None]


_PLACE = attrgetter("at", "segment")


def name_of(at: int, segment: str) -> str:
    """Return the name of a guardrail in a segment, the same for its test and for what it says literally."""
    return f"{at}@{segment}"


def standing(state: RolloutState, policy: Policy, variation: str) -> list[Held]:
    """Return all guardrails of a variation that test anything, in the order of the policy, all traffic first."""
    watch = state.variations[variation]
    lines, guardrails = state.lines, policy.guardrails
    found = [Held(at, guardrails[at], ALL, held) for at, held in zip(lines.of_requests, watch.guardrails, strict=True)]
    for key, read in watch.lines.items():
        resolved = lines.resolve(key)
        if resolved is not None:
            line, segment = resolved
            named = ALL if segment == line.cut else segment
            found += [Held(at, guardrails[at], named, held, line, read) for at, held in read.watches.items()]
    return sorted(found, key=_PLACE)


def breaches(state: RolloutState, policy: Policy, variation: str) -> list[tuple[Held, Breach]]:
    """
    Return what is broken: guardrails on their own, and those of one action that are broken together.

    Accounts add up: where those of one action hold 1 between them, that action is due, and the budget of the sum is
    the sum of the budgets (docs/statistics.md). The first lane alone is pooled, as it has one clock. What is to be
    broken literally, too, is never broken by evidence (``guardian.rules``).
    """
    found, groups = [], defaultdict(list)
    for held in standing(state, policy, variation):
        if held.guardrail.evaluate == "both" or not is_enough(state, policy, variation, held):
            continue
        breach = held.watch.breach()
        if breach is not None:
            found.append((held, breach))
        elif _is_asked_together(held):
            groups[held.guardrail.then].append(held)
    broken = {held.guardrail.then for held, _ in found}
    for action, group in groups.items():
        if len(group) > 1 and action not in broken and (pooled := _pooled(group)) is not None:
            found.append((max(group, key=lambda held: held.watch.full.account.log_s()), pooled))
    return found


def _is_asked_together(held: Held) -> bool:
    """Who is new is read ahead of outcomes: its account has another clock, and is asked alone."""
    return held.watch.full.read and (held.line is None or held.line.kind != "fresh")


def _pooled(group: list[Held]) -> Breach | None:
    accounts = [held.watch.full.account for held in group]
    log_s = pooled_log_s([account.log_s() for account in accounts])
    if log_s < 0.0:
        return None
    threshold = -math.log(math.fsum(account.total_deposited for account in accounts))
    return Breach(log_s + threshold, threshold, POOLED)


def is_enough(state: RolloutState, policy: Policy, variation: str, held: Held) -> bool:
    """Say whether as many units are behind it as the policy wants before anything is done."""
    if held.line is None or held.read is None:
        return state.history.failed_units(variation) >= policy.min_units
    if held.line.kind == "fresh":
        return True
    counts_events = held.line.kind in ("failures", "reports") or held.guardrail.when.signal.kind == "thumbs_down_rate"
    treated = held.read.stories[held.at].t
    return (treated.x if counts_events else treated.n) >= policy.min_units


def together(state: RolloutState, policy: Policy, variation: str, action: Action) -> list[Held]:
    """Return the guardrails of one action that are asked together and have read anything."""
    found = standing(state, policy, variation)
    return [held for held in found if held.guardrail.then == action and _is_asked_together(held)]


def p_value(state: RolloutState, held: Held, part: float) -> float | None:
    """
    Return the anytime p-value of a guardrail with this ``part`` of a variation's budget; None before it read anything.

    Of two lanes the smaller one, doubled: either may have been looked at.
    """
    whole = state.lines.horizon / max(len(state.variations), 1) * part
    # A line has one lane, which has all of it.
    parts = _WHOLE if held.line is not None else lane_parts(held.guardrail.when.bound, state.population.by_exposures)
    known, lanes = [], held.lanes
    for lane, lane_part in zip(lanes, parts, strict=False):
        budget = max(whole * lane_part, lane.account.total_deposited)
        if lane.read and budget > 0.0:
            known.append(anytime_p(lane.peak, budget))
    return min(1.0, min(known) * len(lanes)) if known else None


