"""
What fell silent: three things that look the same from afar, and mean three different things.

A variation that is no longer *exposed* may not load; one whose *outcomes* stop while it is exposed may hang; and where
all is silent the *pipeline* is broken, or nobody is awake. Only the first two say anything of the variation.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from guardian.conditions import Silence
from guardian.grants import is_tested
from guardian.history import STEP_MS, Stretch
from guardian.names import Millis
from guardian.policy import Action, Policy
from guardian.population import MOVED, MOVES, Epoch
from guardian.served import Shares, agreed
from guardian.state import Heard, RolloutState
from guardian.summaries import Tick

EXPOSURES, OUTCOMES, PIPELINE = "exposures", "outcomes", "pipeline"
SURPRISING = 10.0
"""Starts that should have been there: with so many expected, none at all has a chance of 1 in 20,000."""
SUSPECT = 5.0
"""As much, where the share has just fallen to almost nothing and nobody said why: 1 in 150 is enough, then."""


class Silent(NamedTuple):
    """
    ``kind`` fell silent at ``since_ms``, for the ``no_data`` guardrail at this place in the policy.

    ``n`` starts of the variation and ``n_control`` of control came since; ``variation`` is empty for all of them.
    """

    at: int
    kind: str
    variation: str
    since_ms: Millis
    n: int = 0
    n_control: int = 0

    @property
    def name(self) -> str:
        """A name that no other silence of the rollout has."""
        return f"{self.at}@{self.kind}@{self.variation}"


def hear(state: RolloutState, variation: str, tick: Tick, now_ms: Millis) -> None:
    """Note that something came of a variation."""
    arm, heard = tick.arms[variation], state.heard.get(variation)
    if heard is None:
        heard = state.heard[variation] = Heard(now_ms, now_ms, min(tick.start_ms, now_ms), now_ms)
    if arm.exposures:
        heard.exposed_ms = now_ms
    if arm.outcomes:
        heard.finished_ms = now_ms
        # A clock that is ahead must not keep all others from ever getting further.
        reached_ms = min(tick.end_ms, now_ms)
        if reached_ms > heard.reached_ms:
            heard.reached_ms, heard.advanced_ms = reached_ms, now_ms


def await_again(state: RolloutState, variation: str, at_ms: Millis) -> None:
    """Those that were killed and are given back are missed from now on: the variation, or all where it is empty."""
    for name in state.alive() if state.lines.silences else ():
        if variation in ("", name):
            state.heard.setdefault(name, Heard(at_ms, at_ms, at_ms, at_ms))


def silences(state: RolloutState, policy: Policy, now_ms: Millis) -> list[Silent]:
    """Return all that is silent now, for each ``no_data`` guardrail."""
    found = []
    for at in state.lines.silences:
        bound = policy.guardrails[at].when.bound
        if isinstance(bound, Silence) and state.data_ms:
            found += _silences(state, policy.control, at, round(bound.for_s * 1_000), now_ms)
    return found


def news(state: RolloutState, policy: Policy, now_ms: Millis) -> list[Silent]:
    """Return the silences that nobody was told of, or that go on all the same; those that have ended are forgotten."""
    found = silences(state, policy, now_ms)
    fresh = [one for one in found if one.name not in state.silent or goes_on(state, policy, one, now_ms)]
    state.silent = [silent.name for silent in found]
    return fresh


def goes_on(state: RolloutState, policy: Policy, silent: Silent, now_ms: Millis) -> bool:
    """
    Say whether a silence that was told has gone on, untold, for as long as the guardrail says.

    Since it led back a stage; or since somebody resumed the variation, where there is more to do than to tell of it.
    """
    course, guardrail = state.courses.get(silent.variation), policy.guardrails[silent.at]
    if silent.name not in state.silent or course is None or course.awaits:
        return False
    if course.moved == "resume" and guardrail.then > Action.ALERT:
        since_ms = course.moved_ms
    elif course.moved == guardrail.then == Action.STEP_BACK:
        since_ms = course.since_ms
    else:
        return False
    bound = guardrail.when.bound
    return isinstance(bound, Silence) and now_ms - since_ms >= bound.for_s * 1_000


def take_terms(state: RolloutState, before: Policy) -> None:
    """The policy changed: what was told by a guardrail with other terms than now is news again."""
    then, now = before.guardrails, state.policy.guardrails
    told = [(name, int(name.split("@", 1)[0])) for name in state.silent]
    state.silent = [name for name, at in told if at < len(now) and then[at] == now[at]]


def is_silent(state: RolloutState, variation: str) -> bool:
    """Say whether something of the variation is silent, or everything is, and was told."""
    return any(name.split("@", 2)[2] in ("", variation) for name in state.silent)


def is_news(state: RolloutState, policy: Policy, now_ms: Millis) -> bool:
    """Say whether ``news`` would change anything."""
    if not state.lines.silences:
        return False
    found = silences(state, policy, now_ms)
    return [one.name for one in found] != state.silent or any(goes_on(state, policy, one, now_ms) for one in found)


def _silences(state: RolloutState, control: str, at: int, for_ms: Millis, now_ms: Millis) -> list[Silent]:
    if now_ms - state.data_ms >= for_ms:
        return [Silent(at, PIPELINE, "", state.data_ms)]
    by_exposures, base = state.population.by_exposures, state.heard.get(control)
    if base is None:
        return []
    found = _never_came(state, control, at, for_ms, now_ms)
    for variation in state.alive():
        heard = state.heard.get(variation)
        if heard is None or _is_taken(state, variation):
            continue
        began_ms, base_ms = (one.exposed_ms if by_exposures else one.finished_ms for one in (heard, base))
        if now_ms - began_ms >= for_ms:
            if now_ms - base_ms >= for_ms:
                return [Silent(at, PIPELINE, "", base_ms)]
            found += _not_exposed(state, variation, control, at, began_ms)
        elif by_exposures and now_ms - heard.advanced_ms >= for_ms:
            if min(now_ms - one.finished_ms for one in (heard, base)) >= for_ms:
                return [Silent(at, PIPELINE, "", base.finished_ms)]
            found += _not_finished(state, variation, control, at, heard.reached_ms)
    return found


def _is_taken(state: RolloutState, variation: str) -> bool:
    """Say whether a variation is left to nobody, by the guardian or as stores tell: then nothing of it is missing."""
    course, epoch = state.courses.get(variation), state.population.now
    if epoch is not None and epoch.served and all(served and not served.get(variation) for served in epoch.served):
        return True
    return course is not None and bool(course.grants) and not any(share for one in course.grants for share in one.values())


def _told(state: RolloutState) -> tuple[Shares, Millis]:
    """Return the parts of all traffic that stores are known to give, and since when clients do; empty where that is not known."""
    epoch = state.population.now
    if epoch is not None:
        return (epoch.served[0] if len(epoch.served) == 1 else {}), epoch.start_ms + state.propagation_ms
    told_ms = max((one.at_ms for one in state.served.values()), default=0)
    return agreed(state.served), told_ms + state.propagation_ms


def _never_came(state: RolloutState, control: str, at: int, for_ms: Millis, now_ms: Millis) -> list[Silent]:
    """
    A variation that stores give people and of which nothing ever came is silent, if control had so much meanwhile.

    It is missed when control has been there for as long as the guardrail says, too: before that nobody asked for the flag.
    """
    (shares, since_ms), policy = _told(state), state.policy
    missing = [
        name for name, share in sorted(shares.items())
        if share and is_tested(policy, name) and name not in state.variations
        and (name in policy.variations or not state.strangers)
    ]  # fmt: skip
    if not missing or not shares.get(control) or now_ms - since_ms < for_ms:
        return []
    by_exposures = state.population.by_exposures
    came = [_since(state, from_ms, control, control).control for from_ms in (since_ms, now_ms - for_ms)]
    n_c, lately = (one.starts(by_exposures) for one in came)
    if n_c == lately:
        return []
    due = [name for name in missing if n_c * shares[name] / shares[control] >= SURPRISING]
    return [Silent(at, EXPOSURES, name, since_ms, 0, n_c) for name in due]


def _since(state: RolloutState, since_ms: Millis, variation: str, control: str) -> Stretch:
    """Return what started in the seconds that began after ``since_ms``: of the one it lies in, most came before."""
    return state.history.since(since_ms + STEP_MS - 1, variation, control)


def _not_exposed(state: RolloutState, variation: str, control: str, at: int, since_ms: Millis) -> list[Silent]:
    """A variation that got nothing is silent only if control had so much that it should have had something."""
    by_exposures, epochs = state.population.by_exposures, state.population.epochs
    came = _since(state, since_ms, variation, control)
    n_c = came.control.starts(by_exposures)
    before, since = {}, n_c
    for epoch in reversed(epochs):
        # The silence may have begun in an epoch before: what control had since then is no measure of its share.
        size = epoch.size(control, by_exposures)
        before[epoch.start_ms], since = max(size - since, 0), max(since - size, 0)

    def surprise(among: list[Epoch]) -> tuple[float, int]:
        """How surprising it is that none came, by what both had before, at the last shares at which the variation had any."""
        sizes: list[tuple[int, int]] = []
        for one in among:
            of_t, of_c = one.size(variation, by_exposures), before[one.start_ms]
            if sizes and sizes[-1][0] > 0 and one.why not in MOVES:
                # Shares stand as they did: a few stragglers after a change are no measure of their own.
                of_t, of_c = of_t + sizes[-1][0], of_c + sizes[-1][1]
            sizes.append((of_t, of_c))
        of_t, of_c = next((one for one in reversed(sizes) if min(one) > 0), (0, 0))
        return ((of_t + 0.5) * math.log1p(n_c / of_c), of_t) if of_c else (0.0, 0)

    # A share that moved though nobody said so may be the silence itself, as it began.
    told, _ = surprise([epoch for epoch in epochs if epoch.why != MOVED])
    now, starts = surprise(epochs)
    if now < (SUSPECT if told >= SURPRISING > starts else SURPRISING) or _is_too_few(state, variation, control):
        return []
    return [Silent(at, EXPOSURES, variation, since_ms, came.arm.starts(by_exposures), n_c)]


def _is_too_few(state: RolloutState, variation: str, control: str) -> bool:
    """Say whether, as stores tell, the variation need not have had anything yet at the shares that stand now."""
    shares, since_ms = _told(state)
    given, base = shares.get(variation, 0.0), shares.get(control, 0.0)
    if not given or not base:
        return False
    n_c = _since(state, since_ms, control, control).control.starts(state.population.by_exposures)
    return n_c * given / base < SUSPECT


def _not_finished(state: RolloutState, variation: str, control: str, at: int, since_ms: Millis) -> list[Silent]:
    """
    One whose exposures have no outcomes is silent only if control's had so many that it should have had some.

    Outcomes of what began before may trickle in for long: ``since_ms`` is the newest start that has one.
    """
    came = _since(state, since_ms, variation, control)
    expected = came.control.outcomes * came.arm.exposures / max(came.control.exposures, 1)
    if came.arm.exposures < SURPRISING or expected < SURPRISING:
        return []
    return [Silent(at, OUTCOMES, variation, since_ms, came.arm.exposures, came.control.outcomes)]
