"""
A partition's state made anew from what the journal still holds.

The state is a function of the journal's prefix, so from a journal with its first entry the very state comes out. Where
the first ones are gone, a rollout that began before goes on from its first keepsake that leaves no gap, and one without
such a keepsake is held.
"""

from __future__ import annotations

from guardian.bank import Bank
from guardian.effects import Effect
from guardian.journal import Entry, PolicyEntry
from guardian.keepsakes import begin_from


class Rebuilding:
    """
    Entries in, twice; a bank out.

    ``bank`` is a new one, ``begins`` the offset of the first entry that the journal still holds. Where it is above 0,
    every entry is to be shown to ``look`` before any is given to ``apply``; entries other than policies need not be.
    """

    def __init__(self, bank: Bank, begins: int) -> None:
        self.bank = bank
        self.begins = begins
        self._kept: dict[str, PolicyEntry] = {}
        self._named: set[str] = set()
        self._is_begun = False

    @property
    def is_whole(self) -> bool:
        """Whether the journal holds all that there ever was."""
        return self.begins == 0

    def look(self, entry: Entry) -> None:
        """Note what the entry keeps of a rollout that began before the journal does."""
        if self.is_whole or not isinstance(entry, PolicyEntry):
            return
        self._named.add(entry.key)
        kept = entry.keepsake
        if kept is None or entry.key in self._kept:
            return
        began_since = kept.since >= self.begins
        if began_since or kept.seen >= self.begins - 1:
            self._kept[entry.key] = entry

    def apply(self, offset: int, entry: Entry) -> list[Effect]:
        """Take an entry into account; as ``Bank.apply``."""
        if not self._is_begun:
            self._begin()
        return self.bank.apply(offset, entry)

    def _begin(self) -> None:
        self._is_begun = True
        for key, entry in self._kept.items():
            kept = entry.keepsake
            if kept is not None and kept.since < self.begins:
                self.bank.rollouts[key] = begin_from(entry, kept, kept.seen)
        # Whether these are new or had a past nobody can tell.
        self.bank.lost = self._named - self._kept.keys()
