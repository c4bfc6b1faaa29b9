"""Promises about what is known of a kill that clients do not follow: who still serves it, and how long stores take."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec
import pytest

from guardian.bank import Bank, JudgeConfig
from guardian.chain import Chain, Place
from guardian.decisions import Receipt, RolloutView
from guardian.effects import Confirm
from guardian.explain import explain_receipt
from guardian.journal import Entry, Override, PolicyEntry, ReceiptEntry, Summary
from guardian.names import iso
from guardian.policy import policy_hash
from guardian.propagation import KEPT, LEARNED_AT, STORES_MAX
from guardian.serving import NAMED_MAX
from guardian.summaries import OTHERS, SERVICES_MAX, TICK_MS, Arm, FlagSums, Served, Tick
from tests.support.traffic import KEY, T0_MS, policy

KILL_AT_MS = T0_MS + 5_000
DONE_MS = KILL_AT_MS + 50
DECISION = f"{KEY}|treatment|1"


def shown(*, stuck: int = 0, quick: int = 0, version: str = "") -> Served:
    """What two services show in a tick: ten requests each, so many of the treatment."""
    return {
        "checkout-api": {"": {"": (10 - stuck, 0)}, "treatment": {version: (stuck, 0)} if stuck else {}},
        "search-api": {"": {"": (10 - quick, 0)}, "treatment": {"17": (quick, 0)} if quick else {}},
    }


def tick(start_ms: int, served: Served) -> Summary:
    """A flush of one tick, whose arms are what the services showed."""
    arms: dict[str, Arm] = {}
    for one in served.values():
        for variation, versions in one.items():
            arms.setdefault(variation or "control", Arm()).exposures += sum(exposures for exposures, _ in versions.values())
    arms = {variation: arm for variation, arm in sorted(arms.items()) if arm.exposures}
    sums = FlagSums(key=KEY, ticks=[Tick(start_ms=start_ms, arms=arms, served=served)])
    at_ms = start_ms + TICK_MS
    return Summary(source="file/0", at_ms=at_ms, passed_ms=at_ms, flags=[sums])


class Loop:
    """A rollout whose treatment a person kills, and what judge says of it."""

    def __init__(self, bank: Bank | None = None) -> None:
        self.bank, self.offset = bank or Bank(JudgeConfig()), bank.sources.offset + 1 if bank is not None else 0
        self.said: list[Receipt] = []
        terms = policy()
        self.take(PolicyEntry(at_ms=T0_MS, key=KEY, hash=policy_hash(terms), document=terms.to_document()))

    def take(self, *entries: Entry) -> None:
        for entry in entries:
            effects = self.bank.apply(self.offset, entry)
            self.said += [effect.receipt for effect in effects if isinstance(effect, Confirm)]
            self.offset += 1

    def kill(self, *, store: str = "flagd", propagation_ms: int = 0) -> Loop:
        self.take(*(tick(T0_MS + 200 * at, {"": {"": {"": (10, 0)}, "treatment": {"": (5, 0)}}}) for at in range(25)))
        self.take(Override(at_ms=KILL_AT_MS, key=KEY, action="kill", variation="treatment", by="ada", reason="smells"))
        done = ReceiptEntry(
            at_ms=DONE_MS, key=KEY, decision_id=DECISION, status="applied", store=store, propagation_ms=propagation_ms
        )
        self.take(done)
        return self

    def go_on(self, seconds: float, served: Served, from_s: float = 0.2) -> Loop:
        """Ticks of so many seconds, from so long after the kill on."""
        ticks = range(round(from_s * 5), round((from_s + seconds) * 5))
        self.take(*(tick(KILL_AT_MS + 200 * at, served) for at in ticks))
        return self

    @property
    def view(self) -> RolloutView:
        return self.bank.view(KEY)


def lessons(took_ms: Iterable[int], store: str = "unleash", services: dict[str, int] | None = None) -> Iterator[ReceiptEntry]:
    for number, one in enumerate(took_ms):
        key = f"production|flag-{number}"
        yield ReceiptEntry(
            at_ms=T0_MS, key=key, decision_id=f"{key}|treatment|1", variation="treatment", status="effective", store=store,
            took_ms=one, services=services or {},
        )  # fmt: skip


# ---------------------------------------------------------------------------- who still serves it


def test_the_service_that_is_stuck_is_named_and_the_one_that_followed():
    """Who still serves what was killed is told with its counts of the window and the flag's version, who stopped with when."""
    loop = Loop().kill().go_on(0.6, shown(stuck=2, quick=3, version="16")).go_on(6.0, shown(stuck=2, version="16"), 0.8)
    (said,) = loop.said

    assert ("not_effective", "flagd") == (said.status, said.store)
    stuck, quick = said.services
    assert ("checkout-api", None, {"16": stuck.still}) == (stuck.service, stuck.stopped_ms, stuck.versions)
    assert 5 * stuck.still == stuck.seen
    assert ("search-api", 0, 750) == (quick.service, quick.still, quick.stopped_ms)
    assert (
        f"checkout-api still serves it: {stuck.still} of its {stuck.seen} exposures in the last "
        f"{said.window_ms / 1_000:.1f} s, by flag version 16; search-api stopped after 750 ms."
    ) in explain_receipt(said)


def test_a_service_that_comes_back_is_told_to_serve_it_again():
    """Who had stopped and serves it again is told with the time since when."""
    loop = Loop().kill().go_on(0.6, shown(stuck=2)).go_on(3.0, shown(), 0.8).go_on(3.0, shown(stuck=2), 3.8)
    (said,) = loop.said

    assert iso(KILL_AT_MS + 3_800) == said.services[0].since
    assert f"again since {said.services[0].since[11:19]}" in explain_receipt(said)


def test_each_window_is_counted_anew():
    """Who stopped after it was told is no longer said to serve it, and what it had served is known all the same."""
    loop = Loop().kill().go_on(6.0, shown(stuck=2)).go_on(1.0, shown(), 6.2)
    (told,), (now,) = loop.said[0].services, loop.view.proofs[0].services

    assert told.still > 0
    assert told.stopped_ms is None
    assert (0, 6_150) == (now.still, now.stopped_ms)
    assert now.total > told.still


def test_without_services_it_is_told_as_before():
    """Where observe has not counted by service, what is still seen is told all the same."""
    loop = Loop().kill()
    for at in range(1, 30):
        summary = tick(KILL_AT_MS + 200 * at, shown(stuck=2))
        summary.flags[0].ticks[0].served = {}
        loop.take(summary)

    assert () == loop.said[0].services
    assert "exposures to treatment began after" in loop.said[0].detail


def test_services_are_bounded():
    """Of a flood of names so many are told apart, all others together; a sentence names a few, and counts the rest."""
    served: Served = {f"api-{number:04d}": {"treatment": {"": (1, 0)}} for number in range(200)}
    served |= shown()
    loop = Loop().kill().go_on(6.0, served)
    (said,) = loop.said

    assert SERVICES_MAX + 1 == len(said.services)
    assert sum(one.still for one in said.services) == 200 * said.services[1].still
    assert said.services[0].service == OTHERS
    text = explain_receipt(said)
    assert f"{SERVICES_MAX + 1 - NAMED_MAX} more services still serve it" in text
    assert "other services still serve it" in text


def test_what_is_not_proven_yet_is_shown_until_it_is():
    """The view names the kill, its store and who served it since; once it is effective, nothing."""
    loop = Loop().kill().go_on(1.0, shown(quick=3))
    (proof,) = loop.view.proofs
    assert ("treatment", "flagd", 3_000) == (proof.variation, proof.store, proof.bound_ms)
    assert ["search-api"] == [one.service for one in proof.services]

    loop.go_on(6.0, shown(), 1.2)
    assert ["effective"] == [one.status for one in loop.said]
    assert () == loop.view.proofs
    assert 1_150 == loop.said[0].took_ms


def test_a_kill_survives_its_snapshot():
    """Whoever goes on from a snapshot in the midst of the proof says the same as who was never interrupted."""
    whole, cut = Loop().kill(), Loop().kill()
    for loop in (whole, cut):
        loop.go_on(2.0, shown(stuck=2, quick=3, version="16"))
    again = Loop.__new__(Loop)
    again.bank, again.offset, again.said = Bank(JudgeConfig()), cut.offset, []
    for part in (KEY, Bank.SOURCES):
        again.bank.load(part, cut.bank.snapshot(part))
    for loop in (whole, again):
        loop.go_on(5.0, shown(stuck=2, version="16"), 2.2)

    assert whole.said
    assert whole.said == again.said
    assert whole.bank.snapshot(KEY) == again.bank.snapshot(KEY)


def test_a_proof_that_an_older_version_began_goes_on():
    """Of a kill whose state does not say when the store had it, the effect is proven as before, and teaches nothing."""
    loop = Loop().kill()
    held = loop.bank.rollouts[KEY].verify["treatment"]
    held.done_ms, held.bound_ms, held.store = 0, 0, ""
    loop.go_on(4.0, shown(quick=3)).go_on(6.0, shown(), 4.2)

    first, last = loop.said
    assert ("not_effective", "effective") == (first.status, last.status)
    assert last.took_ms is None


# ---------------------------------------------------------------------------- how long stores take


@pytest.mark.parametrize(
    ("took_ms", "bound_ms"),
    [
        ([14_000] * (LEARNED_AT - 1), 3_000),
        ([14_000] * LEARNED_AT, 14_000),
        ([100] * 20, 3_000),
        ([14_000] * 4 + [600_000] * 10, 3_000),
        ([*range(12_000, 12_020)], 12_018),
        ([600_000] * 10 + [9_000] * 5, 9_000),
    ],
    ids=["too few", "a slow store", "a fast store", "stuck clients", "all but one in twenty", "both"],
)
def test_what_was_learned_of_a_store_makes_it_patient_at_most(took_ms: list[int], bound_ms: int):
    """A store whose kills took longer than the default has so long; never less than the default, and not for stuck clients."""
    bank = Bank(JudgeConfig())
    for offset, entry in enumerate(lessons(took_ms)):
        bank.apply(offset, entry)
    loop = Loop(bank).kill(store="unleash")

    assert bound_ms == loop.view.proofs[0].bound_ms


def test_a_slow_store_wakes_nobody_once_it_is_known():
    """Clients that ask for news every twelve seconds: before it is known, their kill is told as not effective; then not."""
    for told, expected in ((0, "not_effective"), (LEARNED_AT, "effective")):
        bank = Bank(JudgeConfig())
        for offset, entry in enumerate(lessons([12_000] * told)):
            bank.apply(offset, entry)
        loop = Loop(bank).kill(store="unleash").go_on(12.0, shown(quick=2)).go_on(8.0, shown(), 12.2)
        assert expected == loop.said[0].status


@pytest.mark.parametrize(("told_ms", "bound_ms"), [(0, 3_000), (2_000, 3_000), (20_000, 20_000), (125_000, 125_000)])
def test_what_a_store_is_told_to_need_counts_from_the_first_kill(told_ms: int, bound_ms: int):
    """Whoever knows how slowly the clients of a store follow need not wait for it to be learned; nor is there a most then."""
    assert bound_ms == Loop().kill(store="unleash", propagation_ms=told_ms).view.proofs[0].bound_ms


def test_a_bound_that_somebody_set_stands():
    """Where least and most are the same, nothing that was learned or told counts."""
    bank = Bank(JudgeConfig(propagation_ms=1_000, propagation_max_ms=1_000))
    for offset, entry in enumerate(lessons([14_000] * 20)):
        bank.apply(offset, entry)

    assert 1_000 == Loop(bank).kill(store="unleash", propagation_ms=20_000).view.proofs[0].bound_ms


def test_what_was_learned_is_shown_and_outlives_a_worker():
    """Of the store and of each service: how many kills, median, 95 %, longest; the same from a snapshot."""
    bank = Bank(JudgeConfig())
    for offset, entry in enumerate(lessons([100, 200, 300, 400, 5_000], "flagd", {"search-api": 80})):
        bank.apply(offset, entry)
    loop = Loop(bank).kill()
    whole, service = loop.view.propagation
    again = Bank(JudgeConfig())
    for part in (KEY, Bank.SOURCES):
        again.load(part, bank.snapshot(part))

    assert ("flagd", None, 5, 300, 5_000, 5_000) == msgspec.to_builtins(tuple(whole.model_dump().values()))
    assert ("search-api", 80) == (service.service, service.p95_ms)
    assert loop.view == again.view(KEY)


def test_lessons_are_bounded_and_a_repeat_says_nothing():
    """The last kills alone count, a few stores are remembered, and who reads a lesson twice knows the same."""
    bank = Bank(JudgeConfig())
    told = [*lessons(range(1_000, 1_000 + 2 * KEPT)), *lessons([1, 2], "flagd")]
    for offset, entry in enumerate(told):
        bank.apply(offset, entry)
    before = bank.sources.propagation.rows("unleash")
    for entry in told[-10:]:
        bank.apply(bank.sources.offset + 1, entry)

    assert (KEPT, 1_000 + 2 * KEPT - 1) == (before[0].count, before[0].longest_ms)
    assert before == bank.sources.propagation.rows("unleash")
    for number in range(3 * STORES_MAX):
        bank.apply(bank.sources.offset + 1, next(lessons([5], f"store-{number}")))
    assert STORES_MAX == len(bank.sources.propagation.stores)
    for took_ms in (10**100, -(10**100)):
        bank.apply(bank.sources.offset + 1, next(lessons([took_ms], "odd", {"a": took_ms})))
        assert bank.snapshot(Bank.SOURCES)


def test_a_lesson_answers_nothing():
    """It moves no clock, answers no decision, and breaks no chain though there is no receipt of its own partition for it."""
    loop = Loop()
    loop.take(Override(at_ms=KILL_AT_MS, key=KEY, action="kill", variation="treatment", by="ada", reason="smells"))
    state, now_ms = loop.bank.snapshot(KEY), loop.bank.sources.now_ms
    lesson = ReceiptEntry(at_ms=now_ms + 10**9, key=KEY, decision_id=DECISION, status="effective", store="flagd", took_ms=5)
    loop.take(lesson)
    chain = Chain()
    chain.take_entry(Place("journal", 0, 0, T0_MS), lesson)

    assert (state, now_ms) == (loop.bank.snapshot(KEY), loop.bank.sources.now_ms)
    assert [] == list(chain.breaks())
    assert [DECISION] == [one.decision_id for one in loop.bank.outbox()]
