"""
The fold: events of one source to sums that add up.

Pure work over batches, without Kafka and without a clock: the loop in
``streams.observe`` and the replay of files both use it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy

import numpy as np
import numpy.typing as npt

from guardian.names import Millis
from guardian.plan import Plan
from guardian.summaries import TICK_MS, FlagSums
from streams.codecs import EXPOSURE, FEEDBACK, OUTCOME, Codec, Event, Message, Record
from streams.deadletters import DeadLetter, dead_letter
from streams.folding.admission import FLAGS, SERVICES, VARIATIONS, Known
from streams.folding.chunk import Chunk
from streams.folding.columns import Batch, columns_of, read
from streams.folding.keyed import keyed
from streams.folding.memory import Memory
from streams.folding.names import Names, Settings
from streams.folding.planned import Planned
from streams.folding.serving import Proofs, Serving
from streams.folding.sights import UNIT_SHIFT, Sights
from streams.folding.state import Counts, FoldConfig, Savepoint
from streams.folding.sums import sums
from streams.folding.waiting import Waiting

__all__ = ["Batch", "Counts", "Fold", "FoldConfig", "Savepoint"]

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_DEFAULT = FoldConfig()


class Fold:
    """
    Sums of one source (an input partition, or a file) between two flushes.

    The sums depend on the sequence of events alone, not on how it was cut
    into batches. ``position`` and ``note`` are the committed offset and what
    was written beside it (``Savepoint.note``); from ``back_to`` on, an earlier
    offset, events are read again for what they leave in memory, so that their
    repeats are known for repeats. ``counts`` says what became of the events,
    ``reached_ms`` is the event time that reading has reached. ``plans`` say
    what is wanted of a flag beside requests and failures; ``examples`` are names
    that were too many. One thread, one owner.
    """

    def __init__(
        self, source: str, config: FoldConfig = _DEFAULT, *, position: int = 0, note: str = "", back_to: int | None = None
    ) -> None:
        self.source = source
        self.config = config
        self.counts = Counts()
        self._waiting = Waiting(position, note, config.rows_max)
        self._resume = position
        self._next = min(self._waiting.sent, position if back_to is None else back_to)
        self.reached_ms: Millis = 0
        self._codec = Codec(bare=config.bare)
        self._repeats = Memory(config.duplicates_window)
        self._planned = Planned(config.units_max)
        self._serving = Serving()
        self._can_roll_back = False
        self._known: Known = {}
        self._settings: Settings
        self._sights: Sights
        self._forget_names()

    @property
    def position(self) -> int:
        """
        The offset from which to read on.

        At first it is the committed one, or one before it where sums had been held back or memory is to be had.
        """
        return self._next

    @property
    def plans(self) -> Mapping[str, Plan]:
        """
        What is wanted, by the flag's key; set between batches, it counts for the events that are taken from then on.

        It stays whatever else is forgotten or taken back. A mapping that has been set is not changed any more.
        """
        return self._planned.plans

    @plans.setter
    def plans(self, plans: Mapping[str, Plan]) -> None:
        self._planned.follow(plans)
        self._settings.follow(_watched(plans))
        self._codec.detailed = self._planned.details.wanted

    @property
    def known(self) -> Known:
        """Which flags have a rollout, with which variations: they are told apart whatever else there is."""
        return self._known

    @known.setter
    def known(self, known: Known) -> None:
        self._known = known
        self._settings.names.admission.follow(known)

    @property
    def proofs(self) -> Proofs:
        """Which kills have to be proven: of their flags it is counted which services show what; as for ``plans``."""
        return self._serving.proofs

    @proofs.setter
    def proofs(self, proofs: Proofs) -> None:
        self._serving.follow(proofs)

    @property
    def examples(self) -> Mapping[int, Sequence[str]]:
        """Some of the names of which there were too many, by what they are of."""
        return self._settings.names.admission.examples

    @property
    def is_due(self) -> bool:
        """Whether a flush may be made: not while what lies before the committed offset is read again."""
        return self._next >= self._resume

    def pass_gap(self) -> None:
        """What was to be read again is no longer there: go on at the committed offset."""
        self._next = max(self._next, self._resume)

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits for a flush."""
        return self._waiting.is_empty

    def take(self, records: Sequence[Record], arrival_ms: Millis | Int64s) -> list[DeadLetter]:
        """
        Take records in the order of their offsets; return those that cannot be read.

        ``arrival_ms`` is when they arrived, all together or each. Never
        raises for what a record holds. Large batches are much cheaper than small ones.
        """
        early = sum(record.offset < self._resume for record in records) if self._next < self._resume else 0
        if early:
            # Read again for memory, and for the sums that were held back; counted and dead-lettered before.
            before = copy(self.counts)
            self._take(records[:early], arrival_ms if isinstance(arrival_ms, int) else arrival_ms[:early], early=True)
            self.counts = before
            records = records[early:]
            arrival_ms = arrival_ms if isinstance(arrival_ms, int) else arrival_ms[early:]
        return self._take(records, arrival_ms) if records else []

    def _take(self, records: Sequence[Record], arrival_ms: Millis | Int64s, *, early: bool = False) -> list[DeadLetter]:
        batch = self.decode(records)
        offsets = np.array([records[at].offset for at in batch.at.tolist()], dtype=np.int64) if early else None
        self._add(batch, arrival_ms if isinstance(arrival_ms, int) else arrival_ms[batch.at], offsets)
        self._next = records[-1].offset + 1
        return [dead_letter(records[at], self.source, why) for at, why in sorted(batch.reasons.items())]

    def take_events(self, events: Sequence[Event], arrivals_ms: Sequence[Millis]) -> None:
        """Take decoded events with the time at which each arrived; raises ValueError for one that is not valid."""
        batch = self._private(columns_of(events, self._settings, self._planned.details))
        self._add(batch, np.array(arrivals_ms, dtype=np.int64)[batch.at])

    def decode(self, records: Sequence[Message]) -> Batch:
        """
        Return the records as columns, for ``take_batch`` or ``take_ahead``.

        They are valid until the next ``decode``, other plans, or a flush after which nothing waits.
        """
        batch = read(records, self._codec, self._settings, self._planned.details)
        self._serving.read_versions(batch, records, self._settings)
        return self._private(batch)

    def _private(self, batch: Batch) -> Batch:
        """From here on nobody knows whose a unit is without the key."""
        batch.unit = keyed(batch.unit, self.config.unit_key)
        return batch

    def shown(self, batch: Batch) -> dict[tuple[str, str], set[int]]:
        """Return by flag key and variation the units (hashes of their ids) that a batch of ``decode`` shows it to."""
        event, arm = self._settings.pairs(batch.setting)
        unit = np.where(batch.kind == FEEDBACK, 0, batch.unit)[event]
        names, found = self._settings.names, dict[tuple[str, str], set[int]]()
        for number in np.unique(arm[unit != 0]).tolist():
            key = names.flag_keys[names.flag_of_arm[number]]
            found[key, names.variations[number]] = set(unit[(arm == number) & (unit != 0)].tolist())
        return found

    def take_batch(self, batch: Batch, arrivals_ms: Millis | Int64s) -> None:
        """Take a batch that ``decode`` returned, or a part of one, with the time at which each event arrived."""
        self._add(batch, arrivals_ms)

    def take_ahead(self, batch: Batch, arrivals_ms: Millis | Int64s, flush: Int64s) -> None:
        """
        Take a batch that ``decode`` returned, for several flushes to come: events of the next one have 0 in ``flush``.

        ``flush`` never falls. The sums are those of taking each flush's events before it, and cheaper where they are
        few; names are forgotten only when nothing waits. There is no going back behind what was taken ahead.
        """
        self._add(batch, arrivals_ms, flush=flush)

    def flush(self, _now_ms: Millis = 0) -> list[FlagSums]:
        """Return the sums since the last flush, sorted by flag key; the same events always give the same sums."""
        if not self.is_due:
            return []
        names = self._settings.names
        due = self._waiting.flush(self._next, names)
        self._sights.tell(due.told)
        found: list[FlagSums] = []
        if due.chunk is not None:
            chunk, fresh_shifts = self._planned.thin(due.chunk, names)
            found = sums(chunk, names, due.ticks_of_flag, fresh_shifts)
            self._sights.hand_over(found)
        if names.is_full and self.is_empty:
            self._forget_names()
        if not self._can_roll_back:
            self.confirm(self._savepoint())
        return found

    def savepoint(self) -> Savepoint:
        """Return the state right after a flush, for ``confirm`` or ``rollback``."""
        self._can_roll_back = True
        return self._savepoint()

    def confirm(self, point: Savepoint) -> None:
        """What was summed up to ``point`` is committed: give up the possibility to go back behind it."""
        self._repeats.confirm(point.repeats_mark)
        self._planned.confirm(point.planned_mark)
        point.sights.confirm(point.sights_mark)

    def rollback(self, point: Savepoint) -> None:
        """Go back to ``point``: the events since then will be read again, and are then no repeats."""
        self.counts = copy(point.counts)
        self._settings, self._sights = point.settings, point.sights
        self._settings.follow(_watched(self.plans))
        self._settings.names.admission.follow(self._known)
        self._sights.undo(point.sights_mark)
        self._repeats.undo(point.repeats_mark)
        self._planned.undo(point.planned_mark)
        self._waiting.undo(point.waiting_mark)
        self._next, self.reached_ms = point.position, point.reached_ms

    def _savepoint(self) -> Savepoint:
        return Savepoint(
            copy(self.counts), self._waiting.note, self._next, self.reached_ms, self._settings, self._sights,
            self._waiting.mark(), self._sights.mark(), self._repeats.mark(), self._planned.mark(),
        )  # fmt: skip

    def _forget_names(self) -> None:
        self._settings = Settings(Names(self._known), _watched(self.plans))
        self._sights = Sights(self._settings.names, self.config.units_max)
        self._waiting.forget_names()

    def _add(
        self, batch: Batch, arrival_ms: Millis | Int64s, offsets: Int64s | None = None, flush: Int64s | None = None
    ) -> None:
        counts = self.counts
        counts.unknown += batch.unknown
        counts.skipped += batch.skipped
        counts.dead += len(batch.reasons)
        fresh = self._fresh(batch)
        if fresh is not None:
            counts.duplicates += len(batch) - int(fresh.sum())
            batch = batch.take(fresh)
            arrival_ms = arrival_ms if isinstance(arrival_ms, int) else arrival_ms[fresh]
            offsets = None if offsets is None else offsets[fresh]
            flush = None if flush is None else flush[fresh]
        if not len(batch):
            return
        of_kind = np.bincount(batch.kind, minlength=FEEDBACK + 1)
        counts.exposures += int(of_kind[EXPOSURE])
        counts.outcomes += int(of_kind[OUTCOME])
        counts.feedback += int(of_kind[FEEDBACK])
        future = batch.time_ms > np.add(arrival_ms, self.config.future_tolerance_ms)
        counts.future += int(future.sum())
        self._count_beyond(batch)
        time_ms = np.where(future, arrival_ms, batch.time_ms)
        # The median: neither a clock that is ahead nor an event that comes late says how far the source is read.
        self.reached_ms = max(self.reached_ms, int(np.partition(time_ms, time_ms.size // 2)[time_ms.size // 2]))
        self._wait(batch, time_ms, arrival_ms, offsets, flush)

    def _count_beyond(self, batch: Batch) -> None:
        self._settings.names.admission.earn(len(batch))
        if not self._settings.has_beyond:
            return
        beyond, counts = self._settings.beyond[batch.setting], self.counts
        counts.too_many_flags += int(np.count_nonzero(beyond & FLAGS))
        counts.too_many_variations += int(np.count_nonzero(beyond & VARIATIONS))
        counts.too_many_services += int(np.count_nonzero(beyond & SERVICES))

    def _fresh(self, batch: Batch) -> Bools | None:
        """Return the mask of events that are no repeats, or None if none is."""
        if not self.config.duplicates_window:
            return None
        keys = batch.key if batch.keyed is None else batch.key[batch.keyed]
        _, new = self._repeats.meet(keys)
        if new.all():
            return None
        if batch.keyed is None:
            return new
        fresh = ~batch.keyed
        fresh[batch.keyed] = new
        return fresh

    def _wait(
        self, batch: Batch, time_ms: Int64s, arrival_ms: Millis | Int64s, offsets: Int64s | None, flush: Int64s | None
    ) -> None:
        """Put the events among those that wait for the next flush, or each for its own, and see their units."""
        latency_ms = batch.latency_ms
        start_ms = np.floor(time_ms - np.where(np.isnan(latency_ms), 0.0, latency_ms)).astype(np.int64)
        event, arm = self._settings.pairs(batch.setting)
        again = self._planned.again(batch, self._settings, start_ms, event, arm)
        self._see(batch, start_ms, event, arm, again, offsets, flush)
        pairs = self._planned.pairs(batch, self._settings, event, arm, again)
        pairs = self._serving.with_services(pairs, batch, self._settings, event, arm)
        chunk = Chunk(
            tick=start_ms // TICK_MS,
            kind=batch.kind,
            error=self._settings.error[batch.setting],
            weight=batch.weight,
            latency_ms=batch.latency_ms,
            unit=(batch.unit >> UNIT_SHIFT).astype(np.int64),
            delay_ms=arrival_ms - start_ms,
            company=self._settings.company[batch.setting],
            event=pairs.event, arm=pairs.arm, marks=pairs.marks, pair=pairs.pair, column=pairs.column, place=pairs.place,
        )  # fmt: skip
        if offsets is not None:
            chunk = chunk.choose(self._unsent(offsets[chunk.event], chunk.arm))
        self._waiting.put(chunk, flush)

    def _see(
        self, batch: Batch, start_ms: Int64s, event: Int64s, arm: Int64s, again: Bools | None, offsets: Int64s | None,
        flush: Int64s | None,
    ) -> None:  # fmt: skip
        """See who was shown what; feedback shows nobody anything, and what repeats shows nothing new."""
        shown = batch.unit != 0
        if again is not None:
            shown &= ~again
        shown &= batch.kind != FEEDBACK
        named = slice(None) if shown.all() else np.flatnonzero(shown.take(event))
        seen, under = event[named], arm[named]
        service = self._settings.service[batch.setting[seen]]
        tell = None if offsets is None else self._unsent(offsets[seen], under)
        told = self._sights.see(batch.unit.take(seen), under, service, start_ms[seen], tell)
        if flush is None:
            self._sights.tell(told)
        elif told:
            self._waiting.tell(told, flush[seen])

    def _unsent(self, offset: Int64s, arm: Int64s) -> Bools:
        return self._waiting.unsent(offset, arm, self._settings.names)


def _watched(plans: Mapping[str, Plan]) -> frozenset[str]:
    return frozenset(key for key, plan in plans.items() if plan.company)
