"""How far the event topics have been read: one watermark common to all arms."""

from __future__ import annotations

import msgspec

from guardian.names import Millis
from guardian.packing import pack, refused, unpack, version_of
from guardian.propagation import Propagation
from guardian.served import Known

FORMAT = 1
SOURCE_TTL_MS = 24 * 3_600_000
"""Who has said nothing for so long is forgotten: a partition of a topic that is read no more."""
FOUND_MAX = 1_000
"""Flags without a policy of which is remembered what stores serve; beyond, later ones are not, until there is room."""
CATCH_UP_MS = 15_000
"""After all sources were silent at once, those that catch up are waited for no longer while others have caught up."""
APART_MS = 120_000
"""So far ahead of the slowest the fastest may be: all that it brings meanwhile waits in memory and in snapshots."""
_BARE = range(0x80, 0x90)
"""How the first format began, which had no version: as MessagePack writes a small map."""


class Source(msgspec.Struct, array_like=True):
    """
    What one input partition last said: its clock, and the event time that it has passed.

    After a silence of all it is waited for until it has caught up, and at most until ``awaited_to_ms``.
    """

    at_ms: Millis
    passed_ms: Millis
    awaited_to_ms: Millis = 0

    def is_talking(self, floor_ms: Millis) -> bool:
        """Whether it has been heard of since then."""
        return self.at_ms >= floor_ms

    def keeps_up(self, floor_ms: Millis) -> bool:
        """Whether it has passed that; it has been heard of since then, too, as no source is ahead of its own clock."""
        return self.passed_ms >= floor_ms


class Sources(msgspec.Struct):
    """
    All input partitions that ever spoke in this journal, and the journal's clock.

    What was learned of stores is here, too: it is as old as the sources, and so the same for every rollout that asks.
    ``found`` are the flags that no policy is about and of which people get more than one variation: what each store serves.

    The clock is the latest ``at_ms`` of any entry: it never runs backwards,
    whatever the clocks of the workers do. ``heard_ms`` is the latest of a source's.
    """

    offset: int = -1
    now_ms: Millis = 0
    swept_ms: Millis = 0
    looked_ms: Millis = 0
    known: dict[str, Source] = {}
    propagation: Propagation = msgspec.field(default_factory=Propagation)
    found: dict[str, dict[str, Known]] = {}
    heard_ms: Millis = 0

    def snapshot(self) -> bytes:
        """Return the sources as bytes (`packing.pack`)."""
        return pack(FORMAT, msgspec.msgpack.encode(self))

    @classmethod
    def restore(cls, raw: bytes) -> Sources:
        """
        Return the sources that ``snapshot`` wrote, also before it had a version.

        Raises:
            NewerFormat: a newer version wrote them.
            ValueError: they are of another format, or damaged.
        """
        version = version_of(raw)
        if version == FORMAT:
            return msgspec.msgpack.decode(unpack(raw), type=cls)
        if version in _BARE:
            return msgspec.msgpack.decode(raw, type=cls)
        raise refused(raw, " of the sources", (FORMAT,))

    def hear(self, source: str, at_ms: Millis, passed_ms: Millis, idle_ms: Millis) -> None:
        """
        Take a source's word; neither its clock nor its progress runs backwards.

        Where none had been heard of for ``idle_ms``, all that were until then are awaited from now on.
        """
        if self.heard_ms and at_ms - self.heard_ms > idle_ms:
            self._wake(at_ms, idle_ms)
        self.heard_ms = max(self.heard_ms, at_ms)
        self.tick(at_ms)
        passed_ms = min(passed_ms, at_ms)
        held = self.known.get(source)
        if held is None:
            self.known[source] = Source(at_ms, passed_ms)
            return
        held.at_ms = max(held.at_ms, at_ms)
        held.passed_ms = max(held.passed_ms, passed_ms)
        if held.keeps_up(self.now_ms - idle_ms):
            held.awaited_to_ms = 0

    def _wake(self, at_ms: Millis, idle_ms: Millis) -> None:
        for held in self.known.values():
            if held.is_talking(self.heard_ms - idle_ms):
                held.awaited_to_ms = at_ms + CATCH_UP_MS
            elif held.awaited_to_ms > self.heard_ms:
                # A silence takes nothing from its patience, and gives none anew: who is gone for good holds nobody for ever.
                held.awaited_to_ms += at_ms - self.heard_ms

    def tick(self, at_ms: Millis) -> None:
        """Let the journal's clock reach ``at_ms``."""
        self.now_ms = max(self.now_ms, at_ms)

    def find(self, key: str, store: str, known: Known) -> None:
        """Take what a store serves of a flag without a policy; one that everybody has the same of is no rollout."""
        stores = self.found.get(key, {})
        if store in stores and stores[store].at_ms > known.at_ms:
            return
        if known.serves.is_divided and (stores or len(self.found) < FOUND_MAX):
            self.found[key] = {**stores, store: known}
        elif stores.pop(store, None) is not None and not stores:
            del self.found[key]

    def sweep(self, every_ms: Millis) -> bool:
        """Say whether it is time to look at every rollout again."""
        if self.now_ms - self.swept_ms < every_ms:
            return False
        self.swept_ms = self.now_ms
        if any(source.at_ms < self.now_ms - SOURCE_TTL_MS for source in self.known.values()):
            self.known = {name: source for name, source in self.known.items() if source.at_ms >= self.now_ms - SOURCE_TTL_MS}
        return True

    def look(self, every_ms: Millis) -> bool:
        """Say whether it is time to look at the rollouts that wait for time to pass."""
        if self.now_ms - self.looked_ms < every_ms:
            return False
        self.looked_ms = self.now_ms
        return True

    def passed_ms(self, idle_ms: Millis) -> Millis:
        """
        Return the event time that every source that is waited for has passed; 0 where there is none.

        A source that has been silent, or behind, for longer than ``idle_ms`` is not waited for: what it brings later is late,
        and still counted. But after all of them were silent each has what the others are judged by, and no say who catches up
        first: for ``CATCH_UP_MS`` all are waited for. While none keeps up, those that are heard of set the pace. Whoever is more
        than ``APART_MS`` behind the fastest holds nobody.
        """
        passed_ms = [source.passed_ms for source in self._waited_for(idle_ms).values()]
        return max(min(passed_ms), max(passed_ms) - APART_MS) if passed_ms else 0

    def left_out(self, idle_ms: Millis) -> list[str]:
        """Return the names of the sources that the watermark does not wait for."""
        return sorted(self.known.keys() - self._waited_for(idle_ms).keys())

    def _waited_for(self, idle_ms: Millis) -> dict[str, Source]:
        now_ms, floor_ms = self.now_ms, self.now_ms - idle_ms
        found = {name: one for name, one in self.known.items() if one.keeps_up(floor_ms) or now_ms <= one.awaited_to_ms}
        return found or {name: one for name, one in self.known.items() if one.is_talking(floor_ms)}
