"""Sends one command to a flag store until it is answered: ever more slowly, and for as long as it may take."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from guardian.decisions import ReceiptStatus
from guardian.numerals import among
from guardian.ports import FlagCommand, FlagStore, StoreError
from streams.telemetry import ATTEMPTS

log = structlog.get_logger()

FIRST_WAIT_S = 0.1
LONGEST_WAIT_S = 2.0
WAITING_S = 5.0
"""The wait between attempts once a command is told to be waiting: soon enough when the store is back."""
ATTEMPT_S = 5.0
"""One call to a store takes no longer; its deadline is that of the decision."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a decision; *share* is the one that people have set, where that stands against it."""

    status: ReceiptStatus
    detail: str = ""
    version: str = ""
    attempts: int = 1
    share: float | None = None


class Sending:
    """
    Commands to *store*; ``store_down`` says why it does not answer to one of them, empty while it does to all.

    A store reads back before it changes anything, so a command that had been carried out is found so. What will not
    help is not tried again.
    """

    def __init__(self, store: FlagStore, *, deadline_s: float) -> None:
        self._store = store
        self._deadline_s = deadline_s
        self._unanswered: dict[str, str] = {}

    @property
    def store_down(self) -> str:
        """Why the command that was tried last has no answer."""
        return next(reversed(self._unanswered.values()), "")

    async def send(self, command: FlagCommand, *, wait: Callable[[Answer], None] | None) -> Answer:
        """
        Send it until there is an answer; without *wait*, give up after the deadline.

        *wait* is called once, when the deadline has passed: from then on the command waits for its store.
        """
        try:
            return await self._send(command, wait)
        finally:
            self._unanswered.pop(command.command_id, None)

    async def _send(self, command: FlagCommand, wait: Callable[[Answer], None] | None) -> Answer:
        started_s = time.monotonic()
        is_told, wait_s, attempt = False, FIRST_WAIT_S, 0
        while True:
            attempt += 1
            left_s = started_s + self._deadline_s - time.monotonic() if wait is None else ATTEMPT_S
            reason = await self._attempt(command, attempt, min(ATTEMPT_S, max(left_s, FIRST_WAIT_S)))
            if isinstance(reason, Answer):
                return reason
            self._unanswered.pop(command.command_id, None)
            self._unanswered[command.command_id] = reason
            spent_s = time.monotonic() - started_s
            if spent_s + wait_s > self._deadline_s:
                tried = f"{among(attempt, 'attempt')} in {spent_s:.1f} s: {reason}"
                if wait is None:
                    return Answer("expired", f"gave up after {tried}", "", attempt)
                if not is_told:
                    wait(Answer("waiting", f"not carried out in {tried}", "", attempt))
                is_told = True
            log.warning("command_not_answered", command=command.command_id, attempt=attempt, reason=reason)
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, WAITING_S if is_told else LONGEST_WAIT_S)

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
        if applied.status == "conflict" and command.kind != "set_share":
            # Somebody's change came first. Only an advance is decided anew; all else is planned again on top of it.
            return f"conflict: {applied.detail}"
        return Answer(applied.status, applied.detail, applied.version, attempt, applied.share)
