"""
Carries decisions out in a flag store, and says what became of each; ``act`` feeds it.

A decision is acknowledged only after its receipt is written, to ``guardian.receipts.v1`` and into the journal. So a
worker that dies anywhere before is followed by one that reads the decision again; the store then says ``already``,
and the receipt comes. Commands to one flag keep their order, but for what has waited long; whatever their order, the
store knows which of them counts. A flag whose store call hangs delays no other flag.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import structlog

from guardian.decisions import DECISION_TYPE, RECEIPT_TYPE, Decision, Receipt
from guardian.errors import EventError
from guardian.journal import ReceiptEntry, encode
from guardian.names import RolloutKey, rollout_key
from guardian.ports import FlagStore, StoreError
from streams.cloudevents import CONTENT_TYPE, from_event, to_event
from streams.commands import command_for
from streams.deadletters import DeadLetter
from streams.in_order import InOrder
from streams.keys import UNSIGNED, Keys
from streams.outlet import Headers, NotDelivered, Outlet, dead_letter_of
from streams.sending import ATTEMPT_S, FIRST_WAIT_S, Answer, Sending
from streams.telemetry import COMMAND_SECONDS, COMMANDS
from streams.topics import Topics

log = structlog.get_logger()

SOURCE = "/guardian/act"
REMEMBERED = 10_000
"""Decisions whose answer is kept in memory, for repeats."""
GIVEN_UP = frozenset({"advance"})
"""Decisions that are given up after the deadline: they were for a moment that is over. All others stay open."""
DETAIL_MOST = 2_000
"""Characters of what a store said: a receipt must always fit into a record."""
NOTHING_TO_DO = "nothing to change in a store"


@dataclass(slots=True)
class Task:
    """
    A decision to carry out, when it was read, and what to call when its receipt is written.

    A repeat that comes meanwhile is answered with it. *told* tells people that it waits; *aside* is done then.
    """

    decision: Decision
    finish: list[Callable[[], None]]
    read_at_s: float
    told: asyncio.Task[None] | None = None
    aside: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Acting:
    """
    Decisions in, commands to *store* and receipts out.

    A command that gets no answer is sent again, ever more slowly; a store reads back before it changes anything, so a
    command that had been carried out is found so. After *deadline_s* an advance is given up; anything else stays open,
    a receipt tells once that it is waiting, and another one what became of it. What will not help is not tried again.

    *stores_of* names the stores of a flag, *propagation_ms* says how long their clients take: judge hears both.

    Where *keys* trust any key, a decision that none of them has signed is a dead letter: nothing is done, and no receipt
    is written, which could be taken for that of the decision whose id it bears.
    """

    def __init__(
        self,
        store: FlagStore,
        outlet: Outlet,
        topics: Topics,
        *,
        deadline_s: float,
        stores_of: Callable[[str, str], str] = lambda _environment, _flag: "",
        propagation_ms: Callable[[str, str], int] = lambda _environment, _flag: 0,
        keys: Keys = UNSIGNED,
    ) -> None:
        self._store = store
        self._stores_of, self._propagation_ms = stores_of, propagation_ms
        self._outlet = outlet
        self._topics = topics
        self._keys = keys
        self._deadline_s = deadline_s
        self._sending = Sending(store, deadline_s=deadline_s)
        self._order = InOrder()
        self._lines: dict[str, deque[Task]] = {}
        self._open: dict[str, Task] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._answers: OrderedDict[str, Answer] = OrderedDict()
        self.seen: dict[int, int] = {}
        """By partition of the decisions, the offset of the newest record taken."""

    def take(self, event: Any) -> None:
        """Put one record of the decisions topic in its flag's line; never raises for its content."""
        message = event.message
        self.seen[message.partition] = message.offset
        finish = self._order.begin(event)
        try:
            decision = from_event(message.value, Decision, type=DECISION_TYPE, keys=self._keys)
        except EventError as error:
            self._run(self._bury(dead_letter_of(message, str(error)), finish))
            return
        key = _key(decision)
        if decision.decision_id in self._open:
            self._open[decision.decision_id].finish.append(finish)
            return
        task = self._open[decision.decision_id] = Task(decision, [finish], time.monotonic())
        if key in self._lines:
            self._lines[key].append(task)
        else:
            self._lines[key] = deque((task,))
            self._run(self._work(key))

    def revoked(self) -> None:
        """Other workers may have the partitions now; what is being done here is finished."""
        self._order.forget()

    async def drain(self) -> None:
        """Wait until every decision taken has its receipt."""
        while self._running:
            await asyncio.wait(self._running)

    async def stop(self) -> None:
        """Leave off; what has no receipt yet is read again by the next worker."""
        for one in self._running:
            one.cancel()
        if self._running:
            await asyncio.wait(self._running)

    def readiness(self) -> tuple[bool, str, dict[str, Any]]:
        """Whether commands reach the store, if not why, and the numbers behind it."""
        read_at_s = [task.read_at_s for task in self._open.values()]
        oldest_s = time.monotonic() - min(read_at_s) if read_at_s else 0.0
        numbers = {"in_flight": self._order.waiting, "oldest_s": round(oldest_s, 1)}
        down = self._sending.store_down
        return not down, down and f"flag store: {down}", numbers

    def _run(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def _work(self, key: str) -> None:
        """Carry out what is in line, one after the other; what waits for its store steps aside for what comes after."""
        line = self._lines[key]
        while line:
            task = line.popleft()
            await asyncio.wait({self._run(self._do(key, task)), task.aside}, return_when=asyncio.FIRST_COMPLETED)
        del self._lines[key]

    async def _do(self, key: str, task: Task) -> None:
        answer = await self._answer(task)
        if task.told is not None:
            await task.told
        await self._tell(key, task.decision, answer)
        COMMANDS.labels(task.decision.action, answer.status).inc()
        COMMAND_SECONDS.observe(time.monotonic() - task.read_at_s)
        del self._open[task.decision.decision_id]
        for finish in task.finish:
            finish()

    async def _answer(self, task: Task) -> Answer:
        decision = task.decision
        before = self._answers.get(decision.decision_id)
        try:
            answer = await self._carry_out(task) if before is None else await self._repeat(decision, before)
        except Exception as error:
            log.exception("decision_not_carried_out", decision=decision.decision_id)
            answer = Answer("failed", repr(error))
        if before is None:
            self._answers[decision.decision_id] = answer
            if len(self._answers) > REMEMBERED:
                self._answers.popitem(last=False)
        return answer

    async def _repeat(self, decision: Decision, before: Answer) -> Answer:
        """A decision answered before is not carried out again: since then, people may have changed the flag."""
        if before.status not in ("applied", "already") or command_for(decision) is None:
            return before
        try:
            async with asyncio.timeout(ATTEMPT_S):
                state = await self._store.read(decision.environment, decision.flag_key)
        except (StoreError, TimeoutError) as error:
            return Answer("already", f"{before.detail} (not read again: {error})", before.version)
        return Answer("already", before.detail, state.version)

    async def _carry_out(self, task: Task) -> Answer:
        decision = task.decision
        if decision.mode == "shadow":
            return Answer("shadow", "mode is shadow: nothing was sent")
        try:
            command = command_for(decision)
        except ValueError as error:
            return Answer("failed", str(error))
        if command is None:
            return Answer("applied", NOTHING_TO_DO)

        def wait(answer: Answer) -> None:
            task.told = self._run(self._tell(_key(decision), decision, answer))
            task.aside.set_result(None)

        return await self._sending.send(command, wait=None if decision.action in GIVEN_UP else wait)

    async def _tell(self, key: str, decision: Decision, answer: Answer) -> None:
        """Write the receipt to both topics, again and again until it is kept."""
        now, detail = datetime.now(UTC), answer.detail[:DETAIL_MOST]
        store = self._stores_of(decision.environment, decision.flag_key)
        receipt = Receipt(
            receipt_id=f"{decision.decision_id}|{answer.status}",
            decision_id=decision.decision_id,
            flag_key=decision.flag_key,
            environment=decision.environment,
            variant=decision.variant,
            action=decision.action,
            status=answer.status,
            store=store,
            at=now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            version=answer.version,
            detail=detail,
            attempts=answer.attempts,
            waited_s=self._waited_s(decision, answer, now),
            share=answer.share,
        )
        entry = ReceiptEntry(
            at_ms=int(now.timestamp() * 1000),
            key=key,
            decision_id=decision.decision_id,
            status=answer.status,
            detail=detail,
            version=answer.version,
            share=answer.share,
            action=decision.action,
            variation=decision.variant,
            store=store,
            propagation_ms=self._propagation_ms(decision.environment, decision.flag_key),
        )
        event = to_event(
            RECEIPT_TYPE, receipt, id=receipt.receipt_id, time=receipt.at, source=SOURCE, keys=self._keys
        )
        log.info("answered", decision=decision.decision_id, status=answer.status, detail=detail)
        await asyncio.gather(
            self._write(self._topics.journal, key, encode(entry), ()),
            self._write(self._topics.receipts, key, event, CONTENT_TYPE),
        )

    def _waited_s(self, decision: Decision, answer: Answer, now: datetime) -> float:
        """How long after the decision it was carried out, where that is late; one carried out before has not waited."""
        late_s = (now - datetime.fromisoformat(decision.decided_at)).total_seconds()
        is_now = answer.status == "applied" or (answer.status == "already" and answer.attempts > 1)
        return round(late_s, 3) if is_now and late_s > self._deadline_s else 0.0

    async def _bury(self, letter: DeadLetter, finish: Callable[[], None]) -> None:
        key = (letter.key or b"").decode(errors="replace")
        await self._write(self._topics.dead_letters, key, letter.value, letter.kafka_headers())
        finish()

    async def _write(self, topic: str, key: str, value: bytes | None, headers: Headers) -> None:
        while True:
            try:
                await self._outlet.send(topic, key, value, headers=headers)
                return
            except NotDelivered as error:
                log.warning("not_delivered", reason=str(error))
                await asyncio.sleep(FIRST_WAIT_S)


def _key(decision: Decision) -> RolloutKey:
    return rollout_key(decision.environment, decision.flag_key)
