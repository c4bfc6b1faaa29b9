"""Promises of the fold: its sums are exact, add up, and depend on the sequence of events alone."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.lag import delay_bucket
from guardian.sequential.latency import bucket_edge, bucket_key
from guardian.summaries import TICK_MS, Sight
from streams.codecs import EXPOSURE, FEEDBACK, OUTCOME, Event
from streams.fold import Fold, FoldConfig
from streams.folding.buckets import delay_buckets, latency_buckets
from tests.support.events import NOON_MS, exposure, feedback, line, outcome
from tests.support.folds import content, plain_sums, totals, unit_of

KEY = "production|checkout-v2"


spoken: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [{"said": "rating", "score": 2.0, "scale": [1.0, 3.0]}, {"said": "rating", "score": 4.0}, {"said": "nps", "score": 7.0},
     {"said": "thumb", "score": 1.0}, {"said": "report"}]
)  # fmt: skip
told: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries({
    "operation": st.sampled_from([None, "GET /", "POST /"]),
    "error_type": st.sampled_from([None, "TimeoutError"]),
    "attributes": st.one_of(st.none(), st.dictionaries(
        st.sampled_from(["country", "plan"]),
        st.one_of(st.sampled_from(["DE", "FR", True, 3, 2.0, 0.5, None, [1]]), st.integers(0, 40), st.just("x" * 70)),
    )),
    "measures": st.one_of(st.none(), st.dictionaries(st.sampled_from(["quality", "n", "other"]), st.floats(-1, 6))),
})  # fmt: skip


@st.composite
def events(draw: st.DrawFn) -> Event:
    """Events of a few flags, units and seconds, so that they meet."""
    kind = draw(st.sampled_from([OUTCOME, OUTCOME, OUTCOME, EXPOSURE, FEEDBACK]))
    flags = st.dictionaries(st.sampled_from(["a", "b", "c"]), st.sampled_from(["control", "t", "u"]), max_size=3)
    one = st.tuples(st.sampled_from(["a", "b"]), st.sampled_from(["control", "t"])).map(lambda pair: dict([pair]))
    return Event(
        kind=kind,
        time_ms=NOON_MS + draw(st.one_of(st.integers(-2_000, 500), st.sampled_from([-10**11, 4_999, 5_001, 10**9]))),
        environment=draw(st.sampled_from(["production", "staging"])),
        flags=draw(one if kind == EXPOSURE else flags),
        error=kind == OUTCOME and draw(st.booleans()),
        latency_ms=draw(st.one_of(st.none(), st.floats(0, 5_000), st.just(0.0))) if kind == OUTCOME else None,
        context_id=draw(st.sampled_from([None, "u-1", "u-2", "u-3"])),
        service_name=draw(st.sampled_from([None, "api", "web"])),
        **draw(spoken if kind == FEEDBACK else told if kind == OUTCOME else st.just({})),
        weight=draw(st.sampled_from([1, 1, 1, 10])),
        id=draw(st.one_of(st.none(), st.integers(0, 60).map(str))),
        source="/a",
    )


def batches(given_events: list[Event], cuts: list[int]) -> list[list[Event]]:
    """Cut the events into batches of these sizes, the rest in one."""
    found, at = [], 0
    for size in cuts:
        found.append(given_events[at : at + size])
        at += size
    return [*found, given_events[at:]]


def fold_all(parts: list[list[Event]], config: FoldConfig | None = None) -> tuple[Fold, list[Any]]:
    """Fold the batches and flush once."""
    fold = Fold("t/0", config or FoldConfig())
    for part in parts:
        fold.take_events(part, [NOON_MS] * len(part))
    return fold, fold.flush(NOON_MS)


@given(st.lists(events(), max_size=60))
@settings(max_examples=80, deadline=None)
def test_the_sums_are_those_of_the_plainest_fold(given_events: list[Event]):
    """
    Ticks, arms, units and delays are those that one gets by adding event after event.
    """
    _, flags = fold_all([given_events])

    assert content(plain_sums(given_events, NOON_MS).values()) == content(flags)


@given(st.lists(events(), max_size=60), st.lists(st.integers(0, 9)), st.integers(1, 30), st.integers(2, 30))
@settings(max_examples=80, deadline=None)
def test_batches_make_no_difference(given_events: list[Event], cuts: list[int], window: int, units: int):
    """
    However the events were cut into batches, the flush is the same byte for byte, and so are the counts; also where
    the memories for repeats and units are so small that they forget.
    """
    config = FoldConfig(duplicates_window=window, units_max=units)
    whole, flags = fold_all([given_events], config)
    cut, cut_flags = fold_all(batches(given_events, cuts), config)

    assert msgspec.json.encode(flags) == msgspec.json.encode(cut_flags)
    assert whole.counts == cut.counts


@given(st.lists(st.tuples(events(), st.booleans()), max_size=60))
@settings(max_examples=60, deadline=None)
def test_sums_of_any_split_add_up(split: list[tuple[Event, bool]]):
    """
    Two folds over any split of distinct events, added, are one fold over all.
    """
    distinct = [(msgspec.structs.replace(event, id=None), mine) for event, mine in split]
    _, flags = fold_all([[event for event, _ in distinct]])
    _, mine = fold_all([[event for event, here in distinct if here]])
    _, theirs = fold_all([[event for event, here in distinct if not here]])

    assert content(flags) == content([*mine, *theirs])


@given(st.lists(events(), max_size=40), st.lists(events(), max_size=40), st.integers(1, 30))
@settings(max_examples=60, deadline=None)
def test_what_is_read_again_counts_once(before: list[Event], after: list[Event], window: int):
    """
    Rolled back to the last commit, a fold that takes the same events again gives what it would have given at once.
    """
    config = FoldConfig(duplicates_window=window, units_max=2 * window)
    straight, troubled = Fold("t/0", config), Fold("t/0", config)
    for fold in (straight, troubled):
        fold.take_events(before, [NOON_MS] * len(before))
        fold.flush()
    committed = troubled.savepoint()
    for part in (after[: len(after) // 2], after[len(after) // 2 :], after):
        troubled.take_events(part, [NOON_MS] * len(part))
        troubled.flush()
    troubled.rollback(committed)

    for fold in (straight, troubled):
        fold.take_events(after, [NOON_MS] * len(after))

    assert msgspec.json.encode(straight.flush()) == msgspec.json.encode(troubled.flush())
    assert straight.counts == troubled.counts


def test_an_outcome_counts_where_it_started():
    """
    An outcome of 812 ms that ended at 12:00:00.100 belongs to the tick of 11:59:59.200, under each of its flags.
    """
    fold = Fold("t/0")
    fold.take([line(outcome(time=NOON_MS + 100, latency_ms=812, outcome="error"))], NOON_MS + 120)
    flags = fold.flush()

    assert [KEY, "production|new-cart"] == [flag.key for flag in flags]
    (tick,) = flags[0].ticks
    arm = tick.arms["treatment"]
    assert (NOON_MS - 800, TICK_MS) == (tick.start_ms, tick.length_ms)
    assert (1, 1, [unit_of("u-1")], {}) == (arm.outcomes, arm.errors, arm.units, arm.latency)
    assert {"treatment": {delay_bucket(832): 1}} == flags[0].delays


def test_sampled_events_stand_for_many_but_for_one_unit():
    """
    A sampledrate of N weighs all counts; the unit that failed is still one.
    """
    fold = Fold("t/0")
    records = [line(outcome(outcome="error", sampledrate=50)), line(exposure(sampledrate=20))]
    fold.take([*records, line(outcome(outcome="error", sampledrate=5, context_id=None, latency_ms=None))], NOON_MS)
    arms = [tick.arms["treatment"] for tick in fold.flush()[0].ticks]

    assert (20, 55, 55, 5) == tuple(
        sum(getattr(arm, name) for arm in arms) for name in ("exposures", "outcomes", "errors", "anonymous")
    )
    assert [unit_of("u-1")] == [unit for arm in arms for unit in arm.units]


def test_a_repeat_within_the_window_counts_once():
    """
    The same source and id counts once while it is remembered; without an id each event counts.
    """
    fold = Fold("t/0", FoldConfig(duplicates_window=100))
    for _ in range(2):
        fold.take([line(outcome(id=str(at))) for at in range(100)], NOON_MS)
    fold.take([line(outcome(id="7", source="/other")), line(outcome()), line(outcome())], NOON_MS)

    assert {KEY, "production|new-cart"} == {key for key, _ in totals(fold.flush())}
    assert (103, 100) == (fold.counts.outcomes, fold.counts.duplicates)


@given(st.integers(0, 40), st.integers(0, 40), st.booleans())
@settings(max_examples=40, deadline=None)
def test_who_reads_on_remembers_what_was_read_before(at: int, before: int, exposed: bool):
    """
    Whoever reads on from a committed offset, and again what lies before it, takes repeats of that for repeats, whatever
    stands between them; nothing that is read again is summed or counted again.
    """
    make = exposure if exposed else outcome
    sent = [make(id=str(n), context_id=f"u-{n % 7}") for n in range(40)]
    sent += [make(id=str(n), context_id=f"u-{n % 7}") for n in range(30, 50)]
    records = [line(event, offset) for offset, event in enumerate(sent)]
    first, straight = Fold("t/0"), Fold("t/0")
    first.take(records[:at], NOON_MS)
    straight.take(records, NOON_MS)
    back_to = max(at - before, 0)
    second = Fold("t/0", position=at, back_to=back_to)
    begins = second.position, second.is_due
    second.take(records[back_to:], NOON_MS)
    found = totals([*first.flush(), *second.flush()])

    assert (back_to, back_to == at) == begins
    assert len(records) == sum((one.counts.outcomes + one.counts.exposures + one.counts.duplicates) for one in (first, second))
    if before >= min(at, 20):
        assert totals(straight.flush()) == found
        assert straight.counts.duplicates == first.counts.duplicates + second.counts.duplicates


def test_an_event_of_the_future_counts_as_of_now():
    """
    A clock that runs ahead by more than the tolerance gives an event of the moment, and is counted.
    """
    fold = Fold("t/0", FoldConfig(future_tolerance_ms=1_000))
    fold.take([line(outcome(time=NOON_MS + ahead, latency_ms=0)) for ahead in (1_000, 1_001, 10**9)], NOON_MS)
    starts = {tick.start_ms: tick.arms["treatment"].outcomes for tick in fold.flush()[0].ticks}

    assert {NOON_MS: 2, NOON_MS + 1_000: 1} == starts
    assert 2 == fold.counts.future


def test_an_old_event_is_kept():
    """
    An event of a year ago is summed in its own tick; whether it still matters is for others to judge.
    """
    fold = Fold("t/0")
    year_ms = 365 * 86_400_000
    fold.take([line(outcome(time=NOON_MS - year_ms, latency_ms=0)), line(outcome(latency_ms=0))], NOON_MS)

    assert [NOON_MS - year_ms, NOON_MS] == [tick.start_ms for tick in fold.flush()[0].ticks]


def test_a_unit_under_two_variations_is_told_once():
    """
    A unit seen under two variations of one flag in one minute is told once, with both services, whatever the event.
    """
    fold = Fold("t/0")
    seen = [
        exposure(service_name="api"), exposure(variant="control", service_name="web"), exposure(service_name="api"),
        exposure(variant="control", service_name="web"), exposure("new-cart"), exposure("new-cart", "treatment"),
        outcome({"new-cart": "control"}, service_name="api", latency_ms=0),
    ]  # fmt: skip
    fold.take([line(event) for event in seen], NOON_MS)
    checkout, cart = fold.flush()
    fold.take([line(event) for event in seen], NOON_MS)

    assert [(unit_of("u-1"), ["treatment", "control"], ["api", "web"])] == [
        (mixed.unit, mixed.variations, mixed.services) for mixed in checkout.mixed
    ]
    assert [["treatment", "control"]] == [mixed.variations for mixed in cart.mixed]
    assert [[], []] == [flag.mixed for flag in fold.flush()]


def test_a_sample_of_units_is_told_when_first_seen():
    """
    Of many units those whose id is a multiple of 64 are told once per flag, with variation and service.
    """
    fold = Fold("t/0")
    units = [f"u-{at}" for at in range(500)]
    for _ in range(2):
        fold.take([line(exposure(context_id=unit, service_name="api")) for unit in units], NOON_MS)
    (flag,) = fold.flush()
    fold.take([line(exposure(context_id=unit)) for unit in units], NOON_MS)

    sampled = sorted(unit_of(unit) for unit in units if unit_of(unit) % 64 == 0)
    assert sampled and [Sight(unit, NOON_MS, "treatment", "api") for unit in sampled] == flag.cohort
    assert [] == fold.flush()[0].cohort


def test_what_is_no_exposure_is_counted_and_skipped():
    """
    Fallbacks, foreign types, feedback and garbage are counted apart, and only garbage comes back as dead letters.
    """
    fold = Fold("flag.exposures.v1/3")
    records = [
        line(exposure(reason="DEFAULT"), 10), line(exposure(variant=None), 11), line({"specversion": "1.0", "type": "x"}, 12),
        line(feedback(), 13), line(outcome(latency_ms=-4), 14), line(exposure(), 15),
    ]  # fmt: skip
    (dead,) = fold.take(records, NOON_MS)

    counts = fold.counts
    assert (2, 1, 1, 1, 1, 0) == (
        counts.skipped, counts.unknown, counts.feedback, counts.dead, counts.exposures, counts.outcomes
    )  # fmt: skip
    assert ("flag.exposures.v1", 3, 14) == (dead.origin.topic, dead.origin.partition, dead.origin.offset)
    assert "data.latency_ms: should be greater than or equal to 0, not -4" == dead.reason
    assert records[4].value == dead.value


@given(st.lists(st.one_of(st.floats(0, 86_400_000), st.integers(-690, 913).map(bucket_edge)), min_size=1))
@settings(max_examples=60, deadline=None)
def test_latency_buckets_are_those_of_the_tests(latencies: list[float]):
    """
    Buckets of whole arrays agree with the one-by-one function that the statistics use, edges included.
    """
    values = [min(value, 86_400_000.0) for value in latencies]

    assert [bucket_key(value) for value in values] == latency_buckets(np.array(values)).tolist()


@given(st.lists(st.integers(-10, 10**13), min_size=1))
@settings(max_examples=60, deadline=None)
def test_delay_buckets_are_those_of_the_lag(delays: list[int]):
    """
    Delays are bucketed as the lag is learned.
    """
    assert [delay_bucket(delay) for delay in delays] == delay_buckets(np.array(delays, dtype=np.int64)).tolist()


@pytest.mark.parametrize("flags", [1, 3_000])
def test_dense_and_sparse_sums_agree(flags: int):
    """
    Few flags in few ticks (counted in a table) and many over hours (sorted) both give exact sums.
    """
    many = [
        Event(kind=OUTCOME, time_ms=NOON_MS - at * 7_919 % 9_000_000, environment="e", flags={f"f{at * 31 % flags}": "t"},
              latency_ms=math.sqrt(at), error=at % 3 == 0, context_id=f"u{at % 50}")
        for at in range(2_000)
    ]  # fmt: skip
    _, found = fold_all([many])

    assert content(plain_sums(many, NOON_MS).values()) == content(found)
