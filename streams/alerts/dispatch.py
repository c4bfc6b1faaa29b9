"""Telling every channel: each on its own, in order, again until a deadline, and never lost in silence."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import structlog

from streams.alerts.base import NOTICES, RETRIES, Channel, Refused, Report, Unreachable
from streams.alerts.failing import Failing

log = structlog.get_logger()

UNREACHABLE_AFTER_S = 30.0
"""A channel that has not taken a notice for so long is failing: others are told in its place, while it is tried on."""
Outcome = Literal["delivered", "refused", "gave_up", "stale"]
Heard = Callable[[str], Awaitable[None]]
"""Called with the name of each channel that has taken a notice."""


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


async def _nobody_asks(_: str) -> None:
    """Nobody keeps who has heard."""


@dataclass(slots=True)
class _Telling:
    """One notice on its way: *covered* are the channels that it goes through, or has gone through before."""

    notice: Report
    covered: set[str]
    heard: Heard


class Dispatch:
    """
    Channels, told side by side: a slow or failing one delays no other.

    In one channel the notices of one rollout are delivered one after the other (a resolve may not overtake
    its trigger), those of others beside them. A notice that is not delivered by its deadline is logged
    whole and counted; at least one attempt is made however long it had to wait.

    What people are to read and a channel refuses, or has not taken after *unreachable_after_s*, goes through the first
    channel of *fallback* that it does not go through already, and that channel is told of the failure, once an hour.
    """

    def __init__(
        self,
        channels: Sequence[Channel],
        patience: Patience | None = None,
        *,
        now: Callable[[], float] = time.time,
        fallback: Sequence[str] = (),
        unreachable_after_s: float = UNREACHABLE_AFTER_S,
    ) -> None:
        self.channels = tuple(channels)
        self._named = {channel.name: channel for channel in channels}
        self._patience = patience or Patience()
        self._now = now
        self._fallback = tuple(fallback)
        self._unreachable_after_s = unreachable_after_s
        self._turns: dict[tuple[str, str], _Turn] = {}
        self.failing = Failing(now)

    async def tell(self, notice: Report, *, told: Collection[str] = (), heard: Heard = _nobody_asks) -> None:
        """
        Return when every channel that it is meant for took the notice or was given up; raises nothing.

        Channels that were *told* already are left out; *heard* is awaited for each that takes it now.
        """
        meant = [one for one in self.channels if (not notice.to or one.name in notice.to) and one.wants(notice)]
        telling = _Telling(notice, {*told, *(channel.name for channel in meant)}, heard)
        await asyncio.gather(*(self._deliver(channel, telling) for channel in meant if channel.name not in told))

    async def _deliver(self, channel: Channel, telling: _Telling) -> None:
        """One channel, and whoever is told in its place when it fails or takes too long."""
        attempts = asyncio.ensure_future(self._in_turn(channel, telling))
        instead: asyncio.Future[None] | None = None
        try:
            await asyncio.wait({attempts}, timeout=self._unreachable_after_s)
            if not attempts.done():
                self.failing.note(channel.name, self.failing.last(channel.name) or "does not answer", is_refusal=False)
                instead = asyncio.ensure_future(self._fall_back(channel, telling))
            elif attempts.result() in ("refused", "gave_up"):
                await self._fall_back(channel, telling)
            await attempts
            if instead is not None:
                await instead
        finally:
            attempts.cancel()
            if instead is not None:
                instead.cancel()

    async def _in_turn(self, channel: Channel, telling: _Telling) -> Outcome:
        notice = telling.notice
        deadline = time.monotonic() + self._patience.deadline_s
        age_s = notice.age_s(self._now())
        if age_s > channel.max_age_s and notice.kind != "resolved":  # which wakes nobody, and closes what would stay open
            return self._gave_up(channel, notice, "stale", f"it happened {age_s:.0f} s ago")
        key = (channel.name, notice.order)
        turn = self._turns.setdefault(key, _Turn())
        turn.waiting += 1
        try:
            async with turn.lock:
                outcome = await self._attempts(channel, notice, deadline)
                if outcome == "delivered":
                    await telling.heard(channel.name)
                return outcome
        finally:
            turn.waiting -= 1
            if not turn.waiting:
                del self._turns[key]

    async def _attempts(self, channel: Channel, notice: Report, deadline: float) -> Outcome:
        attempt = 0
        while True:
            try:
                await channel.notify(notice)
            except Refused as error:
                self.failing.note(channel.name, str(error), is_refusal=True)
                return self._gave_up(channel, notice, "refused", str(error))
            except Unreachable as error:
                pause_s = self._patience.pause_s(attempt, error.retry_after_s)
                self.failing.saw(channel.name, str(error))
                if time.monotonic() + pause_s > deadline:
                    self.failing.note(channel.name, str(error), is_refusal=False)
                    return self._gave_up(channel, notice, "gave_up", f"{error}, after {attempt + 1} attempts")
                why = str(error)
            except Exception as error:  # a channel's own mistake costs its notice, not the others'
                log.exception("channel_failed", channel=channel.name, notice_id=notice.notice_id)
                self.failing.note(channel.name, f"a defect: {type(error).__name__}", is_refusal=True)
                return self._gave_up(channel, notice, "refused", repr(error))
            else:
                self.failing.clear(channel.name)
                NOTICES.labels(channel.name, "delivered").inc()
                log.debug("notice_delivered", channel=channel.name, notice_id=notice.notice_id)
                return "delivered"
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

    async def _fall_back(self, failing: Channel, telling: _Telling) -> None:
        """Tell the next one in its place, and tell that it fails."""
        if telling.notice.level == "log":
            return  # for machines: whoever falls back to people would flood them
        for name in self._fallback:
            channel = self._named.get(name)
            if channel is None or channel is failing:
                continue
            is_new = name not in telling.covered
            if is_new and not channel.wants(telling.notice):
                continue
            tasks = []
            report = self.failing.report(failing.name, name, telling.notice)
            if report is not None and channel.wants(report):
                tasks.append(self._deliver(channel, _Telling(report, {name, failing.name}, _nobody_asks)))
            if is_new:
                telling.covered.add(name)
                NOTICES.labels(failing.name, "fell_back").inc()
                log.warning("notice_fell_back", channel=failing.name, to=name, notice_id=telling.notice.notice_id)
                tasks.append(self._deliver(channel, telling))
            await asyncio.gather(*tasks)
            return

    def _gave_up(self, channel: Channel, notice: Report, outcome: Outcome, why: str) -> Outcome:
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
        return outcome


class _Turn:
    """Whose turn it is in one channel for one rollout; asyncio's lock serves in order."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.waiting = 0
