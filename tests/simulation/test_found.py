"""What the simulation found, each as small as it can be: mended, or waiting to be."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from functools import partial

import pytest

from guardian.bank import Bank, JudgeConfig
from guardian.decisions import Decision
from guardian.effects import Decide
from guardian.errors import PolicyError
from guardian.journal import Beat, Entry, Override, PolicyEntry, ReceiptEntry, Summary
from guardian.policy import policy_hash
from guardian.ports import CommandKind, FlagCommand
from guardian.summaries import Arm
from streams.commands import command_for
from streams.stores.memory import MemoryFlagStore
from tests.simulation.shelf import flag
from tests.support.courses import Course, between, wish
from tests.support.courses import told as opened
from tests.support.sums import World
from tests.support.traffic import KEY, T0_MS, Traffic, judged, policy
from tests.support.traffic import entries as telemetry

BUG_S = 10.0
NO_DATA = [{"when": "no_data for 5s", "then": "kill"}]


def changed(given: Iterable[Entry], since_s: float, change: Callable[[Arm], None]) -> Iterator[Entry]:
    """The entries, with every arm changed that started since."""
    for entry in given:
        if isinstance(entry, Summary):
            for tick in entry.flags[0].ticks:
                for arm in tick.arms.values() if tick.start_ms >= T0_MS + since_s * 1_000 else ():
                    change(arm)
        yield entry


def told(made: list[Decision]) -> list[tuple[str, str]]:
    """Actions, and what fell silent."""
    return [(one.action, one.evidence.silence if one.evidence else "") for one in made]


def test_a_restored_rollout_writes_the_same_snapshot() -> None:
    """A snapshot that is read and written again is the same to the byte, whatever waits in it."""
    errors, latencies = ("error_rate > 20%",), ("latency_p95 > 1.5x control", "latency_p95 > 300ms")
    whens = (*errors, *latencies, "report_rate > 2x control", "sample_ratio off")
    terms = policy(guardrails=[{"when": when, "then": "pause"} for when in whens], segments=["country"])
    bank = Bank(JudgeConfig())
    bank.apply(0, PolicyEntry(at_ms=T0_MS, key=KEY, hash=policy_hash(terms), document=terms.to_document()))
    world = World(seconds=6.0, countries={"DE": 0.5, "FR": 0.5}, reports=lambda variation, s: 0.1)
    for offset, entry in enumerate(world.entries(), start=1):
        bank.apply(offset, entry)
        other = Bank(JudgeConfig())
        assert other.load(KEY, bank.snapshot(KEY))
        assert bank.snapshot(KEY) == other.snapshot(KEY), offset


def test_an_outage_of_exposures_is_not_the_variations_silence() -> None:
    """Where the exposures of all variations stop and outcomes go on, the pipeline is broken: that never kills."""

    def lose(arm: Arm) -> None:
        arm.exposures = 0

    found = judged(changed(World(seconds=30.0, timed=False).entries(), BUG_S, lose), terms=policy(guardrails=NO_DATA))

    assert [("pause", "pipeline")] == told(found)


@pytest.mark.parametrize("seed", range(5))
def test_an_outage_of_outcomes_is_not_the_silence_of_a_rare_variation(seed: int) -> None:
    """Where all outcomes stop, it does not matter that the last of a rare variation came before the last of control."""
    terms = policy(guardrails=[{"when": "no_data for 10s", "then": "kill"}])
    rare = World(share=lambda s: 0.01, seconds=30.0, timed=False, mute=lambda variation, s: float(s >= BUG_S + 0.7), seed=seed)

    assert [("pause", "pipeline")] == told(judged(rare.entries(), terms=terms))


def test_a_silence_with_a_few_stragglers_is_told() -> None:
    """A variation whose exposures stop is told to be silent, though a few came in the first moments."""
    trickle = World(seconds=40.0, timed=False, lost=_ebbing)

    assert [("kill", "exposures")] == told(judged(trickle.entries(), terms=policy(guardrails=NO_DATA)))


def _ebbing(variation: str, at_s: float, until_s: float = 3.0, left: float = 0.01) -> float:
    if variation == "control" or at_s < BUG_S:
        return 0.0
    return 1.0 - left if at_s < BUG_S + until_s else 1.0


def test_a_change_during_a_silence_does_not_hide_it() -> None:
    """A silence that began with stragglers is told though something is known to have changed in the midst of it."""
    ebbing = partial(_ebbing, until_s=4.0, left=0.1)
    trickle = World(seconds=30.0, rps=20.0, share=lambda s: 0.2, timed=False, lost=ebbing)
    change = Override(at_ms=T0_MS + 20_000, key=KEY, action="changed", variation="", by="ci", reason="build 7", id="7")
    given = [one for one in trickle.entries() if one.at_ms < change.at_ms]
    rest = [one for one in trickle.entries() if one.at_ms >= change.at_ms]

    assert [("kill", "exposures")] == told(judged([*given, change, *rest], terms=policy(guardrails=NO_DATA)))


def test_harm_that_goes_on_after_steps_back_is_paused() -> None:
    """
    What is read of the share before while a step back is young takes nothing of the budget for what comes after it: harm
    that goes on at the smaller share leads back again, and pauses in the first stage.
    """
    stages = [{"share": f"{share}%", "for": "12s"} for share in (10, 20, 30)] + [{"share": "50%", "for": "1h"}]
    terms = policy(guardrails=[{"when": "error_rate > 20%", "then": "step_back"}], stages=stages)
    slow = lambda rng, variation, failed: 6_000.0 if rng.uniform() < 0.05 else 80.0  # noqa: E731
    ill = lambda variation, s: 0.9 if variation == "treatment" and s > 26.0 else 0.01  # noqa: E731
    traffic = Traffic(seconds=70, rps=150, share=lambda s: 0.5, error=ill, latency_ms=slow, seed=3)
    played = Course().play([opened(terms), *telemetry(traffic.requests(), exposures=True)])

    assert [("advance", 0.2), ("advance", 0.3), ("step_back", 0.2), ("step_back", 0.1), ("pause", None)] == played.actions


def test_a_silence_that_goes_on_after_a_step_back_pauses() -> None:
    """A silence leads back once; where the smaller share does not end it, the rollout waits for somebody, told once."""
    terms = policy(
        guardrails=[{"when": "no_data for 5s", "then": "step_back"}],
        stages=[{"share": f"{share}%", "for": "8s"} for share in (10, 20, 50)],
    )
    lost = lambda variation, s: float(variation == "treatment" and s >= 20.0)  # noqa: E731
    world = World(seconds=60.0, rps=60.0, share=lambda s: 0.2, timed=False, lost=lost)
    played = Course().play([opened(terms), *world.entries()])
    back, paused = played.made[-2:]

    assert [("advance", 0.2), ("advance", 0.5), ("step_back", 0.2), ("pause", None)] == played.actions
    assert ["exposures"] * 2 == [one.evidence.silence for one in (back, paused) if one.evidence is not None]
    assert 5.0 <= played.when("pause") - played.when("step_back") < 6.0
    assert "the step back has not ended it" in paused.explanation


def _gone(variation: str, at_s: float, from_s: float = BUG_S) -> float:
    return float(variation == "treatment" and at_s >= from_s)


@pytest.mark.parametrize("then", ["hold", "pause", "kill"])
def test_a_silence_that_goes_on_after_a_resume_is_acted_on_again(then: str) -> None:
    """Somebody resumes what fell silent: where it stays silent as long as the guardrail says, that has its action once more."""
    terms = policy(guardrails=[{"when": "no_data for 5s", "then": then}])
    world = World(seconds=60.0, rps=60.0, share=lambda s: 0.5, timed=False, lost=_gone)
    played = Course().play(between([opened(terms), *world.entries()], wish(30.0, "resume", variation="treatment")))

    assert [then, "resume", then] == [one.action for one in played.made]
    resumed, again = (datetime.fromisoformat(one.decided_at) for one in played.made[1:])
    assert 5.0 <= (again - resumed).total_seconds() < 6.0


def test_what_was_killed_is_not_missed_before_it_is_given_back() -> None:
    """A variation that somebody resumes was not silent while it was dead: it is not killed for that, though the store is slow."""
    dead = lambda variation, s: float(variation == "treatment" and 10.0 <= s < 38.0)  # noqa: E731
    world = World(seconds=60.0, rps=60.0, share=lambda s: 0.5, timed=False, lost=dead)
    wishes = [wish(at_s, action, variation="treatment") for at_s, action in ((10.0, "kill"), (30.0, "resume"))]
    bank, made = Bank(JudgeConfig()), list[Decision]()
    answers = [
        ReceiptEntry(at_ms=T0_MS + at_ms, key=KEY, decision_id=f"{KEY}|treatment|{number}", status="applied")
        for number, at_ms in ((1, 10_100), (2, 37_500))
    ]
    terms = policy(guardrails=NO_DATA)
    for offset, entry in enumerate(between([opened(terms), *world.entries()], *wishes, *answers)):
        made += [one.decision for one in bank.apply(offset, entry) if isinstance(one, Decide)]

    assert {"kill", "resume"} == {one.action for one in made}
    assert all(one.caused_by for one in made)


def test_what_nobody_was_given_is_not_missed() -> None:
    """An advance into the first ring that was given up is taken back from everybody: that the variation is gone is no silence."""
    terms = policy(guardrails=NO_DATA, stages=[{"ring": "staff", "for": "8s"}, {"share": "50%"}], variations=["treatment"])
    brief = World(seconds=40.0, rps=60.0, share=lambda s: 0.2, timed=False, lost=_gone)
    answer = lambda made: {"status": "expired" if made.action == "advance" else "applied"}  # noqa: E731
    played = Course().play([opened(terms), *brief.entries()], answer)

    assert ["advance", "step_back"] == [one.action for one in played.made]


def test_a_silence_is_told_of_once_though_somebody_resumes() -> None:
    """Who is only told of a silence is not told again and again after a resume."""
    terms = policy(guardrails=[{"when": "no_data for 5s", "then": "alert"}])
    world = World(seconds=60.0, rps=60.0, share=lambda s: 0.5, timed=False, lost=_gone)
    played = Course().play(between([opened(terms), *world.entries()], wish(30.0, "resume", variation="treatment")))

    assert ["alert", "resume"] == [one.action for one in played.made]


def test_stragglers_after_a_change_do_not_hide_a_silence() -> None:
    """What silences a variation is told as a change, and a few still start after it: all it had before says what is missing."""
    gone = partial(_gone, from_s=20.4)
    world = World(seconds=40.0, rps=60.0, share=lambda s: 0.2, timed=False, lost=gone)
    change = Override(at_ms=T0_MS + 20_000, key=KEY, action="changed", variation="", by="ci", reason="build 7", id="7")
    played = Course().play(between([opened(policy(guardrails=NO_DATA)), *world.entries()], change))

    assert [("kill", "exposures")] == told(played.made)
    assert played.when("kill") < 27.0


def test_a_stage_is_not_left_before_anything_of_it_was_read() -> None:
    """Starts count for leaving a stage when their outcomes have been read: nothing completes without being looked into."""
    slow = lambda rng, variation, failed: 8_000.0 if rng.uniform() < 0.05 else 80.0  # noqa: E731
    traffic = Traffic(seconds=40, rps=150, share=lambda s: 0.5, latency_ms=slow, seed=5)
    stages = [{"share": "10%", "for": "20s"}, {"share": "50%"}]
    played = Course().play([opened(policy(stages=stages)), *telemetry(traffic.requests(), exposures=True)])

    assert ["advance", "complete"] == [one.action for one in played.made]
    lag_s = played.views[-1].lag_ms / 1_000
    assert 5.0 < lag_s < played.when("complete") - played.when("advance")


def until_resume() -> list[Decision]:
    """Harm that is paused in the first stage, and a person's resume while it goes on."""
    terms = policy(
        guardrails=[{"when": "error_rate > 1.2x control", "then": "pause"}],
        stages=[{"share": "10%", "for": "8s"}, {"share": "50%"}],
    )
    bank, found = Bank(JudgeConfig()), []
    world = World(seconds=12.0, share=lambda s: 0.1, errors=lambda v, s: 0.5 if v == "treatment" else 0.01, timed=False)
    first = PolicyEntry(at_ms=T0_MS, key=KEY, hash=policy_hash(terms), document=terms.to_document())
    entries: list[Entry] = [first, *world.entries()]
    wish = Override(at_ms=T0_MS + 11_000, key=KEY, action="resume", variation="treatment", by="ann", reason="again", id="1")
    at = next(number for number, entry in enumerate(entries) if entry.at_ms >= wish.at_ms)
    offset = 0
    for entry in [*entries[:at], wish, *entries[at : at + 3]]:
        made = [effect.decision for effect in bank.apply(offset, entry) if isinstance(effect, Decide)]
        found += made
        offset += 1
        for one in made:
            answer = ReceiptEntry(at_ms=entry.at_ms, key=KEY, decision_id=one.decision_id, status="already")
            bank.apply(offset, answer)
            offset += 1
    return found


def test_a_resume_does_not_advance_at_once() -> None:
    """After a person's resume the stage has its time again: a harmful variation does not get more in the same moment."""
    actions = [one.action for one in until_resume()]

    assert ["pause", "resume"] == actions[:2]
    assert "advance" not in actions


def test_a_policy_without_tests_advances() -> None:
    """A rollout whose only guardrail is on silence goes through its stages."""
    stages = [{"share": "50%", "for": "5s"}, {"share": "100%"}]
    found = judged(World(seconds=15.0, timed=False).entries(), terms=policy(guardrails=NO_DATA, stages=stages))

    assert ["advance"] == [one.action for one in found]


def test_stepping_back_needs_stages() -> None:
    """A policy that steps back and has no stages is refused, as there is nothing to step back to."""
    with pytest.raises(PolicyError):
        policy(guardrails=[{"when": "error_rate > 20%", "then": "step_back"}])


async def test_a_lost_kill_does_not_undo_a_later_resume() -> None:
    """Where the broker lost a kill and a person then wants a resume, the kill that is sent again does nothing any more."""
    terms, bank, store = policy(), Bank(JudgeConfig()), MemoryFlagStore({"flags": {"checkout-v2": flag(0.1)}})
    entries: list[Entry] = [PolicyEntry(at_ms=T0_MS, key=KEY, hash=policy_hash(terms), document=terms.to_document())]
    entries += [
        Override(at_ms=T0_MS + at_ms, key=KEY, action=action, variation="treatment", by="ann", reason="why", id=action)
        for at_ms, action in ((100, "kill"), (200, "resume"))
    ]
    entries += [Beat(source="s/0", at_ms=T0_MS + at_ms, passed_ms=T0_MS + at_ms) for at_ms in range(1_000, 9_000, 500)]
    sent: list[Decision] = []
    for entry in entries:
        offset = bank.sources.offset + 1
        for decision in [effect.decision for effect in bank.apply(offset, entry) if isinstance(effect, Decide)]:
            sent.append(decision)
            command = command_for(decision)
            if len(sent) > 1 and command is not None:  # the first one is lost
                applied = await store.apply(command)
                answer = ReceiptEntry(at_ms=entry.at_ms, key=KEY, decision_id=decision.decision_id, status=applied.status)
                bank.apply(bank.sources.offset + 1, answer)

    served = await store.read("production", "checkout-v2")
    assert not bank.rollouts[KEY].variations["treatment"].killed
    assert abs(served.weights["treatment"] - 0.1) < 1e-3


async def test_a_resume_read_again_after_a_later_kill_does_not_revive() -> None:
    """Act dies before its offset is committed and reads an old resume again: what was killed since stays killed."""
    store = MemoryFlagStore({"flags": {"checkout-v2": flag(0.1)}})
    commands: list[tuple[str, CommandKind]] = [(f"{KEY}|treatment|1", "resume"), (f"{KEY}|treatment|2", "kill")]
    resume, kill = (
        FlagCommand(name, name, "checkout-v2", "production", kind, "treatment", "control") for name, kind in commands
    )
    first = [(await store.apply(command)).status for command in (resume, kill)]
    again = await store.apply(resume)

    assert ["already", "applied"] == first
    assert "already" == again.status
    assert (await store.read("production", "checkout-v2")).weights["treatment"] == 0.0


def several(number: int, kind: CommandKind, variation: str, share: float | None = None) -> FlagCommand:
    name = f"{KEY}|{variation}|{number}"
    return FlagCommand(name, name, "checkout-v2", "production", kind, variation, "control", share)


async def test_an_overtaken_command_of_another_variation_is_carried_out() -> None:
    """A judge that dies between two decisions sends the first one last: it is only outdated for its own variation."""
    store = MemoryFlagStore({"flags": {"checkout-v2": flag(0.2, ("a", "b"))}})
    found = [await store.apply(several(*one)) for one in ((2, "set_share", "a", 0.3), (1, "set_share", "b", 0.3))]
    late = await store.apply(several(1, "set_share", "a", 0.4))

    assert ["applied", "applied"] == [one.status for one in found]
    assert "superseded" == late.status
    served = (await store.read("production", "checkout-v2")).weights
    assert {"control": 0.4, "a": 0.3, "b": 0.3} == dict(served)


async def test_a_resume_of_one_leaves_the_others_of_a_killed_flag_dead() -> None:
    """After a kill of the whole flag a person brings back one variation: the others stay with control."""
    store = MemoryFlagStore({"flags": {"checkout-v2": flag(0.2, ("a", "b"))}})
    for command in (several(1, "kill_flag", "a"), several(2, "resume", "a")):
        assert "applied" == (await store.apply(command)).status

    assert {"control": 0.9, "a": 0.1, "b": 0.0} == dict((await store.read("production", "checkout-v2")).weights)
