"""The engine as a whole: journal entries in, effects out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.bank import Bank, JudgeConfig
from guardian.decisions import Decision, Receipt, RolloutView
from guardian.effects import Confirm, Decide, Effect, Show
from guardian.journal import NOTICED, Beat, Entry, Override, PolicyEntry, ReceiptEntry, decode, encode
from guardian.plan import RATING
from guardian.policy import Policy, policy_hash
from tests.support.courses import between, serves
from tests.support.sums import World, ratings
from tests.support.traffic import KEY, T0_MS, Traffic, entries, judged, policy


def policy_entry(terms: Policy, at_ms: int = T0_MS) -> PolicyEntry:
    return PolicyEntry(at_ms=at_ms, key=terms.key, hash=policy_hash(terms), document=terms.to_document())


def journal(traffic: Traffic, *, exposures: bool = True, terms: Policy | None = None) -> list[Entry]:
    return [policy_entry(terms or policy()), *entries(traffic.requests(), exposures=exposures)]


def run(bank: Bank, given: Sequence[Entry], first: int = 0) -> list[list[Effect]]:
    return [bank.apply(first + i, entry) for i, entry in enumerate(given)]


def decisions(effects: Sequence[Sequence[Effect]]) -> list[Decision]:
    return [e.decision for step in effects for e in step if isinstance(e, Decide)]


def receipts(effects: Sequence[Sequence[Effect]]) -> list[Receipt]:
    return [e.receipt for step in effects for e in step if isinstance(e, Confirm)]


def last_view(bank: Bank, given: Sequence[Entry], first: int = 0) -> RolloutView:
    """What was shown last while the bank took these entries."""
    shown = [bank.view(e.key) for i, entry in enumerate(given) for e in bank.apply(first + i, entry) if isinstance(e, Show)]
    return shown[-1]


BUG = Traffic(seconds=25, rps=200, error=lambda v, s: 0.2 if v == "treatment" and s > 8 else 0.01, seed=5)
HEALTHY = Traffic(seconds=25, rps=200, seed=5)


@pytest.mark.parametrize("exposures", [True, False])
def test_a_bug_is_killed_once_and_says_why(exposures: bool) -> None:
    """A treatment that fails 20 times as often is killed within seconds, once, in one sentence with its numbers."""
    made = judged(entries(BUG.requests(), exposures=exposures))

    assert ["kill"] == [d.action for d in made]
    killed = made[0]
    assert f"{KEY}|treatment|1" == killed.decision_id
    assert killed.evidence is not None
    assert killed.evidence.log_e >= killed.evidence.log_threshold
    assert killed.explanation.startswith("Killed checkout-v2/treatment in production: ")
    assert T0_MS + 8_000 < _ms(killed.decided_at) < T0_MS + 14_000


@pytest.mark.parametrize("exposures", [True, False])
def test_a_healthy_rollout_is_left_alone(exposures: bool) -> None:
    """Two arms that fail alike lead to no decision."""
    assert [] == judged(entries(HEALTHY.requests(), exposures=exposures))


def test_a_shared_incident_is_no_kill() -> None:
    """When both arms fail at the same time, nobody is to blame."""
    incident = Traffic(seconds=25, rps=200, error=lambda v, s: 0.5 if 8 < s < 14 else 0.01, seed=7)

    assert [] == judged(entries(incident.requests(), exposures=True))


def test_a_shared_incident_above_a_fixed_bound_holds_and_says_so() -> None:
    """A fixed bound that control breaks as well holds the rollout instead of killing it."""
    terms = policy(guardrails=[{"when": "error_rate > 5%", "then": "kill"}])
    incident = Traffic(seconds=25, rps=200, error=lambda v, s: 0.5 if s > 8 else 0.01, seed=7)
    made = judged(entries(incident.requests(), exposures=True), terms=terms)

    assert {"hold"} == {d.action for d in made}
    assert "shared incident" in made[0].explanation


def test_same_prefix_same_effects() -> None:
    """Replaying a journal replays its effects, bit for bit."""
    given_entries = journal(BUG)

    assert run(Bank(JudgeConfig()), given_entries) == run(Bank(JudgeConfig()), given_entries)


def test_entries_survive_the_wire() -> None:
    """An entry read back from its bytes leads to the same effects."""
    given_entries = journal(BUG)
    read_back = [decode(encode(entry)) for entry in given_entries]

    assert run(Bank(JudgeConfig()), given_entries) == run(Bank(JudgeConfig()), read_back)


def test_an_entry_seen_twice_counts_once() -> None:
    """Entries at or below a part's offset change nothing and say nothing."""
    given_entries = journal(BUG)
    bank = Bank(JudgeConfig())
    run(bank, given_entries)
    parts = {key: bank.snapshot(key) for key in (KEY, Bank.SOURCES)}

    assert [] == decisions(run(bank, given_entries))
    assert parts == {key: bank.snapshot(key) for key in (KEY, Bank.SOURCES)}


EVERYTHING = policy(
    guardrails=[
        {"when": when, "then": "pause"}
        for when in (
            *("error_rate > 1.2x control", "error_rate > 5%", "latency_p95 > 1.5x control", "latency_p95 > 300ms"),
            *("csat < control - 0.3", "report_rate > 2x control", "sample_ratio off", "no_data for 3s"),
        )
    ],
    segments=["country"],
    stages=[{"share": "50%", "for": "1h"}, {"share": "100%"}],
)


def everything() -> list[Entry]:
    """All that there is to read of a rollout, in fifty seconds of which the middle ones are bad for treatment."""
    ill = lambda variation, s: 3.0 if variation == "treatment" and 10 < s < 25 else 1.0  # noqa: E731
    world = World(
        seconds=50, rps=100, errors=lambda v, s: 0.02 * ill(v, s), latency_ms=lambda v, s: 80.0 * ill(v, s),
        reports=lambda v, s: 0.01 * ill(v, s), scores={RATING: (0.3, (1.0, 5.0), ratings(0.9, 20.0))},
        countries={"DE": 0.5, "US": 0.3, "FR": 0.2}, lost=lambda v, s: float(v == "treatment" and s > 44),
    )  # fmt: skip
    tells = [serves(at_s, share, written={"control": 0.5, "treatment": 0.5}) for at_s, share in ((-1.0, 0.5), (18.0, 0.4))]
    other = serves(30.0, 0.3)
    other.key = "production|nobody-watches-it"
    return [tells[0], policy_entry(EVERYTHING), *between(world.entries(), tells[1], other)]


JOURNALS = {"a bug": journal(BUG), "every signal": everything()}


@given(
    name=st.sampled_from(sorted(JOURNALS)),
    crashes=st.lists(st.integers(1, 270), min_size=1, max_size=4),
    torn=st.booleans(),
)
@settings(max_examples=10, deadline=None)
def test_a_crash_anywhere_changes_nothing(name: str, crashes: list[int], torn: bool) -> None:
    """
    A worker that dies and goes on from its snapshots decides the same, also when it died while writing them.

    Snapshots are taken every 20 entries; ``torn``: only the rollouts' parts
    of the last round were written, not the sources'.
    """
    given_entries = JOURNALS[name]
    whole = Bank(JudgeConfig())
    expected = decisions(run(whole, given_entries))
    kept: dict[str, bytes] = {}
    acked, found = -1, {}
    bank, i, deaths = Bank(JudgeConfig()), 0, sorted(crashes)
    while i < len(given_entries):
        for decision in decisions([bank.apply(i, given_entries[i])]):
            found[decision.decision_id] = decision
        i += 1
        if i % 20 == 0:
            parts = bank.dirty()
            dying = bool(deaths) and deaths[0] <= i
            if dying and torn:
                parts.pop(Bank.SOURCES, None)
            kept.update(parts)
            acked = acked if dying and torn else i - 1
        if deaths and deaths[0] <= i:
            deaths.pop(0)
            bank = Bank(JudgeConfig())
            for part, raw in kept.items():
                bank.load(part, raw)
            for decision in bank.outbox():
                found[decision.decision_id] = decision
            i = acked + 1

    assert {d.decision_id: d for d in expected} == found
    assert whole.snapshot(KEY) == bank.snapshot(KEY)
    assert whole.sources.found == bank.sources.found


def test_every_signal_was_read_in_that() -> None:
    """The journal of every signal leads to decisions on several of them, and leaves a state that holds all lines."""
    bank = Bank(JudgeConfig())
    made = decisions(run(bank, JOURNALS["every signal"]))
    lines = set(bank.rollouts[KEY].variations["treatment"].lines)

    assert len({d.signal for d in made}) >= 4
    assert {"latency", "over:300000", "feedback:rating", "reports", "fresh", "failures@country=DE"} <= lines


def test_a_decision_stays_until_its_receipt() -> None:
    """A kill is sent again every five seconds of journal time with the same id until a receipt answers it."""
    given_entries = journal(Traffic(seconds=40, rps=200, error=BUG.error, seed=5))
    bank = Bank(JudgeConfig())
    made = decisions(run(bank, given_entries))

    assert len(made) >= 4
    assert 1 == len({d.decision_id for d in made})
    assert [made[0].decision_id] == [d.decision_id for d in bank.outbox()]
    bank.apply(
        len(given_entries),
        ReceiptEntry(at_ms=T0_MS + 41_000, key=KEY, decision_id=made[0].decision_id, status="applied"),
    )
    assert [] == bank.outbox()


@pytest.mark.parametrize("ends", [True, False])
def test_a_kill_is_proven_by_exposures(ends: bool) -> None:
    """After the store applied a kill: ``effective`` once exposures ended, ``not_effective`` with what is still seen."""
    bank, offset = Bank(JudgeConfig()), 0
    made: list[Decision] = []
    said: list[Receipt] = []
    killed_ms = 0
    traffic = Traffic(seconds=40, rps=200, error=BUG.error, seed=5)
    requests = traffic.requests()
    for phase in (0, 1):
        if phase and ends:
            requests = [r for r in requests if r.variation == "control" or r.start_ms < killed_ms + 500]
        for i, entry in enumerate([policy_entry(policy()), *entries(requests, exposures=True)]):
            if i < offset:
                continue
            effects = bank.apply(offset, entry)
            offset += 1
            said += receipts([effects])
            for decision in decisions([effects]):
                if not made:
                    killed_ms = _ms(decision.decided_at)
                    made.append(decision)
            if made and not phase:
                break
        if not phase:
            answer = ReceiptEntry(at_ms=killed_ms + 50, key=KEY, decision_id=made[0].decision_id, status="applied")
            bank.apply(offset, answer)

    # The receipt took one offset of its own, so the second phase goes on with the entry after it.
    assert (["effective"] if ends else ["not_effective"]) == [r.status for r in said][:1]
    assert 1 == len(said)


def test_a_person_always_wins() -> None:
    """Kill and resume by a person become decisions that name who and why, and a killed variation runs again."""
    bank = Bank(JudgeConfig())
    given_entries = journal(HEALTHY)
    run(bank, given_entries)
    n = len(given_entries)
    kill = Override(at_ms=T0_MS + 30_000, key=KEY, action="kill", variation="treatment", by="ada", reason="smells")
    resume = Override(at_ms=T0_MS + 31_000, key=KEY, action="resume", by="ada", reason="was the proxy")
    made = decisions(run(bank, [kill, resume], n))

    assert ["kill", "resume"] == [d.action for d in made]
    assert "ada" in made[0].explanation
    assert "smells" in made[0].explanation
    assert ["treatment"] == bank.rollouts[KEY].alive()


def test_what_a_person_wants_is_carried_out_in_shadow_mode() -> None:
    """Of a rollout in shadow mode the guardian's own decisions are only told; a person's are to be carried out."""
    wishes = [
        Override(at_ms=T0_MS + at_ms, key=KEY, action=action, variation="treatment", by="ann", reason="why", id=action)
        for at_ms, action in ((30_000, "kill"), (40_000, "resume"), (50_000, "pause"))
    ]
    given = sorted([*entries(BUG.requests(), exposures=True), *wishes], key=lambda one: one.at_ms)
    made = judged(given, terms=policy(mode="shadow"))
    wanted = {one.action: one for one in made if one.caused_by}

    assert {"shadow"} == {one.mode for one in made if not one.caused_by}
    assert {"kill": "enforce", "resume": "enforce", "pause": "enforce"} == {name: one.mode for name, one in wanted.items()}
    assert wanted["kill"].explanation.startswith("Killed ")


def test_shadow_mode_decides_the_same() -> None:
    """Shadow mode takes the decision of enforce mode and marks it."""
    enforced = judged(entries(BUG.requests(), exposures=True))
    shadowed = judged(entries(BUG.requests(), exposures=True), terms=policy(mode="shadow"))

    assert [(d.action, d.decided_at) for d in enforced] == [(d.action, d.decided_at) for d in shadowed]
    assert ["shadow"] == [d.mode for d in shadowed]


def test_stages_advance_by_time_while_all_is_calm() -> None:
    """A healthy rollout goes to its next stage when the time of the stage is over; a harmed one does not."""
    stages = [{"share": "10%", "for": "10s"}, {"share": "50%"}]
    healthy = judged(entries(HEALTHY.requests(), exposures=True), terms=policy(stages=stages))
    harmed = judged(entries(BUG.requests(), exposures=True), terms=policy(stages=stages))

    assert [("advance", 0.5)] == [(d.action, d.share) for d in healthy]
    assert "kill" == harmed[-1].action


def test_no_data_is_no_good_news() -> None:
    """A rollout whose telemetry stops neither advances nor deposits, and shows itself stale once."""
    bank = Bank(JudgeConfig())
    stages = [{"share": "10%", "for": "10s"}, {"share": "50%"}]
    quiet = [r for r in HEALTHY.requests() if r.start_ms < T0_MS + 6_000]
    given_entries = [policy_entry(policy(stages=stages)), *entries(quiet, exposures=True, linger_ms=30_000)]
    shown = last_view(bank, given_entries)

    assert "stale" == shown.telemetry
    assert [] == bank.outbox()
    assert bank.rollouts[KEY].variations["treatment"].offered < 0.001 + 1e-6


def test_unknown_rollouts_are_counted() -> None:
    """Telemetry of a flag without a policy decides nothing and is counted by name."""
    bank = Bank(JudgeConfig())
    run(bank, list(entries(HEALTHY.requests(), exposures=True)))

    assert bank.unwatched[KEY] > 0
    assert {} == bank.rollouts


def test_view_shows_both_arms() -> None:
    """The view of a running rollout holds both arms with rates, intervals, shares and standing evidence."""
    seen = last_view(Bank(JudgeConfig()), journal(HEALTHY))

    assert "running" == seen.status
    assert ["control", "treatment"] == [a.variation for a in seen.arms]
    assert seen.arms[1].rate is not None
    assert seen.arms[1].share == pytest.approx(0.1, abs=0.05)
    assert seen.guardrails[0].log_e is not None


def _ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1_000)


def test_a_fixed_bound_needs_no_control() -> None:
    """With everybody in the treatment there is nobody to compare with, and a fixed bound is watched all the same."""
    terms = policy(guardrails=[{"when": "error_rate > 5%", "then": "kill"}])
    harmful = Traffic(seconds=30, rps=100, users=3_000, seed=1, share=lambda s: 1.0, error=lambda v, s: 0.3)
    healthy = Traffic(seconds=30, rps=100, users=3_000, seed=1, share=lambda s: 1.0, error=lambda v, s: 0.03)
    made = [judged(entries(traffic.requests(), exposures=False), terms=terms, stop=True) for traffic in (harmful, healthy)]

    assert [["kill"], []] == [[one.action for one in decisions] for decisions in made]


def test_a_changed_policy_is_shown_without_telemetry() -> None:
    """What observe is to sum, and what people read of a rollout, follows its policy though nothing is heard of the flag."""
    bank, terms = Bank(JudgeConfig()), policy(guardrails=[{"when": "csat < 4", "then": "pause"}])
    beats: list[Entry] = [Beat(source="a/0", at_ms=T0_MS + at, passed_ms=T0_MS + at) for at in range(0, 5_000, 100)]
    run(bank, [policy_entry(policy()), *beats])
    later: list[Entry] = [Beat(source="a/0", at_ms=T0_MS + at, passed_ms=T0_MS + at) for at in range(5_100, 9_000, 100)]
    shown = last_view(bank, [policy_entry(terms, T0_MS + 5_000), *later], first=100)

    assert policy_hash(terms) == shown.policy_hash
    assert [RATING] == list(shown.plan["scores"])


@pytest.mark.parametrize(("action", "status"), [("kill", "killed"), ("pause", "paused")])
def test_a_persons_wish_is_shown_without_telemetry(action: str, status: str) -> None:
    """What a person did stands in the rollout's view, though nothing is heard of the flag."""
    wish = Override(at_ms=T0_MS + 5_000, key=KEY, action=action, variation="treatment", by="ada", reason="late")
    beats: list[Entry] = [Beat(source="a/0", at_ms=T0_MS + at, passed_ms=T0_MS + at) for at in range(0, 5_000, 100)]
    later: list[Entry] = [Beat(source="a/0", at_ms=T0_MS + at, passed_ms=T0_MS + at) for at in range(5_100, 9_000, 100)]
    bank = Bank(JudgeConfig())
    run(bank, [policy_entry(policy()), *beats])

    assert status == last_view(bank, [wish, *later], first=100).status


def test_a_noticed_policy_never_replaces_another() -> None:
    """A default policy counts where a rollout has none; what stands already stays, whoever wrote it."""
    theirs, default = policy(), policy(guardrails=[{"when": "error_rate > 50%", "then": "alert"}])
    noticed = policy_entry(default)
    noticed.by = NOTICED
    first, second = Bank(JudgeConfig()), Bank(JudgeConfig())
    run(first, [policy_entry(theirs), noticed])
    run(second, [noticed, policy_entry(theirs)])
    alone = Bank(JudgeConfig())
    run(alone, [noticed])

    assert [policy_hash(theirs)] * 2 == [bank.rollouts[KEY].policy_hash for bank in (first, second)]
    assert policy_hash(default) == alone.rollouts[KEY].policy_hash


def test_flags_without_a_policy_are_counted_until_they_have_one() -> None:
    """Each summary that tells of a flag without a policy counts once; with its policy the count is gone."""
    bank, summaries = Bank(JudgeConfig()), list(entries(Traffic(seconds=3, rps=50, seed=5).requests(), exposures=True))
    run(bank, summaries)
    counted = bank.unwatched[KEY]
    bank.apply(len(summaries), policy_entry(policy()))

    assert sum(any(s.key == KEY for s in getattr(one, "flags", [])) for one in summaries) == counted > 0
    assert {} == bank.unwatched
