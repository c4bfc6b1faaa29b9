"""What of a changelog has to be handed on, so that a table knows what it would know after all of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from streams.in_sequence import Numbered
from streams.snapshots import newest, packed
from tests.support.movers import MemoryTable

SPOILT = b"z spoilt"


def offset_of(snapshot: bytes) -> int:
    return int(snapshot)


def record(at: int, key: str, seen: int | None) -> Any:
    value = SPOILT if seen is None else packed(f"{seen:08}".encode())
    return SimpleNamespace(offset=at, key=key.encode(), value=value, partition=0)


def known(batches: list[list[Any]]) -> tuple[dict[bytes, bytes], set[bytes]]:
    """What a table knows after these, and of which keys it knows that they cannot be read."""
    store = MemoryTable(offset_of).snapshots
    for batch in batches:
        store.apply_changelog_batch([SimpleNamespace(message=one) for one in batch], None, None)
    return dict(store.data), set(store.unreadable)


written = st.lists(st.tuples(st.sampled_from("abc"), st.none() | st.integers(0, 9)), min_size=1, max_size=20)


@given(st.lists(written, min_size=1, max_size=4))
def test_a_table_knows_the_same_after_less(batches: list[list[tuple[str, int | None]]]):
    """Whatever was written, and however it comes together: the same snapshots, and the same is known not to be readable."""
    given_ = [[record(at, key, seen) for at, (key, seen) in enumerate(batch)] for batch in batches]
    shorter = [newest(batch, len(batch), offset_of) for batch in given_]

    assert known(given_) == known(shorter)
    assert [batch[-1] for batch in given_] == [batch[-1] for batch in shorter]


@given(written, st.integers(-1, 20), st.integers(0, 20))
def test_a_recovery_may_end_anywhere_behind_its_end(batch: list[tuple[str, int | None]], to: int, beyond: int):
    """
    Whoever reads a changelog to an offset may stop at any record from there on, though more came with it: it knows of each
    part the newest snapshot of those up to there, and not an older one because a newer one was still to come.
    """
    given_ = [record(at, key, seen) for at, (key, seen) in enumerate(batch)]
    shorter = newest(given_, to, offset_of)
    until = [one.offset for one in shorter if one.offset >= to][:beyond + 1]
    end = until[-1] if until else len(batch)

    def read(records: list[Any]) -> list[Any]:
        return [one for one in records if one.offset <= end]

    assert known([read(given_)]) == known([read(shorter)])


def test_one_record_of_a_key_is_enough():
    """Of a hundred rounds of ten parts ten records are handed on, where all of them are to be read."""
    rounds = [record(10 * turn + part, f"part-{part}", turn) for turn in range(100) for part in range(10)]

    assert rounds[-10:] == newest(rounds, 999, offset_of)
    assert [*rounds[970:980], *rounds[980:]] == newest(rounds, 979, offset_of)
    assert rounds == newest(rounds, -1, offset_of)


def test_what_is_dropped_on_the_way_is_noticed():
    """Records of a changelog that never came are known to be missing, until all of it is read again."""
    store, numbered = MemoryTable(offset_of).snapshots, Numbered()

    def read_from(start: int, *kept: int) -> None:
        numbered.set_back(0, start)
        records = [record(at, "a", at) for at in range(start, 6)]
        numbered.number(0, records)
        store.apply_changelog_batch([SimpleNamespace(message=one) for one in records if one.offset in kept], None, None)

    told = []
    for start, kept in [(0, {0, 1, 2, 3, 4, 5}), (3, {3, 4, 5}), (3, {4, 5}), (4, {4, 5}), (0, {0, 1, 2, 3, 4, 5}), (0, {0, 2})]:
        read_from(start, *kept)
        told.append(set(store.gaps))

    assert [set(), set(), {0}, {0}, set(), {0}] == told
