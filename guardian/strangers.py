"""
Variations that nobody could watch any more: of one rollout so many are taken in, and what comes of others is left out.

No flag has dozens of variations. Where telemetry names that many, something makes names up, and the state would grow with
each. Those that the policy names are never left out.
"""

from __future__ import annotations

from itertools import chain

import msgspec

from guardian.policy import Policy
from guardian.state import RolloutState
from guardian.summaries import FlagSums, Tick

VARIATIONS_MAX = 32
"""Of one rollout, beside those that its policy names."""
NAMED_MAX = 5
"""Of those left out, so many are told of by their names."""


def without_strangers(state: RolloutState, policy: Policy, sums: FlagSums) -> FlagSums:
    """Return the sums of the variations that are known or for which there is room; note what is left out."""
    found = set(chain(sums.delays, *(tick.arms for tick in sums.ticks)))
    new = found.difference(state.met)
    if new:
        _meet(state, policy, new)
    left_out = found.difference(state.met) if new else None
    if not left_out:
        return sums
    state.strangers = [*state.strangers, *sorted(left_out.difference(state.strangers))][:NAMED_MAX]
    ticks = [_without(tick, left_out) for tick in sums.ticks]
    return msgspec.structs.replace(
        sums,
        ticks=[tick for tick in ticks if tick.arms],
        delays={name: told for name, told in sums.delays.items() if name not in left_out},
        cohort=[sight for sight in sums.cohort if sight.variation not in left_out],
    )


def _meet(state: RolloutState, policy: Policy, new: set[str]) -> None:
    """Take in who is new, in order of their names; a state of an older version knows its variations by its courses."""
    named = {policy.control, *policy.variations}
    met = {*state.met, *state.variations, *state.courses}
    met |= new & named
    room = max(VARIATIONS_MAX - len(met - named), 0)
    state.met = sorted(met.union(sorted(new - met)[:room]))


def _without(tick: Tick, left_out: set[str]) -> Tick:
    segments = {name: {v: arm for v, arm in arms.items() if v not in left_out} for name, arms in tick.segments.items()}
    company = {
        flag: {own: met for own, met in rows.items() if own not in left_out} for flag, rows in tick.company.items()
    }
    arms = {name: arm for name, arm in tick.arms.items() if name not in left_out}
    return msgspec.structs.replace(tick, arms=arms, segments=segments, company=company)
