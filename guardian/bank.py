"""All rollouts of one journal partition: a pure function of the journal's prefix."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from guardian.answers import take_receipt
from guardian.config import JudgeConfig, Now, lag_of
from guardian.decisions import Decision, RolloutView
from guardian.due import is_due, is_waiting
from guardian.effects import Decide, Effect
from guardian.engine import advance_time, take_policy, take_sums
from guardian.journal import NOTICED, Entry, Override, PolicyEntry, ReceiptEntry, Summary, is_lesson, serves_of
from guardian.keepsakes import begin_from, begin_held
from guardian.listening import is_heard, note_unheard
from guardian.names import Millis
from guardian.served import Known
from guardian.sources import Sources
from guardian.state import RolloutState, packed_document
from guardian.storm import kills_before
from guardian.summaries import FlagSums
from guardian.told import take_serves
from guardian.views import view
from guardian.wishes import take_override

__all__ = ["Bank", "JudgeConfig"]

LOOK_MS = 100
"""How often rollouts that wait for time to pass are looked at, in journal time; one that has news, always."""
SWEEP_MS = 1_000
"""How often rollouts that nothing was said of are looked at, in journal time."""
UNWATCHED_MAX = 10_000
"""Flags without a policy of which is counted how often they were seen."""


class Bank:
    """
    State of every rollout in one journal partition.

    Each part (the sources, each rollout) knows the journal offset that it
    has seen, and an entry at or below it is skipped for that part. So parts
    may be loaded from snapshots of different age as long as the sources are
    the oldest: write the snapshot named ``SOURCES`` last.

    ``unwatched`` counts in how many summaries each flag without a policy was seen since this bank began; it is no
    part of the state, and nothing here depends on it.

    While ``is_partial`` some parts are still to come (``adopt``): no rollout begins meanwhile, as it may be one of
    them. ``lost`` are rollouts of which nothing is known but that there were any. ``notes`` says of rollouts what
    people should know about their state; they are for the view alone.
    """

    SOURCES = ""

    def __init__(self, config: JudgeConfig) -> None:
        self.config = config
        self.sources = Sources()
        self.rollouts: dict[str, RolloutState] = {}
        self._changed: set[str] = set()
        self._waiting: set[str] = set()
        self.unwatched: dict[str, int] = {}
        self.is_partial = False
        self.lost: set[str] = set()
        self.notes: dict[str, str] = {}

    def apply(self, offset: int, entry: Entry) -> list[Effect]:
        """Take one entry into account; the same prefix always gives the same effects."""
        if offset > self.sources.offset:
            self.sources.offset = offset
            self._changed.add(self.SOURCES)
            if isinstance(entry, ReceiptEntry) and is_lesson(entry):
                self.sources.propagation.learn(entry)
            elif isinstance(entry, PolicyEntry | Override | ReceiptEntry):
                self.sources.tick(entry.at_ms)
                self._find(entry)
            else:
                self.sources.hear(entry.source, entry.at_ms, entry.passed_ms, self.config.idle_source_ms)
        swept, looked = self.sources.sweep(SWEEP_MS), self.sources.look(LOOK_MS)
        now = Now(
            self.sources.now_ms,
            self.sources.passed_ms(self.config.idle_source_ms),
            self._kills_before,
        )
        effects: list[Effect] = []
        touched = self._take(offset, entry, now, effects)
        seen = self.rollouts.keys() if swept else self._waiting | touched if looked else touched
        for key in sorted(seen):
            state = self.rollouts[key]
            if state.offset >= offset and key not in touched:
                continue
            due = is_due(state, now, self.config)
            if due or key in touched:
                state.offset = offset
                self._changed.add(key)
                if due:
                    effects += advance_time(state, now, self.config)
                (self._waiting.add if is_waiting(state) else self._waiting.discard)(key)
        return effects

    def _find(self, entry: Entry) -> None:
        """Remember what a store serves of a flag that has no policy."""
        if isinstance(entry, ReceiptEntry) and entry.key not in self.rollouts and (serves := serves_of(entry)) is not None:
            self.sources.find(entry.key, entry.store, Known(entry.at_ms, serves, entry.propagation_ms))

    def _kills_before(self, key: str) -> int:
        return kills_before(self.rollouts.values(), key, self.sources.now_ms, self.config.storm_ms)

    def _take(self, offset: int, entry: Entry, now: Now, effects: list[Effect]) -> set[str]:
        """Take what the entry says of rollouts; return the keys of those it touched."""
        if isinstance(entry, Summary):
            return {sums.key for sums in entry.flags if self._take_sums(offset, entry, sums, now)}
        found = self.sources.found.pop(entry.key, {}) if isinstance(entry, PolicyEntry) else {}
        if isinstance(entry, PolicyEntry) and entry.key not in self.rollouts:
            return self._begin(offset, entry, found)
        if not isinstance(entry, PolicyEntry | Override | ReceiptEntry) or is_lesson(entry):
            return set()
        state = self.rollouts.get(entry.key)
        if state is None or state.offset >= offset:
            return set()
        if isinstance(entry, PolicyEntry):
            if entry.by == NOTICED:
                return set()
            take_policy(state, entry)
        elif isinstance(entry, Override):
            effects += take_override(state, entry, now)
        elif (serves := serves_of(entry)) is not None:
            take_serves(state, entry, serves, now.at_ms)
        else:
            bound_ms = self.sources.propagation.bound_ms(entry.store, *self.config.bounds_ms(entry.propagation_ms))
            effects += take_receipt(state, entry, bound_ms)
        return {entry.key}

    def _begin(self, offset: int, entry: PolicyEntry, found: dict[str, Known]) -> set[str]:
        if self.is_partial:
            return set()
        if entry.key in self.lost:
            state = begin_held(entry, offset)
        elif entry.keepsake is not None:
            state = begin_from(entry, entry.keepsake, offset)
        else:
            state = RolloutState(entry.key, packed_document(entry.document), entry.hash, since=offset)
        state.served = found or state.served
        self.rollouts[entry.key] = state
        self.lost.discard(entry.key)
        self.unwatched.pop(entry.key, None)
        return {entry.key}

    def _take_sums(self, offset: int, entry: Summary, sums: FlagSums, now: Now) -> bool:
        state = self.rollouts.get(sums.key)
        if state is None:
            if self.is_partial or sums.key in self.lost:
                return False
            if sums.key in self.unwatched or len(self.unwatched) < UNWATCHED_MAX:
                self.unwatched[sums.key] = self.unwatched.get(sums.key, 0) + 1
            return False
        if state.offset >= offset:
            return False
        if not is_heard(state.policy, entry.source):
            return note_unheard(state, entry.source)
        take_sums(state, entry.source, entry.offsets, sums, now, self.config)
        return True

    def dirty(self) -> dict[str, bytes]:
        """Return snapshots of the parts changed since the last call, ``SOURCES`` last, and forget that they did."""
        parts = {key: self.snapshot(key) for key in sorted(self._changed) if key != self.SOURCES}
        if self.SOURCES in self._changed:
            parts[self.SOURCES] = self.snapshot(self.SOURCES)
        self._changed.clear()
        return parts

    def snapshot(self, part: str) -> bytes:
        """Return a part's snapshot: the journal offset it has seen (8 bytes, big-endian), then its state."""
        if part == self.SOURCES:
            return struct.pack(">q", self.sources.offset) + self.sources.snapshot()
        state = self.rollouts[part]
        return struct.pack(">q", state.offset) + state.snapshot()

    def load(self, part: str, snapshot: bytes) -> bool:
        """
        Take a part from its snapshot unless the one held is newer; say whether it was taken.

        Raises:
            ValueError: it is damaged, or of a format that is not read; nothing is taken.
        """
        offset = self.offset_of(snapshot)
        if part == self.SOURCES:
            if offset <= self.sources.offset:
                return False
            sources = Sources.restore(snapshot[8:])
            _check_offset(sources.offset, offset)
            self.sources = sources
            return True
        held = self.rollouts.get(part)
        if held is not None and held.offset >= offset:
            return False
        state = RolloutState.restore(snapshot[8:])
        _check_offset(state.offset, offset)
        self.rollouts[part] = state
        (self._waiting.add if is_waiting(state) else self._waiting.discard)(part)
        return True

    def adopt(self, rebuilt: Bank, parts: Iterable[str]) -> list[str]:
        """
        Take *parts* from a bank that has seen the same journal as far as this one, and every rollout not held here.

        From then on all is known that can be. Return the rollouts taken; of *parts* those that the other bank does not
        have are ``lost``.
        """
        if self.SOURCES in parts:
            self.sources = rebuilt.sources
            self._changed.add(self.SOURCES)
        taken = sorted(rebuilt.rollouts.keys() - self.rollouts.keys())
        for key in taken:
            self.rollouts[key] = rebuilt.rollouts[key]
            self._changed.add(key)
            self._waiting.add(key)
            self.sources.found.pop(key, None)
        self.lost |= {part for part in parts if part != self.SOURCES} - self.rollouts.keys()
        self.is_partial = False
        return taken

    def view(self, key: str) -> RolloutView:
        """
        Return a rollout as people see it now, by the journal's clock.

        Raises:
            KeyError: nothing is known of it.
        """
        state = self.rollouts[key]
        note = self.notes.get(key, "")
        learned = self.sources.propagation.rows(state.store)
        lags = lag_of(state, self.config), self.config.lag_max_ms
        return view(state, state.policy, self.sources.now_ms, self.passed_ms(), *lags, learned, note)

    def outbox(self) -> list[Decision]:
        """Return the decisions that no receipt has answered yet, oldest first."""
        pending = [p for _, state in sorted(self.rollouts.items()) for p in state.outbox]
        return [p.decision() for p in sorted(pending, key=lambda p: p.sent_ms)]

    def passed_ms(self) -> Millis:
        """Return the event time that all live sources have passed."""
        return self.sources.passed_ms(self.config.idle_source_ms)

    @staticmethod
    def offset_of(snapshot: bytes) -> int:
        """Return the journal offset that a snapshot has seen."""
        if len(snapshot) < 8:
            raise ValueError(f"a snapshot has at least 8 bytes, this one {len(snapshot)}")
        return int(struct.unpack_from(">q", snapshot)[0])


def _check_offset(inside: int, outside: int) -> None:
    """What stands before the state has no checksum of its own, and decides which entries are skipped."""
    if inside != outside:
        raise ValueError(f"a damaged snapshot: it has seen offset {inside}, and says {outside}")


def decisions_of(effects: list[Effect]) -> list[Decision]:
    """Return the decisions among effects."""
    return [effect.decision for effect in effects if isinstance(effect, Decide)]
