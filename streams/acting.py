"""
Carries decisions out in a flag store, and says what became of each; ``act`` feeds it.

A decision is acknowledged only after its receipt is written, to ``guardian.receipts.v1`` and into the journal. So a
worker that dies anywhere before is followed by one that reads the decision again; the store then says ``already``,
and the receipt comes. Commands to one flag keep their order; a flag whose store call hangs delays no other flag.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog

from guardian.decisions import DECISION_TYPE, RECEIPT_TYPE, Decision, Receipt, ReceiptStatus
from guardian.errors import EventError
from guardian.journal import ReceiptEntry, encode
from guardian.names import RolloutKey, rollout_key
from guardian.numerals import among
from guardian.ports import FlagCommand, FlagStore, StoreError
from streams.cloudevents import CONTENT_TYPE, from_event, to_event
from streams.commands import command_for
from streams.deadletters import DeadLetter
from streams.in_order import InOrder
from streams.outlet import Headers, NotDelivered, Outlet, dead_letter_of
from streams.telemetry import ATTEMPTS, COMMAND_SECONDS, COMMANDS
from streams.topics import Topics

log = structlog.get_logger()

SOURCE = "/guardian/act"
REMEMBERED = 10_000
"""Decisions whose answer is kept in memory, for repeats."""
FIRST_WAIT_S = 0.1
LONGEST_WAIT_S = 2.0
WAITING_S = 5.0
"""The wait between attempts once a decision is told to be waiting: soon enough when the store is back."""
GIVEN_UP = frozenset({"advance"})
"""Decisions that are given up after the deadline: they were for a moment that is over. All others stay open."""
ATTEMPT_S = 5.0
"""One call to a store takes no longer; its deadline is that of the decision."""
DETAIL_MOST = 2_000
"""Characters of what a store said: a receipt must always fit into a record."""
NOTHING_TO_DO = "nothing to change in a store"


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a decision; *share* is the one that people have set, where that stands against it."""

    status: ReceiptStatus
    detail: str = ""
    version: str = ""
    attempts: int = 1
    share: float | None = None


@dataclass(slots=True)
class Task:
    """
    A decision to carry out, when it was read, and what to call when its receipt is written.

    A repeat that comes meanwhile is answered with it. *told* tells people that it waits.
    """

    decision: Decision
    finish: list[Callable[[], None]]
    read_at_s: float
    told: asyncio.Task[None] | None = None


class Acting:
    """
    Decisions in, commands to *store* and receipts out.

    A command that gets no answer is sent again, ever more slowly; a store reads back before it changes anything, so a
    command that had been carried out is found so. After *deadline_s* an advance is given up; anything else stays open,
    a receipt tells once that it is waiting, and another one what became of it. What will not help is not tried again.
    """

    def __init__(
        self, store: FlagStore, outlet: Outlet, topics: Topics, *, deadline_s: float, store_name: str = ""
    ) -> None:
        self._store = store
        self._store_name = store_name
        self._outlet = outlet
        self._topics = topics
        self._deadline_s = deadline_s
        self._order = InOrder()
        self._lines: dict[str, deque[Task]] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._answers: OrderedDict[str, Answer] = OrderedDict()
        self._store_down = ""

    def take(self, event: Any) -> None:
        """Put one record of the decisions topic in its flag's line; never raises for its content."""
        message = event.message
        finish = self._order.begin(event)
        try:
            decision = from_event(message.value, Decision, type=DECISION_TYPE)
        except EventError as error:
            self._run(self._bury(dead_letter_of(message, str(error)), finish))
            return
        key = _key(decision)
        line = self._lines.get(key, ())
        same = next((one for one in line if one.decision.decision_id == decision.decision_id), None)
        if same is not None:
            same.finish.append(finish)
            return
        task = Task(decision, [finish], time.monotonic())
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
        waiting = [line[0].read_at_s for line in self._lines.values() if line]
        oldest_s = time.monotonic() - min(waiting) if waiting else 0.0
        numbers = {"in_flight": self._order.waiting, "oldest_s": round(oldest_s, 1)}
        return not self._store_down, self._store_down and f"flag store: {self._store_down}", numbers

    def _run(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def _work(self, key: str) -> None:
        line = self._lines[key]
        while line:
            task = line[0]
            answer = await self._answer(task)
            if task.told is not None:
                await task.told
            await self._tell(key, task.decision, answer)
            COMMANDS.labels(task.decision.action, answer.status).inc()
            COMMAND_SECONDS.observe(time.monotonic() - task.read_at_s)
            line.popleft()
            for finish in task.finish:
                finish()
        del self._lines[key]

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
        return await self._send(task, command)

    async def _send(self, task: Task, command: FlagCommand) -> Answer:
        started_s = time.monotonic()
        is_given_up, wait_s, attempt = task.decision.action in GIVEN_UP, FIRST_WAIT_S, 0
        while True:
            attempt += 1
            left_s = started_s + self._deadline_s - time.monotonic() if is_given_up else ATTEMPT_S
            reason = await self._attempt(command, attempt, min(ATTEMPT_S, max(left_s, FIRST_WAIT_S)))
            if isinstance(reason, Answer):
                return reason
            self._store_down = reason
            spent_s = time.monotonic() - started_s
            if spent_s + wait_s > self._deadline_s:
                tried = f"{among(attempt, 'attempt')} in {spent_s:.1f} s: {reason}"
                if is_given_up:
                    return Answer("failed", f"gave up after {tried}", "", attempt)
                if task.told is None:
                    waiting = Answer("waiting", f"not carried out in {tried}", "", attempt)
                    task.told = self._run(self._tell(_key(task.decision), task.decision, waiting))
            log.warning("command_not_answered", command=command.command_id, attempt=attempt, reason=reason)
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S if task.told is None else WAITING_S)

    async def _attempt(self, command: FlagCommand, attempt: int, timeout_s: float) -> Answer | str:
        """The answer, or why there is none yet."""
        try:
            async with asyncio.timeout(timeout_s):
                applied = await self._store.apply(command)
        except StoreError as error:
            ATTEMPTS.labels("unavailable" if error.retryable else "refused").inc()
            return str(error) if error.retryable else Answer("failed", str(error), "", attempt)
        except TimeoutError:
            ATTEMPTS.labels("timeout").inc()
            return f"no answer within {timeout_s:.1f} s"
        except Exception as error:
            log.exception("store_call_failed", command=command.command_id)
            ATTEMPTS.labels("error").inc()
            return repr(error)
        ATTEMPTS.labels(applied.status).inc()
        if applied.status == "conflict" and command.kind in ("kill", "kill_flag"):
            # Somebody's change came first; harm does not wait for people, so the kill is planned again on top of it.
            return f"conflict: {applied.detail}"
        self._store_down = ""
        return Answer(applied.status, applied.detail, applied.version, attempt, applied.share)

    async def _tell(self, key: str, decision: Decision, answer: Answer) -> None:
        """Write the receipt to both topics, again and again until it is kept."""
        now, detail = datetime.now(UTC), answer.detail[:DETAIL_MOST]
        receipt = Receipt(
            receipt_id=f"{decision.decision_id}|{answer.status}",
            decision_id=decision.decision_id,
            flag_key=decision.flag_key,
            environment=decision.environment,
            variant=decision.variant,
            action=decision.action,
            status=answer.status,
            store=self._store_name,
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
        )
        event = to_event(RECEIPT_TYPE, receipt, id=receipt.receipt_id, time=receipt.at, source=SOURCE)
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
        await self._write(self._topics.dead_letters, key, letter.kafka_value(), letter.kafka_headers())
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
