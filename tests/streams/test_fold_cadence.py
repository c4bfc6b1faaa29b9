"""Promises about how often a flag's sums go out where there are very many flags."""

from __future__ import annotations

import random

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.summaries import TICK_MS, FlagSums
from streams.fold import Fold, FoldConfig, Savepoint
from streams.folding.cadence import CYCLE, Cadence
from tests.support.events import NOON_MS, line, outcome
from tests.support.folds import totals

CONFIG = FoldConfig(rows_max=5)


def traffic(seed: int, flushes: int) -> list[list[tuple[str, int]]]:
    """One hot flag (30 events a flush), one middling (6), twelve with an event now and then: (flag, latency)."""
    rng = random.Random(seed)
    found = []
    for _ in range(flushes):
        names = ["hot"] * 30 + ["middling"] * 6 + [f"cold-{at}" for at in range(12) if rng.random() < 0.3]
        found.append([(name, rng.randrange(1_000)) for name in names])
    return found


def run(fold: Fold, flushes: list[list[tuple[str, int]]], offset: int, *, failing: bool = False) -> list[list[FlagSums]]:
    """Feed the fold flush by flush; return what each flush gives. ``failing``: all events fail."""
    found = []
    for events in flushes:
        records = [
            line(outcome({flag: "t"}, outcome="error" if failing else "ok", latency_ms=latency), offset + at)
            for at, (flag, latency) in enumerate(events)
        ]
        fold.take([record for record in records if record.offset >= fold.position], NOON_MS)
        offset += len(records)
        found.append(fold.flush())
    return found


def test_few_flags_go_out_every_flush():
    """
    Up to the limit every flag with an event is in the flush, with ticks of the shortest length.
    """
    flushes = run(Fold("t/0", FoldConfig(rows_max=14)), traffic(1, 2 * CYCLE), 0)

    for events, flags in zip(traffic(1, 2 * CYCLE), flushes, strict=True):
        assert sorted({f"production|{flag}" for flag, _ in events}) == [flag.key for flag in flags]
        assert {TICK_MS} == {tick.length_ms for flag in flags for tick in flag.ticks}


def test_among_many_flags_those_with_few_events_go_out_less_often():
    """
    After a cycle of counting, the hot flag goes out every flush, the middling one every fifth with ticks of a second,
    the cold ones at the end of the cycle with ticks of five.
    """
    second = run(Fold("t/0", CONFIG), traffic(1, 2 * CYCLE), 0)[CYCLE:]
    lengths = {flag.key: {tick.length_ms for tick in flag.ticks} for flags in second for flag in flags}
    cold = {key for key in lengths if "cold" in key}

    assert [["production|hot"]] * 4 == [[flag.key for flag in flags] for flags in second[:4]]
    assert ["production|hot", "production|middling"] == [flag.key for flag in second[4]]
    assert cold and {"production|hot", "production|middling", *cold} == {flag.key for flag in second[-1]}
    assert ({TICK_MS}, {5 * TICK_MS}) == (lengths["production|hot"], lengths["production|middling"])
    assert all({CYCLE * TICK_MS} == lengths[key] for key in cold)


def test_holding_back_loses_nothing():
    """
    Over a whole number of cycles the totals are those of a source with few flags.
    """
    events = traffic(2, 3 * CYCLE)

    crowded = [flag for flags in run(Fold("t/0", CONFIG), events, 0) for flag in flags]
    roomy = [flag for flags in run(Fold("t/0"), events, 0) for flag in flags]

    assert totals(roomy) == totals(crowded)


def test_outcomes_never_choose_the_cadence():
    """
    The same events, all failing instead of succeeding, go out in the same flushes with the same ticks.
    """
    fine = run(Fold("t/0", CONFIG), traffic(3, 2 * CYCLE), 0)
    failing = run(Fold("t/0", CONFIG), traffic(3, 2 * CYCLE), 0, failing=True)

    def shape(flushes: list[list[FlagSums]]) -> list[list[tuple[str, list[tuple[int, int]]]]]:
        return [[(f.key, [(t.start_ms, t.length_ms) for t in f.ticks]) for f in flags] for flags in flushes]

    assert shape(fine) == shape(failing)


@given(st.integers(0, 10), st.integers(1, 3 * CYCLE))
@settings(max_examples=12, deadline=None)
def test_a_crash_between_flushes_loses_and_doubles_nothing(seed: int, crash: int):
    """
    Whoever reads on from the committed offset and its note sends exactly what had not been sent before.
    """
    events = traffic(seed, 4 * CYCLE)
    first = Fold("t/0", CONFIG)
    sent = run(first, events[:crash], 0)
    note = first.savepoint().note
    committed = sum(len(flush) for flush in events[:crash])
    assert len(note) < 4_096

    second = Fold("t/0", CONFIG, position=committed, note=note)
    again = run(second, [[event for flush in events for event in flush]], 0)
    # What is still held back goes out till the end of the cycle.
    again += [second.flush() for _ in range(2 * CYCLE)]

    expected = totals(flag for flags in run(Fold("t/0"), events, 0) for flag in flags)
    assert expected == totals(flag for flags in [*sent, *again] for flag in flags)
    assert (sum(len(flush) for flush in events), 0) == (first.counts.outcomes + second.counts.outcomes, second.counts.duplicates)


def test_a_rollback_brings_held_sums_back():
    """
    Sums that were held back at the last commit are still there after a rollback.
    """
    events = traffic(5, 3 * CYCLE)
    fold = Fold("t/0", CONFIG)
    sent = run(fold, events[: CYCLE + 7], 0)
    committed: Savepoint = fold.savepoint()
    offset = sum(len(flush) for flush in events[: CYCLE + 7])
    run(fold, events[CYCLE + 7 :], offset)
    fold.rollback(committed)

    sent += run(fold, events[CYCLE + 7 :], offset)

    straight = run(Fold("t/0", CONFIG), events, 0)
    assert msgspec.json.encode(straight) == msgspec.json.encode(sent)


def test_a_foreign_note_is_no_note():
    """
    Metadata beside an offset that somebody else wrote is ignored: reading goes on at the offset.
    """
    for note in ("", "{}", "hello", '{"sent":[1]}', '{"sent":[1,2],"fast":"%","middling":""}', "[]", "5"):
        fold = Fold("t/0", position=70, note=note)
        assert 70 == fold.position
    assert Cadence().note() == ""
