"""
The mover around ``guardian.bank``: entries in, effects out; ``judge`` feeds it.

What a crash at any point leads to
----------------------------------

A decision is published first, at once; the snapshot that holds it follows, and the journal offsets are committed
after the snapshot. So there are three moments to die in:

1. Before the decision is published. No snapshot holds it either: the next worker starts from an older snapshot, reads
   the same entries again, and the same state gives the same decision with the same id. Not lost.
2. After it is published and before its snapshot is kept. The same again: it is published twice under one id, which
   ``act`` answers from what the store says. Not doubled in effect.
3. After the snapshot. The decision is in its outbox until its receipt comes back through the journal; the outbox is
   published again once after every assignment, and by the bank itself after ``resend_ms`` of journal time. So neither
   a broker that refused a record nor a worker that died before sending loses it.

The other order (snapshot, then publish) would be as safe, but every kill would wait for a round trip of the snapshot.
What has no outbox (confirmations, dead letters) is delivered before the snapshot that has seen its entry is written.

Each part of the snapshot is written before the sources, and the sources before anything is acknowledged: a reader of a
half-written round sees newer parts and older sources, reads on from the older offset, and every part skips what it
has seen.

A part whose snapshot is damaged, or gone, is never answered for from an older one, or from nothing: it is rebuilt from the
journal (``streams.rebuilding``) while all others are judged. Parts that a newer version wrote are left to its workers:
this one then leaves the whole partition alone, and its group (``NewerState``).

Rebalances: memory is kept when partitions are revoked, entries are ignored from the revocation until the table is
recovered, and then memory and table are compared once, the higher offset winning.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

import msgspec
import structlog
from aiokafka import TopicPartition

from guardian.bank import Bank
from guardian.dating import dated
from guardian.decisions import DECISION_TYPE, RECEIPT_TYPE, ROLLOUT_TYPE, Decision, RolloutView
from guardian.effects import Confirm, Decide, Effect, Show
from guardian.errors import GuardianError
from guardian.journal import Entry, decode
from guardian.names import RolloutKey, rollout_key
from streams.clocks import Clocks
from streams.cloudevents import CONTENT_TYPE, to_event
from streams.in_sequence import Place
from streams.keeper import Owed, Partition
from streams.keys import UNSIGNED, Keys
from streams.lessons import teach
from streams.outlet import Outlet, dead_letter_of
from streams.restoring import Adopted, Restoring, StartRebuild
from streams.stamps import message_kept_ms
from streams.telemetry import DECISIONS, JOURNAL_ENTRIES, JOURNAL_SECONDS, LAST_EVALUATION
from streams.topics import Topics

log = structlog.get_logger()

SOURCE = "/guardian/judge"
SHOWN_A_ROUND = 50
"""At most so many rollouts are shown at once, some 10 ms of work: no decision waits longer for that."""
FOUND_SHOWN = 20
"""Flags that nobody watches and that are named at ``/readyz``."""
RESEND_AFTER_S = 1.0
"""From an assignment to the outbox: most receipts that the snapshot has not seen are read within it."""
BEHIND_S = 2.0
STALE_S = 5.0
"""Beats come every second; without any entry for this long nothing is judged."""


class NewerState(GuardianError):
    """Workers of a newer version have written the state of a partition; this one can neither read nor replace it."""


class LeftBehind(GuardianError):
    """Others have judged what this worker would go on from; it has to begin again from what they know."""


class Judge:
    """
    Entries in, effects out; one for a process. Faust tells it of entries and assignments.

    Without *start_rebuild* a part that cannot be read is said, and not judged.
    """

    def __init__(
        self,
        new_bank: Callable[[], Bank],
        outlet: Outlet,
        topics: Topics,
        keys: Keys = UNSIGNED,
        start_rebuild: StartRebuild | None = None,
    ) -> None:
        self._new_bank = new_bank
        self._restoring = Restoring(start_rebuild, self._adopted)
        self._outlet = outlet
        self._topics = topics
        self._keys = keys
        self._held: dict[int, Partition] = {}
        self._assigned: frozenset[int] | None = None
        self._to_show: dict[str, Partition] = {}
        self._posted: set[asyncio.Task[None]] = set()
        self._not_applied = 0
        self._resending: asyncio.Task[None] | None = None
        self.decided = asyncio.Event()
        """Set with each decision: a snapshot should follow at once."""
        self._left = asyncio.Event()
        self._why_left = ""
        self._behind = asyncio.Event()
        self._clocks = Clocks()

    @property
    def partitions(self) -> list[Partition]:
        """The partitions that are judged here now; none from a revocation until the next ``recovered``."""
        return [self._partition(number) for number in sorted(self._assigned or ())]

    def revoked(self) -> None:
        """Ignore entries until the next ``recovered``: what is buffered now comes again then, in order."""
        self._assigned = None
        self._to_show.clear()
        if self._resending:
            self._resending.cancel()
        self._restoring.stop()
        for held in self._held.values():
            held.entries.clear()

    def recovered(self, partitions: Iterable[int], load: Callable[[Partition], int]) -> None:
        """
        *load* what the table knows better into each partition, and take their entries from now on.

        Where a newer version has written any of it, none are taken, and ``until_left`` ends.
        """
        self._assigned = frozenset(partitions)
        self._behind.clear()
        taken = 0
        for held in self.partitions:
            held.applied_at_s = time.monotonic()
            taken += load(held)
        if newer := next((held for held in self.partitions if held.newer), None):
            self._assigned = frozenset()
            self._leave(newer)
            return
        for held in self.partitions:
            if held.unreadable:
                self._restoring.start(held)
        log.info("partitions_taken", partitions=sorted(self._assigned), parts_from_table=taken)
        unanswered = {decision.decision_id for held in self.partitions for decision in held.bank.outbox()}
        self._resending = asyncio.ensure_future(self._send_again(unanswered))

    def _partition(self, number: int) -> Partition:
        if number not in self._held:
            self._held[number] = Partition(number, self._new_bank())
        return self._held[number]

    def _leave(self, held: Partition) -> None:
        part, why = next(iter(held.newer.items()))
        said = (
            f"partition {held.number} was judged by a newer version ({part or 'the sources'}: {why}); it is left to workers "
            "of that version: upgrade this one"
        )
        log.error("state_of_a_newer_version", partition=held.number, parts=sorted(held.newer), reason=said)
        self._why_left = said
        self._left.set()

    async def until_left(self) -> NoReturn:
        """
        Wait until a partition turns out to be for newer workers alone.

        Raises:
            NewerState: which one, and what would be right.
        """
        await self._left.wait()
        raise NewerState(self._why_left)

    def _adopted(self, adopted: Adopted) -> None:
        """Show what was rebuilt, and publish what nobody did while it was away."""
        for key in adopted.taken:
            self._to_show[key] = adopted.held
        self._posting(asyncio.ensure_future(self._publish_adopted(adopted)))

    async def _publish_adopted(self, adopted: Adopted) -> None:
        for view in adopted.lost:
            await (await self._post_view(view))
        for confirm in adopted.confirms:
            await self._carry_out(adopted.held, confirm)
        await self._send_again({one.decision_id for one in adopted.held.bank.outbox() if _key(one) in adopted.taken})

    async def _send_again(self, unanswered: set[str]) -> None:
        await asyncio.sleep(RESEND_AFTER_S)
        for held in self.partitions:
            for decision in held.bank.outbox():
                if decision.decision_id in unanswered:
                    await self._decide(decision)

    def is_behind(self, message: Any) -> bool:
        """
        Say whether entries before this one were acknowledged that memory has not seen: by another worker, meanwhile.

        It happens to whoever sleeps between reading the snapshots and being set back, and must not go on from there.
        """
        place, held = message.checksum, self._held.get(message.partition)
        if not isinstance(place, Place) or place.number or held is None or message.partition not in (self._assigned or ()):
            return False
        is_whole = not (held.unreadable or held.is_missing or held.bank.is_partial)
        is_behind = is_whole and place.start - 1 > held.bank.sources.offset
        if is_behind:
            log.warning("judged_by_others", partition=held.number, known=held.bank.sources.offset, committed=place.start)
        return is_behind

    def leave_behind(self) -> None:
        """Nothing of it is judged: unless the group gives partitions anew at once, ``until_behind`` ends."""
        self._behind.set()

    async def until_behind(self) -> NoReturn:
        """
        Wait until this worker has known less than is committed for longer than its group takes to tell it why.

        Raises:
            LeftBehind: it has.
        """
        while True:
            await self._behind.wait()
            await asyncio.sleep(BEHIND_S)
            if self._behind.is_set():
                raise LeftBehind("entries were acknowledged that are in none of the snapshots which were read")

    async def take(self, event: Any) -> None:
        """Take one record of the journal into account and hand its effects to Kafka; never raises for its content."""
        message = event.message
        if self._assigned is None or message.partition not in self._assigned:
            return
        held = self._partition(message.partition)
        if held.first < 0:
            self._restoring.begin(held, message.offset)
        held.entries.append(event)
        held.seen = message.offset
        try:
            read = decode(message.value or b"")
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            await self._bury(held, message, str(error))
            return
        entry = dated(read, message_kept_ms(message))
        self._clocks.hear(read, entry)
        try:
            effects = held.bank.apply(message.offset, entry)
        except Exception as error:
            # A defect: the entry is kept and readiness counts it, while all other rollouts stay watched.
            self._not_applied += 1
            log.exception("entry_not_applied", partition=message.partition, offset=message.offset)
            await self._bury(held, message, f"not applied: {error!r}")
            return
        held.applied_at_s = time.monotonic()
        # It waits for a snapshot to be acknowledged, thousands of them where entries are many: without what it said.
        event.value = message.value = None
        for effect in effects:
            await self._carry_out(held, effect)
        _count(entry)

    async def _carry_out(self, held: Partition, effect: Effect) -> None:
        match effect:
            case Decide(decision):
                await self._decide(decision)
            case Confirm(receipt):
                event = to_event(
                    RECEIPT_TYPE, receipt, id=receipt.receipt_id, time=receipt.at, source=SOURCE, keys=self._keys
                )
                key = rollout_key(receipt.environment, receipt.flag_key)
                await self._owe(held, Owed(self._topics.receipts, key, event, CONTENT_TYPE))
                self._posting(asyncio.ensure_future(teach(receipt, self._outlet, self._topics.journal)))
            case Show(key):
                self._to_show.setdefault(key, held)

    async def _decide(self, decision: Decision) -> None:
        made = {"id": decision.decision_id, "time": decision.decided_at}
        event = to_event(DECISION_TYPE, decision, **made, source=SOURCE, keys=self._keys)
        self._posting(await self._outlet.post(self._topics.decisions, _key(decision), event, headers=CONTENT_TYPE))
        DECISIONS.labels(decision.action, decision.mode).inc()
        said = {"decision": decision.decision_id, "action": decision.action, "mode": decision.mode}
        log.info("decided", **said, why=decision.explanation)
        self.decided.set()

    async def _bury(self, held: Partition, message: Any, reason: str) -> None:
        letter = dead_letter_of(message, reason)
        key = (message.key or b"").decode(errors="replace")
        await self._owe(held, Owed(self._topics.dead_letters, key, letter.value, letter.kafka_headers()))

    async def _owe(self, held: Partition, owed: Owed) -> None:
        held.owed.append(owed)
        owed.delivery = await self._outlet.post(owed.topic, owed.key, owed.value, headers=owed.headers)

    def _posting(self, delivery: asyncio.Task[None]) -> None:
        """Hold on to a delivery that nobody waits for; a loss is logged, and made good by the outbox."""
        self._posted.add(delivery)
        delivery.add_done_callback(self._posting_ended)

    async def idle(self) -> None:
        """Wait until what was posted by now is kept, or given up."""
        while self._posted:
            await asyncio.wait(self._posted)

    def _posting_ended(self, delivery: asyncio.Task[None]) -> None:
        self._posted.discard(delivery)
        if not delivery.cancelled() and (error := delivery.exception()):
            log.warning("not_delivered", reason=str(error))

    async def show(self) -> None:
        """Publish rollouts that changed as they are now, those that have waited longest first."""
        for key in list(self._to_show)[:SHOWN_A_ROUND]:
            try:
                view = self._to_show.pop(key).bank.view(key)
            except Exception:
                # A defect, too, and all others are still to be seen.
                log.exception("not_shown", rollout=key)
                continue
            self._posting(await self._post_view(view))

    async def _post_view(self, view: RolloutView) -> asyncio.Task[None]:
        event = to_event(ROLLOUT_TYPE, view, id=f"{view.key}|{view.at}", time=view.at, source=SOURCE)
        return await self._outlet.post(self._topics.rollouts, view.key, event, headers=CONTENT_TYPE)

    def reads(self) -> dict[TopicPartition, int]:
        """Return how far each partition of the journal has been read that is judged here now."""
        return {TopicPartition(self._topics.journal, held.number): held.seen for held in self.partitions}

    def _not_watched(self) -> list[str]:
        """The first flags, each with its shares, that no policy is about though stores give people more than one variation."""
        found = {key: stores for one in self.partitions for key, stores in one.bank.sources.found.items()}
        shown = sorted(found)[:FOUND_SHOWN]
        told = [f"{key}: {'; '.join(one.serves.told for one in found[key].values())}" for key in shown]
        return [*told, f"and {len(found) - len(shown)} more"] if len(found) > len(shown) else told

    def readiness(self) -> tuple[bool, str, dict[str, Any]]:
        """Whether entries are judged now, if not why, and the numbers behind it."""
        if self._assigned is None:
            return False, "waiting for partitions of the journal and their snapshots", {"partitions": 0}
        held = self.partitions
        now_s = time.monotonic()
        age_s = max((now_s - one.applied_at_s for one in held), default=0.0)
        numbers: dict[str, Any] = {
            "partitions": len(held),
            "last_entry_s": round(age_s, 1),
            "unacknowledged": sum(len(one.entries) for one in held),
            "outbox": sum(len(one.bank.outbox()) for one in held),
            "not_applied": self._not_applied,
            "not_watched": self._not_watched(),
            "clock_ahead_s": self._clocks.ahead_s(one.bank.sources.now_ms for one in held),
            **self._restoring.numbers(),
        }
        if age_s > STALE_S:
            return False, f"no journal entry for {age_s:.0f} s; is observe running?", numbers
        for one in held:
            for part, size in one.too_large.items():
                return False, f"the snapshot of {part!r} is too large to be kept: {size}", numbers
            for part, reason in one.unreadable.items():
                said = f"the snapshot of {part or 'the sources'!r} cannot be read ({reason})"
                return False, f"{said}: {self._restoring.right(one)}", numbers
        return True, "" if held else "standing by: other workers hold all partitions", numbers


def _key(decision: Decision) -> RolloutKey:
    return rollout_key(decision.environment, decision.flag_key)


def _count(entry: Entry) -> None:
    JOURNAL_ENTRIES.labels(type(entry).__name__.lower()).inc()
    now_s = time.time()
    JOURNAL_SECONDS.observe(max(0.0, now_s - entry.at_ms / 1000))
    LAST_EVALUATION.set(now_s)
