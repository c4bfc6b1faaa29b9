"""Whatever is dropped between a fetch and an agent, every record is let through after the one before it."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.in_sequence import InSequence, Numbered, Place

AT = "journal/0"


def message(offset: int, place: Place | None = None, at: str = AT) -> Any:
    return SimpleNamespace(offset=offset, checksum=place, tp=at, topic="journal", partition=0)


@dataclass
class Log:
    """A partition with gaps in its offsets, as markers leave them; a fetch goes on where the last one ended."""

    offsets: list[int]
    committed: int = 0
    numbered: Numbered = field(default_factory=Numbered)
    _at: int = 0

    def set_back(self) -> None:
        self.numbered.set_back(AT, self.committed)
        self._at = sum(offset < self.committed for offset in self.offsets)

    def fetch(self, most: int) -> list[Any]:
        found = [message(offset) for offset in self.offsets[self._at : self._at + most]]
        self._at += len(found)
        self.numbered.number(AT, found)
        return found


def reading(log: Log) -> tuple[InSequence, list[int]]:
    """What reads the log, and which times it asked for it to be set back."""
    asked: list[int] = []

    async def set_back() -> None:
        asked.append(log.numbered.times)
        log.set_back()

    return InSequence(lambda: log.numbered.times, set_back), asked


@settings(deadline=None)
@given(st.lists(st.integers(1, 3), min_size=1, max_size=60), st.floats(0.0, 0.6), st.integers(0, 10_000))
def test_nothing_is_let_through_after_something_missing(steps: list[int], loss: float, seed: int):
    """
    Records dropped at random, buffers thrown away, partitions set back at any moment: what is let through never leaves one
    out since what is committed, and in the end all of it was.
    """
    dice, offsets = random.Random(seed), [sum(steps[: at + 1]) for at in range(len(steps))]
    log = Log(offsets)

    async def scenario() -> None:
        read, _ = reading(log)
        known: set[int] = set()
        log.set_back()
        for lossy in [True] * 60 + [False] * (2 * len(steps) + 2):
            part = loss if lossy else 0.0
            for one in log.fetch(dice.randint(1, 8)):
                if dice.random() < part:
                    continue
                if read.follows(one):
                    assert set(offsets[: offsets.index(one.offset)]) <= known, (one.offset, sorted(known))
                    known.add(one.offset)
                    if dice.random() < 0.2:
                        log.committed = one.offset + 1
            if dice.random() < part / 4:
                read.restart()
                log.set_back()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        # What is dropped last shows with the next record.
        log.offsets.append(offsets[-1] + 1)
        for _ in range(len(steps) + 2):
            known |= {one.offset for one in log.fetch(100) if read.follows(one)}
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        assert known == set(log.offsets)

    asyncio.run(scenario())


async def test_what_was_fetched_before_a_rebalance_is_not_let_through_after_it():
    """
    Part of a fetch is taken, some of it dropped, and the rest comes as if it were of the new assignment: none of that is
    let through, and all of it when the partition has been set back.
    """
    log = Log(list(range(10)))
    read, _ = reading(log)
    log.set_back()
    before = log.fetch(8)
    assert all(read.follows(one) for one in before[:3])

    assert not read.follows(before[6])
    read.restart()
    assert not read.follows(before[7])
    log.set_back()

    assert [True] * 10 == [read.follows(one) for one in log.fetch(10)]


async def test_one_gap_is_mended_once():
    """However many records stand behind what is missing, the partition is set back once for it."""
    log = Log(list(range(10)))
    read, asked = reading(log)
    log.set_back()

    assert [True, False, False, False] == [read.follows(one) for one in log.fetch(10) if one.offset not in (1, 2, 3, 4, 5, 6)]
    await asyncio.sleep(0)

    assert [1] == asked


async def test_setting_back_is_tried_until_it_is_done():
    """In a rebalance it may fail; what is missing is still missing then."""
    log, failures = Log([0, 1, 2]), [ValueError("no partitions"), ValueError("again")]

    async def set_back() -> None:
        if failures:
            raise failures.pop()
        log.set_back()

    read = InSequence(lambda: log.numbered.times, set_back)
    log.set_back()
    read.follows(log.fetch(3)[2])
    async with asyncio.timeout(10):
        while log.numbered.times == 1:
            await asyncio.sleep(0.01)

    assert [True] * 3 == [read.follows(one) for one in log.fetch(3)]


def test_records_without_a_place_are_not_let_through():
    """Before a partition is first set back, nobody knows what comes before a record."""
    log = Log([0])
    read, _ = reading(log)

    assert [None] == [one.checksum for one in log.fetch(1)]
    assert not read.follows(message(0))
