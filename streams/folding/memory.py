"""
A bounded memory of 64-bit keys, for whole batches at once, that can be taken back.

Two generations of open-addressing tables in numpy: when the young one is
full it becomes the old one, and the old one is forgotten. Which keys are
remembered depends on the sequence of keys alone, not on how it was cut into
batches. Additions since a mark can be undone, so that events that are read
again after a failed transaction are not taken for repeats.
"""

from __future__ import annotations

from mmap import mmap

import numpy as np
import numpy.typing as npt

Keys = npt.NDArray[np.uint64]
Values = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Slots = npt.NDArray[np.int64]

_EMPTY = np.uint64(0)
_TAKEN = np.uint64(1 << 63)
"""Set in every key, so that none is the mark of an empty slot; 63 bits of a hash tell keys apart as well."""


class _Table:
    """Keys and values in ``2^bits`` slots, at most half full, probed linearly."""

    def __init__(self, capacity: int) -> None:
        slots = 1 << (2 * capacity - 1).bit_length()
        self.keys: Keys = np.frombuffer(_pages(slots), dtype=np.uint64)
        self.values: Values = np.frombuffer(_pages(slots), dtype=np.int64)
        self.last = slots - 1
        self.count = 0

    def find(self, keys: Keys) -> tuple[Slots, Bools]:
        """Return the slot of each key, or the free slot where its probing ends, and whether it is there."""
        slots: Slots = (keys & np.uint64(self.last)).view(np.int64)
        if not self.count:
            return slots, np.zeros(keys.size, dtype=np.bool_)
        there = self.keys.take(slots)
        found = there == keys
        going = np.flatnonzero((there != _EMPTY) & ~found)
        while going.size:
            slot = (slots[going] + 1) & self.last
            slots[going] = slot
            there = self.keys.take(slot)
            hit = there == keys[going]
            found[going] = hit
            going = going[~hit & (there != _EMPTY)]
        return slots, found

    def insert(self, keys: Keys, slots: Slots) -> Slots:
        """Insert distinct keys that are not there, from the free slots that ``find`` gave; return their slots."""
        slots = slots.copy()
        # All slots are free; of the keys that want the same one, the last to be written has it.
        self.keys[slots] = keys
        going = np.flatnonzero(self.keys.take(slots) != keys)
        while going.size:
            slots[going] = (slots[going] + 1) & self.last
            free = going[self.keys.take(slots[going]) == _EMPTY]
            self.keys[slots[free]] = keys[free]
            going = going[self.keys.take(slots[going]) != keys[going]]
        self.count += keys.size
        return slots

    def remove_last(self, slots: Slots) -> None:
        """Take the most recent insertion back; the table is then as it was before."""
        self.keys[slots] = _EMPTY
        self.count -= slots.size


def _pages(slots: int) -> mmap:
    """
    Return zeroed memory of its own for so many numbers.

    The system gives a page when it is first touched, so an idle table costs nothing, and has all of it back when the table
    goes, whatever else the process has allocated meanwhile.
    """
    return mmap(-1, 8 * slots)


class Memory:
    """
    Remembers the last ``capacity`` to ``2 * capacity`` distinct keys, each with its first value.

    With ``refresh``, a key that is met again counts as recent.
    """

    def __init__(self, capacity: int, *, refresh: bool = False) -> None:
        self._capacity = max(capacity, 1)
        self._refresh = refresh
        self._young = _Table(self._capacity)
        self._old = _Table(1)
        self._undo: list[tuple[_Table, Slots] | tuple[_Table, None]] = []
        self._confirmed = 0

    def __len__(self) -> int:
        return self._young.count + self._old.count

    def meet(self, keys: Keys, values: Values | None = None) -> tuple[Values | None, Bools]:
        """
        Meet the keys in their order; return the first value known of each, and whether it is new.

        A key that comes twice in the batch is new once. Without ``values``
        only the keys are remembered, and no values returned; then always so.
        """
        known = None if values is None else values.copy()
        new = np.zeros(keys.size, dtype=np.bool_)
        keys = keys | _TAKEN
        start = 0
        while start < keys.size:
            rest = None if known is None else known[start:]
            if rest is not None and values is not None:
                rest[:] = values[start:]
            start += self._meet_part(keys[start:], rest, new[start:])
        return known, new

    def _meet_part(self, keys: Keys, known: Values | None, new: Bools) -> int:
        """
        Meet keys until the young table is full; return how many were met.

        ``known`` holds their values and is filled with those known before, ``new`` with which are new.
        """
        new[:] = False
        slots, found = self._young.find(keys)
        away = np.flatnonzero(~found)
        if known is not None and away.size < keys.size:
            known[found] = self._young.values.take(slots[found])
        if not away.size:
            return keys.size
        old_slots, in_old = self._old.find(keys[away])
        is_in_old = bool(in_old.any())
        if known is not None and is_in_old:
            known[away[in_old]] = self._old.values.take(old_slots[in_old])
        coming = away[~in_old] if is_in_old and not self._refresh else away
        firsts = _firsts(keys, coming, known)
        new[firsts] = True
        if is_in_old:
            new[away[in_old]] = False
        met = keys.size
        room = self._capacity - self._young.count
        if firsts.size >= room:
            met = int(np.sort(firsts)[room - 1]) + 1
            firsts = firsts[firsts < met]
        inserted = self._young.insert(keys[firsts], slots[firsts])
        if known is not None:
            self._young.values[inserted] = known[firsts]
        self._undo.append((self._young, inserted))
        if self._young.count >= self._capacity:
            self._turn()
        return met

    def _turn(self) -> None:
        self._undo.append((self._old, None))
        self._old, self._young = self._young, _Table(self._capacity)

    def mark(self) -> int:
        """Return a mark of the memory as it is now."""
        return self._confirmed + len(self._undo)

    def confirm(self, mark: int) -> None:
        """Give up the possibility to go back behind ``mark``."""
        del self._undo[: mark - self._confirmed]
        self._confirmed = max(self._confirmed, mark)

    def undo(self, mark: int) -> None:
        """Forget whatever was met after ``mark``, and remember what was forgotten for it."""
        while self._confirmed + len(self._undo) > mark:
            table, slots = self._undo.pop()
            if slots is not None:
                table.remove_last(slots)
            else:
                self._young, self._old = self._old, table

    def content(self) -> tuple[dict[int, int], dict[int, int]]:
        """Return keys and first values of the young and of the old generation."""
        young, old = (
            dict(zip((table.keys[taken] ^ _TAKEN).tolist(), table.values[taken].tolist(), strict=True))
            for table in (self._young, self._old)
            for taken in (table.keys != _EMPTY,)
        )
        return young, old

    @property
    def bytes(self) -> int:
        """Address space of the tables; the system backs what has been touched."""
        return sum(table.keys.nbytes + table.values.nbytes for table in (self._young, self._old))


_SCRATCH_BITS = 18
_scratch: npt.NDArray[np.int32] = np.zeros(1 << _SCRATCH_BITS, dtype=np.int32)


def _firsts(keys: Keys, coming: Slots, known: Values | None) -> Slots:
    """Return where in ``coming`` each key is met first; its repeats take over what is known of it there."""
    suspects = coming[_suspects(keys[coming])]
    order = np.lexsort((suspects, keys[suspects]))
    ordered = suspects[order]
    begins = np.ones(ordered.size, dtype=np.bool_)
    begins[1:] = keys[ordered[1:]] != keys[ordered[:-1]]
    if begins.all():
        return coming
    if known is not None:
        known[ordered] = known[ordered[begins]][np.cumsum(begins) - 1]
    is_first = np.ones(keys.size, dtype=np.bool_)
    is_first[ordered[~begins]] = False
    firsts: Slots = coming[is_first[coming]]
    return firsts


def _suspects(keys: Keys) -> Slots:
    """
    Return the places of all keys that are there twice, and of a few others.

    Every key writes its place where its upper bits say: keys that find
    another's place there are looked at. That is faster than to sort all.
    """
    slot = (keys >> np.uint64(63 - _SCRATCH_BITS)).view(np.int64) & (1 << _SCRATCH_BITS) - 1
    place = np.arange(keys.size, dtype=np.int32)
    _scratch[slot] = place
    found = _scratch[slot]
    lost = np.flatnonzero(found != place)
    suspected = np.zeros(keys.size, dtype=np.bool_)
    suspected[lost] = True
    suspected[found[lost]] = True
    return np.flatnonzero(suspected)
