"""Promises of what a fold remembers, and of how it reads times."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.events import parse_time
from streams.folding.memory import Memory
from streams.folding.times import parse_times
from tests.support.events import NOON_MS, iso, times

SPREAD = 0x9E37_79B9_7F4A_7C15


class PlainMemory:
    """Two generations in dicts, one key at a time."""

    def __init__(self, capacity: int, *, refresh: bool) -> None:
        self.capacity, self.refresh = capacity, refresh
        self.young: dict[int, int] = {}
        self.old: dict[int, int] = {}

    def meet(self, key: int, value: int) -> tuple[int, bool]:
        """Meet one key."""
        if key in self.young:
            return self.young[key], False
        new = key not in self.old
        first = value if new else self.old[key]
        if new or self.refresh:
            self.young[key] = first
            if len(self.young) >= self.capacity:
                self.old, self.young = self.young, {}
        return first, new


# Small keys share slots and probe far; spread ones are as hashes are.
batch = st.lists(st.tuples(st.integers(1, 40), st.integers(0, 9), st.booleans()), max_size=30).map(
    lambda met: [(key * SPREAD % 2**63 if spread else key, value) for key, value, spread in met]
)


@given(st.lists(batch, max_size=6), st.integers(1, 20), st.booleans(), st.data())
@settings(max_examples=200, deadline=None)
def test_the_memory_is_two_plain_generations(batches: list[list[tuple[int, int]]], size: int, refresh: bool, data: st.DataObject):
    """
    Whole batches are met as one key after the other would be; what is undone leaves no trace.
    """
    memory, plain = Memory(size, refresh=refresh), PlainMemory(size, refresh=refresh)
    for met in batches:
        keys = np.array([key for key, _ in met], dtype=np.uint64)
        values = np.array([value for _, value in met], dtype=np.int64)
        if data.draw(st.booleans()):
            mark, before = memory.mark(), memory.content()
            memory.meet(keys, values)
            memory.undo(mark)
            assert before == memory.content()

        first, new = memory.meet(keys, values)
        assert first is not None
        assert new is not None

        assert [plain.meet(key, value) for key, value in met] == list(zip(first.tolist(), new.tolist(), strict=True))
        assert (plain.young, plain.old) == memory.content()


def test_the_memory_is_bounded():
    """
    A million distinct keys leave at most two generations, and the last generation is remembered whole.
    """
    memory = Memory(10_000)
    keys = np.arange(1, 1_000_001, dtype=np.uint64) * np.uint64(SPREAD)
    for part in np.split(keys, 100):
        memory.meet(part, np.zeros(part.size, dtype=np.int64))
        memory.confirm(memory.mark())

    _, new = memory.meet(keys[-10_000:], np.zeros(10_000, dtype=np.int64))
    assert len(memory) <= 20_000
    assert not new.any()
    assert 32 * 10_000 * 4 >= memory.bytes


@given(st.lists(st.one_of(times, st.none(), st.text(max_size=30), st.booleans()), max_size=60), st.integers(0, 60))
@settings(max_examples=200, deadline=None)
def test_times_of_a_batch_are_those_one_by_one(values: list[object], repeated: int):
    """
    A batch of times of any layouts, dates and nonsense is read as each of them alone.
    """
    values = [*values, *[iso(NOON_MS + 997 * at) for at in range(repeated)], *[iso(10**11 * at + 1) for at in range(20)]]

    times_ms, wrong = parse_times(values)

    for value, at_ms, is_wrong in zip(values, times_ms.tolist(), wrong.tolist(), strict=True):
        try:
            assert (parse_time(value), False) == (at_ms, is_wrong)
        except ValueError:
            assert is_wrong
