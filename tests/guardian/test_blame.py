"""Which flag a harm is of: what is acted on, what is withheld, what is said, and how long it may take."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest

from guardian.bank import Bank, JudgeConfig
from guardian.decisions import Decision
from guardian.effects import Decide
from guardian.journal import Beat, Entry, PolicyEntry
from guardian.policy import policy_hash
from tests.support.traffic import T0_MS
from tests.support.two_flags import OURS, THEIRS, TwoFlags, by, judged, terms

PATIENCE_MS = 1_000
"""A kill is never later than that because of an open question."""
STEP_S = 0.4
"""A step of evidence: a tick, and the time until its summary comes."""


def of(made: list[Decision], flag: str) -> list[str]:
    return [decision.action for decision in made if decision.flag_key == flag]


def first(made: list[Decision], flag: str, action: str) -> Decision:
    return next(decision for decision in made if (decision.flag_key, decision.action) == (flag, action))


def at_s(decision: Decision) -> float:
    return datetime.fromisoformat(decision.decided_at).timestamp() - T0_MS / 1_000


@pytest.mark.parametrize("seed", range(3))
def test_only_the_flag_that_does_harm_is_killed(seed: int) -> None:
    """
    Four fifths of our treatment run under theirs, which breaks: theirs is killed, ours is held and says why; without
    knowing of each other both would have been killed.
    """
    world = TwoFlags(by(theirs=0.2), with_it=0.8, without_it=0.2, seed=seed)
    made = judged(world)
    held = first(made, OURS, "hold")

    assert ["kill"] == of(made, THEIRS)
    assert ["hold"] == of(made, OURS)
    assert f"explained by flag {THEIRS}=treatment: " in held.explanation
    assert held.evidence is not None
    assert "explains" == held.evidence.company[0].verdict
    assert {"kill"} == {decision.action for decision in judged(replace(world, told=False))}


def test_it_is_told_of_a_flag_that_nobody_judges() -> None:
    """The flag that breaks needs no policy here: ours is held, and the flag is named."""
    made = judged(TwoFlags(by(theirs=0.2), with_it=0.8, without_it=0.2), flags=(OURS,))

    assert ["hold"] == [decision.action for decision in made]
    assert THEIRS in made[0].explanation


def test_small_harm_is_told_apart_too() -> None:
    """From 1 % to 4 % over minutes of traffic: the same."""
    made = judged(TwoFlags(by(theirs=0.03), with_it=0.8, without_it=0.2, rps=400, seconds=60, seed=101))

    assert (["kill"], ["hold"]) == (of(made, THEIRS), of(made, OURS))


def test_a_canary_within_the_other_flag_is_told_apart() -> None:
    """Ours is shown only where theirs is on, to a tenth: the part of theirs without ours shows whose harm it is."""
    made = judged(TwoFlags(by(theirs=0.2), share=0.1, with_it=1.0, without_it=0.3))

    assert (["kill"], ["hold"]) == (of(made, THEIRS), of(made, OURS))
    assert "treatment never ran without it" in first(made, OURS, "hold").explanation


def test_what_cannot_be_told_apart_is_killed_at_once() -> None:
    """Who has treatment of one always has that of the other: both are killed, at the same moment as ever, and say so."""
    world = TwoFlags(by(theirs=0.2), with_it=1.0, without_it=0.0)
    made, before = judged(world), judged(replace(world, told=False))

    assert ["kill", "kill"] == [decision.action for decision in made]
    assert [decision.decided_at for decision in before] == [decision.decided_at for decision in made]
    assert all("cannot be told apart from flag" in decision.explanation for decision in made)


@pytest.mark.parametrize("seed", range(4))
def test_an_open_question_delays_a_kill_by_a_second_at_most(seed: int) -> None:
    """Nineteen of twenty are seen together: whoever is killed at all is so within a second and a step of evidence."""
    world = TwoFlags(by(theirs=0.2), with_it=0.95, without_it=0.05, seed=seed)
    made, before = judged(world), judged(replace(world, told=False))

    assert "kill" in of(made, THEIRS)
    for flag in (OURS, THEIRS):
        if "kill" in of(made, flag):
            late_s = at_s(first(made, flag, "kill")) - at_s(first(before, flag, "kill"))
            assert 0.0 <= late_s <= PATIENCE_MS / 1_000 + STEP_S + 1e-6


def test_a_kill_that_waits_needs_no_more_traffic() -> None:
    """Where everything falls silent while a kill waits for an answer, it is made when the second is over."""
    world = TwoFlags(by(theirs=0.2), with_it=0.95, without_it=0.05, seed=1)
    bank = Bank(JudgeConfig())
    one = terms(THEIRS)
    given: list[Entry] = [PolicyEntry(at_ms=T0_MS, key=one.key, hash=policy_hash(one), document=one.to_document())]
    found, waiting_ms = list[Decision](), 0
    for offset, entry in enumerate([*given, *world.entries()]):
        last = Beat(source="w/0", at_ms=entry.at_ms, passed_ms=waiting_ms) if waiting_ms else entry
        found += [effect.decision for effect in bank.apply(offset, last) if isinstance(effect, Decide)]
        watch = bank.rollouts[one.key].variations.get("treatment")
        if watch is not None and watch.asked_ms and not waiting_ms:
            waiting_ms = entry.at_ms
        if found:
            break

    assert waiting_ms
    assert ["kill"] == [decision.action for decision in found]
    assert "which nothing told within a second" in found[0].explanation
    assert PATIENCE_MS <= round(1_000 * at_s(found[0])) + T0_MS - waiting_ms <= PATIENCE_MS + 400


def test_our_own_harm_is_not_put_down_to_others() -> None:
    """Ours breaks, theirs is innocent: ours is killed as soon as ever, and where that was a question, says so."""
    for seed in range(3):
        world = TwoFlags(by(ours=0.2), with_it=0.8, without_it=0.2, seed=seed)
        made, before = judged(world), judged(replace(world, told=False))

        assert ["kill"] == of(made, OURS)
        assert at_s(first(made, OURS, "kill")) <= at_s(first(before, OURS, "kill")) + PATIENCE_MS / 1_000 + STEP_S
        assert "kill" not in of(made, THEIRS)


def test_a_flag_that_has_nothing_to_do_with_it_delays_nothing() -> None:
    """Two flags that are drawn apart: decisions are those of one that knows of no other, word for word."""
    world = TwoFlags(by(ours=0.2))

    assert [d.explanation for d in judged(replace(world, told=False))] == [d.explanation for d in judged(world)]


def test_harm_of_both_kills_both() -> None:
    """Each adds a tenth: both are killed, if one after the other."""
    made = judged(TwoFlags(by(ours=0.1, theirs=0.1), with_it=0.8, without_it=0.2, seconds=40))

    assert ("kill", "kill") == (of(made, OURS)[-1], of(made, THEIRS)[-1])


def test_who_was_held_is_killed_as_soon_as_its_own_harm_is_evident() -> None:
    """Both do harm, and one is held first: what was known against it is kept, so that its kill follows within two seconds."""
    made = judged(TwoFlags(by(ours=0.1, theirs=0.1), with_it=0.8, without_it=0.2, seed=106))

    assert ["hold", "kill"] == of(made, OURS)
    assert at_s(first(made, OURS, "kill")) - at_s(first(made, OURS, "hold")) < 2.0


def test_harm_of_two_together_kills_both_and_says_so() -> None:
    """Only requests with both treatments fail: each is killed, and one of them says that it needs the other."""
    made = judged(TwoFlags(by(both=0.05), with_it=0.8, without_it=0.3, rps=400, seconds=60, seed=3))
    said = [company.verdict for decision in made if decision.evidence for company in decision.evidence.company]

    assert ("kill", "kill") == (of(made, OURS)[-1], of(made, THEIRS)[-1])
    assert "together" in said
    assert any("it shows only together with flag" in decision.explanation for decision in made)


def test_harm_of_ours_that_comes_later_is_found_under_a_hold() -> None:
    """Theirs breaks and stays, as nobody kills it; eight seconds later ours breaks, too, and is killed after all."""

    def rate(ours: str, theirs: str, at_s: float) -> float:
        return by(theirs=0.2)(ours, theirs, at_s) + by(ours=0.3, base=0.0, since_s=16.0)(ours, theirs, at_s)

    made = judged(TwoFlags(rate, with_it=0.8, without_it=0.2, seconds=40), flags=(OURS,))

    assert ["hold", "kill"] == [decision.action for decision in made]
    assert 16.0 < at_s(made[1]) < 20.0


@pytest.mark.parametrize("then", ["pause", "step_back", "kill_flag"])
def test_whatever_takes_traffic_away_is_withheld(then: str) -> None:
    """A pause, a step back and the kill of the whole flag are held like a kill."""
    stages = [{"share": "10%", "for": "1s"}, {"share": "50%"}] if then == "step_back" else []
    terms_of = {"guardrails": [{"when": "error_rate > 1.2x control", "then": then}], "stages": stages}
    made = judged(TwoFlags(by(theirs=0.2), with_it=0.8, without_it=0.2), flags=(OURS,), **terms_of)
    against = [decision.action for decision in made if decision.evidence is not None]

    assert ["hold"] == against


def test_an_alert_is_told_as_ever() -> None:
    """What takes nothing away is not withheld."""
    terms_of = {"guardrails": [{"when": "error_rate > 1.2x control", "then": "alert"}]}
    made = judged(TwoFlags(by(theirs=0.2), with_it=0.8, without_it=0.2), flags=(OURS,), **terms_of)

    assert ["alert"] == [decision.action for decision in made]


def test_a_fixed_bound_is_broken_by_whoever_breaks_it() -> None:
    """Above 5 % because of theirs, and below it without: held. Above it without theirs, too: killed."""
    terms_of = {"guardrails": [{"when": "error_rate > 5%", "then": "kill"}]}
    theirs = judged(TwoFlags(by(theirs=0.3), share=0.5, with_it=0.8, without_it=0.05), flags=(OURS,), **terms_of)
    ours = judged(TwoFlags(by(ours=0.3), share=0.5, with_it=0.8, without_it=0.05), flags=(OURS,), **terms_of)

    assert ["hold"] == [decision.action for decision in theirs]
    assert ["kill"] == [decision.action for decision in ours]


def test_a_crash_anywhere_changes_nothing() -> None:
    """A worker that goes on from snapshots at any entry decides the same, while something waits and while it is held."""
    given = [
        *(PolicyEntry(at_ms=T0_MS, key=p.key, hash=policy_hash(p), document=p.to_document()) for p in map(terms, (OURS, THEIRS))),
        *TwoFlags(by(theirs=0.2), with_it=0.9, without_it=0.1, seconds=14).entries(),
    ]
    bank, whole = Bank(JudgeConfig()), list[str]()
    for offset, entry in enumerate(given):
        whole += [e.decision.model_dump_json() for e in bank.apply(offset, entry) if isinstance(e, Decide)]
    again = Bank(JudgeConfig())
    parts = list[str]()
    for offset, entry in enumerate(given):
        parts += [e.decision.model_dump_json() for e in again.apply(offset, entry) if isinstance(e, Decide)]
        kept, again = again.dirty() | {key: again.snapshot(key) for key in again.rollouts}, Bank(JudgeConfig())
        for part, raw in kept.items():
            again.load(part, raw)

    assert whole == parts != []
