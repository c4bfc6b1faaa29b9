"""Literal rules: read at the end of each step of their windows, and what of them is to be decided on."""

from __future__ import annotations

from typing import NamedTuple

from guardian.aggregate import Aggregate, aggregate, breaks, is_beyond
from guardian.conditions import Absolute
from guardian.decisions import Evidence
from guardian.lines import ALL, Line, Lines
from guardian.measured import LITERAL
from guardian.names import Millis
from guardian.policy import Action, Guardrail, Policy
from guardian.rule import Rule
from guardian.standing import Held, is_enough, name_of, standing
from guardian.state import RolloutState
from guardian.tally import Tally
from guardian.testimony import INCIDENT_UNITS, Testimony
from guardian.window import Window
from guardian.windowing import read_by

_NOTHING = Tally()


class Broken(NamedTuple):
    """A literal rule that is to be decided on: guardrail ``at`` of the policy, in a segment, and what broke it."""

    at: int
    guardrail: Guardrail
    segment: str
    rule: Rule
    seen: Aggregate

    @property
    def name(self) -> str:
        """The name that its test has, too (``Held.name``)."""
        return name_of(self.at, self.segment)


def close_steps(state: RolloutState, policy: Policy, lines: Lines, until_ms: Millis) -> bool:
    """Read every rule at the end of each step that is over by ``until_ms``; say whether any is to be decided on."""
    due = False
    for name, window in sorted(state.windows.held.items()):
        found = read_by(state, lines, name, window)
        if found is None:
            continue
        line, segment, rulers = found
        named = ALL if segment == line.cut else segment
        held = bool(window.sums)
        while window.sums and window.end_ms <= until_ms:
            for variation in state.alive():
                for at in rulers:
                    due |= _read(state, policy, window, line, variation, (at, named))
            window.slide()
        if held and not window.sums:
            _fall_quiet(state, rulers, named)
    return due


def _read(
    state: RolloutState, policy: Policy, window: Window, line: Line, variation: str, place: tuple[int, str]
) -> bool:
    watch, guardrail = state.variations[variation], policy.guardrails[place[0]]
    rule = watch.rules.setdefault(name_of(*place), Rule())
    end_ms, begun_ms = window.end_ms, max(window.from_ms, watch.first_ms)
    sums = window.sums.get(variation, _NOTHING), window.sums.get(policy.control, _NOTHING)
    rule.seen = aggregate(guardrail.when, line, sums, window.merged, (end_ms - window.span_ms, end_ms))
    rule.is_full = watch.first_ms >= 0 and begun_ms <= end_ms - window.span_ms
    if not (rule.is_full and breaks(guardrail.when, rule.seen)):
        rule.calm()
        return False
    rule.since_ms = rule.since_ms or end_ms
    if rule.told and Action(rule.told) >= guardrail.then:
        return False
    if guardrail.evaluate == "both" and not _has_crossed(state, policy, variation, place):
        return False
    rule.due = rule.due or rule.seen
    return True


def _has_crossed(state: RolloutState, policy: Policy, variation: str, place: tuple[int, str]) -> bool:
    """Say whether the test of the same guardrail has said yes since the last known change."""
    held = _test_of(state, policy, variation, name_of(*place))
    return held is not None and held.watch.has_crossed and is_enough(state, policy, variation, held)


def _test_of(state: RolloutState, policy: Policy, variation: str, name: str) -> Held | None:
    return next((held for held in standing(state, policy, variation) if held.name == name), None)


def _fall_quiet(state: RolloutState, rulers: list[int], segment: str) -> None:
    for watch in state.variations.values():
        for at in rulers:
            rule = watch.rules.get(name_of(at, segment))
            if rule is not None:
                rule.seen = None
                rule.calm()


def broken(state: RolloutState, policy: Policy, variation: str) -> list[Broken]:
    """Return the literal rules of a variation that are to be decided on."""
    found = []
    for name, rule in sorted(state.variations[variation].rules.items()):
        if rule.due is not None:
            at, _, segment = name.partition("@")
            found.append(Broken(int(at), policy.guardrails[int(at)], segment, rule, rule.due))
    return found


def witness(state: RolloutState, policy: Policy, variation: str, one: Broken) -> Testimony:
    """
    Return what speaks for a literal rule: what its window held; there is no evidence in nats.

    No chance of its being false is bounded, but where its test had to say yes, too: then it is what that was given.
    """
    test = _test_of(state, policy, variation, one.name) if one.guardrail.evaluate == "both" else None
    when, seen = one.guardrail.when, one.seen
    fixed = when.bound.value if isinstance(when.bound, Absolute) else None
    value, base = seen.value or 0.0, seen.value_control
    evidence = Evidence(
        test=LITERAL, log_e=0.0, log_threshold=0.0, n=round(seen.n), events=round(seen.events), value=value,
        n_control=round(seen.n_control), events_control=round(seen.events_control), value_control=base,
        ratio=value / base if base else None, bound=fixed, segment=one.segment,
        alpha_spent=sum(lane.account.total_deposited for lane in test.lanes) if test is not None else 0.0,
    )  # fmt: skip
    shared = fixed is not None and base is not None and seen.n_control >= INCIDENT_UNITS
    return Testimony(evidence, seen.from_ms, seen.to_ms, shared and is_beyond(when, base or 0.0, fixed or 0.0))
