"""Telling every channel: each on its own, in order, again until a deadline, and never lost in silence."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from streams.alerts.base import NOTICES, RETRIES, Channel, Refused, Report, Unreachable

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Patience:
    """
    How long to go on trying. The n-th pause is drawn from 0 to ``first_s * 2**n``, at most ``longest_s``.

    Drawn from 0 ("full jitter"), so that many who failed together do not come back together. What the
    other side asks for (``Retry-After``) is the least that is waited.
    """

    deadline_s: float = 900.0
    first_s: float = 0.5
    longest_s: float = 60.0

    def pause_s(self, attempt: int, retry_after_s: float | None, draw: Callable[[], float] = random.random) -> float:
        """Return the pause after the *attempt*-th failure (from 0)."""
        drawn = draw() * min(self.longest_s, self.first_s * 2.0 ** min(attempt, 30))
        return (retry_after_s or 0.0) + drawn


class Dispatch:
    """
    Channels, told side by side: a slow or failing one delays no other.

    In one channel the notices of one rollout are delivered one after the other (a resolve may not overtake
    its trigger), those of others beside them. A notice that is not delivered by its deadline is logged
    whole and counted; at least one attempt is made however long it had to wait.
    """

    def __init__(
        self,
        channels: Sequence[Channel],
        patience: Patience | None = None,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.channels = tuple(channels)
        self._patience = patience or Patience()
        self._now = now
        self._turns: dict[tuple[str, str], _Turn] = {}

    async def tell(self, notice: Report) -> None:
        """Return when every channel that wants it took the notice or was given up; raises nothing."""
        wanting = [channel for channel in self.channels if channel.wants(notice)]
        if wanting:
            await asyncio.gather(*(self._deliver(channel, notice) for channel in wanting))

    async def _deliver(self, channel: Channel, notice: Report) -> None:
        deadline = time.monotonic() + self._patience.deadline_s
        age_s = notice.age_s(self._now())
        if age_s > channel.max_age_s:
            self._gave_up(channel, notice, "stale", f"it happened {age_s:.0f} s ago")
            return
        key = (channel.name, notice.order)
        turn = self._turns.setdefault(key, _Turn())
        turn.waiting += 1
        try:
            async with turn.lock:
                await self._attempts(channel, notice, deadline)
        finally:
            turn.waiting -= 1
            if not turn.waiting:
                del self._turns[key]

    async def _attempts(self, channel: Channel, notice: Report, deadline: float) -> None:
        attempt = 0
        while True:
            try:
                await channel.notify(notice)
            except Refused as error:
                self._gave_up(channel, notice, "refused", str(error))
                return
            except Unreachable as error:
                pause_s = self._patience.pause_s(attempt, error.retry_after_s)
                if time.monotonic() + pause_s > deadline:
                    self._gave_up(channel, notice, "gave_up", f"{error}, after {attempt + 1} attempts")
                    return
                why = str(error)
            except Exception as error:  # a channel's own mistake costs its notice, not the others'
                log.exception("channel_failed", channel=channel.name, notice_id=notice.notice_id)
                self._gave_up(channel, notice, "refused", repr(error))
                return
            else:
                NOTICES.labels(channel.name, "delivered").inc()
                log.debug("notice_delivered", channel=channel.name, notice_id=notice.notice_id)
                return
            RETRIES.labels(channel.name).inc()
            log.warning(
                "notice_retried",
                channel=channel.name,
                notice_id=notice.notice_id,
                why=why,
                pause_s=round(pause_s, 3),
            )
            await asyncio.sleep(pause_s)
            attempt += 1

    def _gave_up(self, channel: Channel, notice: Report, outcome: str, why: str) -> None:
        """Nobody was told: the log is the last place where someone may see it, so it gets all of it."""
        NOTICES.labels(channel.name, outcome).inc()
        log.error(
            "notice_not_delivered",
            channel=channel.name,
            outcome=outcome,
            why=why,
            notice_id=notice.notice_id,
            urgent=notice.urgent,
            owner=notice.owner,
            text=notice.text,
            at=notice.at,
            data=notice.data.model_dump(mode="json"),
        )


class _Turn:
    """Whose turn it is in one channel for one rollout; asyncio's lock serves in order."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.waiting = 0
