from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.decisions import ProofView, PropagationView, ServiceSeen
from streams.apps import board as boards
from streams.apps.board import Board, RolloutNow
from streams.apps.history import MOST_POINTS, MOST_ROLLOUTS, SEGMENTS_KEPT, Histories, History
from tests.support.published import GUARDRAIL, decision, evidence, receipt, rollout

NOW_MS = 1_800_000_000_000


def now(flag: str = "checkout-v2", **more: Any) -> RolloutNow:
    return RolloutNow.model_validate(rollout(flag, **{"at_ms": NOW_MS} | more).model_dump())


def test_the_newest_view_is_shown_with_its_sentences():
    """
    A rollout is shown as its newest view says, with why nothing happened and whether services disagree.
    """
    board = Board()

    assert board.take_rollout(now())
    assert board.take_rollout(now(at_ms=NOW_MS + 500, mixed_units=2, mixed_services=("a", "b")))

    (shown,) = board.rollouts()

    assert shown.why.startswith("Nothing has happened to checkout-v2 in production: “error_rate > 1.2x control”")
    assert shown.mixed == "2 units of checkout-v2 in production saw two variations, shown by a and b."


def test_an_older_view_changes_nothing():
    """
    A view older than the one known, or the same once more, is no news.
    """
    board = Board()
    board.take_rollout(now(status="killed"))

    assert not board.take_rollout(now(at_ms=NOW_MS - 1))
    assert not board.take_rollout(now(status="killed"))
    assert [one.status for one in board.rollouts()] == ["killed"]


def test_a_newer_view_of_the_same_moment_counts():
    """
    Of two views of the same moment the later one in the log is shown.
    """
    board = Board()
    board.take_rollout(now())

    assert board.take_rollout(now(status="killed"))
    assert [one.status for one in board.rollouts()] == ["killed"]


@given(st.permutations(range(4)))
def test_receipts_find_their_decision_in_any_order(order):
    """
    Decision and receipts may come in any order and twice; the chain is the same, told once, oldest first.
    """
    board = Board()
    of = decision(at_ms=NOW_MS)
    takes = [
        lambda: board.take_decision(of),
        lambda: board.take_receipt(receipt(of, "applied")),
        lambda: board.take_receipt(receipt(of, "effective", after_ms=6000)),
        lambda: board.take_decision(of),
    ]
    for i in [*order, *order]:
        takes[i]()
    (shown,) = board.decisions(limit=10)

    assert [one.status for one in shown.receipts] == ["applied", "effective"]
    assert shown.receipts[0].text.endswith("as version 17, 41 ms after it was decided.")


def test_decisions_are_newest_first_and_bounded(monkeypatch):
    """
    Decisions come newest first, of all rollouts or of one, and only so many are kept.
    """
    monkeypatch.setattr(boards, "DECISIONS_KEPT", 3)
    board = Board()
    for i in range(5):
        board.take_decision(decision(i, flag="checkout-v2" if i % 2 else "new-cart", at_ms=NOW_MS + i))

    assert [one.decision_id[-1] for one in board.decisions(limit=10)] == ["4", "3", "2"]
    assert [one.decision_id[-1] for one in board.decisions(limit=10, key="production|new-cart")] == ["4", "2"]
    assert [one.decision_id[-1] for one in board.decisions(limit=1)] == ["4"]


def test_a_deleted_rollout_is_gone():
    """
    A rollout that was deleted is not shown any more, and deleting it again is no news.
    """
    board = Board()
    board.take_rollout(now())

    assert board.drop_rollout("production|checkout-v2")
    assert not board.drop_rollout("production|checkout-v2")
    assert board.rollouts() == []


def test_the_chart_shows_the_evidence_of_the_decision():
    """
    The accounts are emptied with a kill: the point of the decision itself shows that the threshold was reached.
    """
    history = History()
    history.add_view(rollout(at_ms=NOW_MS))
    history.add_decision(decision(at_ms=NOW_MS + 200))
    history.add_view(rollout(at_ms=NOW_MS + 500, guardrails=()))
    lines = history.lines()
    (evidence,) = lines.evidence

    assert lines.t == [NOW_MS, NOW_MS + 200, NOW_MS + 500]
    assert (evidence.guardrail, evidence.log_e) == (GUARDRAIL, [1.9, 7.4, None])
    assert [line.rate for line in lines.rates] == [[0.01] * 3, [0.01] * 3]


def test_segments_have_lines_of_their_own():
    """
    A segment's evidence is not that of the whole; of many segments those with the most evidence are kept.
    """
    (whole,) = rollout(at_ms=NOW_MS).guardrails
    parts = [whole.model_copy(update={"segment": f"n={i}", "log_e": i - 10.0}) for i in range(20)]
    unknown = whole.model_copy(update={"segment": "n=unknown", "log_e": None})
    of = decision(at_ms=NOW_MS + 200, evidence=evidence(segment="n=3"))
    history = History()
    history.add_view(rollout(at_ms=NOW_MS, guardrails=(whole, *parts, unknown)))
    history.add_decision(of)
    lines = {line.segment: line.log_e for line in history.lines().evidence}

    assert lines.pop("") == [1.9, 1.9]
    assert lines.pop("n=3") == [None, 7.4]
    assert sorted(lines) == [f"n={i}" for i in range(20 - SEGMENTS_KEPT, 20)]


def test_guardrails_are_shown_with_their_numbers_in_words():
    """
    The page is handed what a guardrail reads and by how much the variation differs as people read it.
    """
    (row,) = rollout(at_ms=NOW_MS).guardrails
    numbers = {"value": 0.099, "value_control": 0.0097, "interval": (4.61, 22.9)}
    (shown,) = now(guardrails=(row.model_copy(update=numbers),)).guardrails

    assert shown.model_dump()["values"] == "9.9 % against 1.0 %"
    assert shown.model_dump()["differs"] == "4.6 to 23 times"


def test_no_requests_are_no_rate():
    """
    Where nothing was seen lately the rate is unknown, not zero.
    """
    arms = tuple(arm.model_copy(update={"recent_n": 0, "recent_errors": 0}) for arm in rollout(at_ms=0).arms)
    history = History()
    history.add_view(rollout(at_ms=NOW_MS, arms=arms))

    assert [line.rate for line in history.lines().rates] == [[None], [None]]


@settings(deadline=None)
@given(st.lists(st.integers(0, 3_600_000), min_size=1, max_size=400))
def test_histories_are_bounded_and_in_order(times_ms):
    """
    However many points come, in whatever order, few are kept, in order, the newest always.
    """
    history = History()
    for _ in range(3):
        for at_ms in times_ms:
            history.add_view(rollout(at_ms=NOW_MS + at_ms))
    t = history.lines().t

    assert t == sorted(t)
    assert len(t) <= MOST_POINTS
    assert t[-1] == NOW_MS + max(times_ms)


def test_only_so_many_rollouts_have_a_history():
    """
    Histories of the rollouts that changed last are kept; memory does not grow with the number of rollouts.
    """
    histories = Histories()
    for i in range(MOST_ROLLOUTS + 10):
        histories.of(f"production|flag-{i}").add_view(rollout(at_ms=NOW_MS))

    assert histories.of("production|flag-0").lines().t == []
    assert histories.of(f"production|flag-{MOST_ROLLOUTS + 9}").lines().t == [NOW_MS]


def test_a_kill_that_is_not_proven_is_told_in_words():
    """Who served it since, how often and when last, the newest first; before anybody did, for how long clients have."""
    at = {"applied_at": "2026-11-21T01:00:00.000Z", "store": "flagd", "bound_ms": 3_000, "decision_id": "1"}
    served = (
        ServiceSeen(service="search-api", total=4, last_at="2026-11-21T01:00:00.800Z"),
        ServiceSeen(service="checkout-api", total=1_214, last_at="2026-11-21T01:00:09.000Z"),
    )
    shown = now(proofs=(ProofView(variation="a", **at, services=served), ProofView(variation="b", **at)))

    first, second = (one.text for one in shown.proofs)
    assert first == (
        "The kill of a is with flagd since 01:00:00 and not proven yet: checkout-api has served it since "
        "(1,214 exposures, the last at 01:00:09); search-api has served it since (4 exposures, the last at 01:00:00)."
    )
    assert second == "The kill of b is with flagd since 01:00:00 and not proven yet: clients have 3.0 s."


def test_how_fast_stores_are_is_what_the_newest_view_says():
    """Of each store the rows of the newest view that has any, in words."""
    board = Board()
    row = {"store": "flagd", "count": 12, "median_ms": 80, "p95_ms": 900, "longest_ms": 2_100}
    board.take_rollout(now("old", propagation=(PropagationView(**row | {"count": 2}),)))
    board.take_rollout(now("new", at_ms=NOW_MS + 1, propagation=(PropagationView(**row), PropagationView(**row, service="a"))))
    board.take_rollout(now("other", propagation=(PropagationView(**row | {"store": "memory"}),)))
    board.take_rollout(now("none", at_ms=NOW_MS + 2))

    assert [("flagd", None, 12), ("flagd", "a", 12), ("memory", None, 12)] == [
        (one.store, one.service, one.count) for one in board.propagation()
    ]
    assert board.propagation()[0].text == (
        "flagd: to the last exposure after a kill 80 ms in the median, 95 % within 900 ms, the longest 2.1 s, "
        "of the last 12 kills."
    )
