"""Sends exposures, outcomes and feedback of a service to Kafka, without the service ever noticing."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from streams.instrument.events import Encoder, Event, Exposure, Feedback, Outcome
from streams.instrument.lane import Lane
from streams.instrument.link import Link

log = logging.getLogger("streams.instrument")

FeedbackKind = Literal["rating", "nps", "thumb", "report"]


class EmitterStats(NamedTuple):
    """Counts since the emitter was made; an event taken is in exactly one of them."""

    queued: int
    sent: int
    dropped: int


class GuardianEmitter:
    """
    The way out for the events of one process.

    ``emit_exposure``, ``emit_outcome`` and ``emit_feedback`` may be called from
    any thread, before ``start`` and after ``stop``, with Kafka up or down: they
    take a microsecond or two, never wait and never raise. A task in the event
    loop of ``start`` sends what they took, in batches, keyed by ``context_id``,
    so that all events of a unit are in one partition of their topic.

    While Kafka cannot be reached the newest ``queue_size`` events of each topic
    wait; older ones are dropped, counted (``stats()``) and logged twice a
    minute at most. Sending goes on by itself. An event that was sent but not
    confirmed may be sent again: same ``source`` and ``id``, by which the
    guardian knows it.

    Args:
        bootstrap_servers: ``"host:port"``, several separated by commas or as a sequence.
        environment: where this runs, as the policies call it (``production``).
        service_name: this service; the guardian names it when its users' variations are mixed up.
        exposures_topic: where exposures go.
        outcomes_topic: where outcomes go.
        feedback_topic: where feedback goes.
        queue_size: events that may wait for each topic.
        linger_ms: how long an event may wait for others to travel with.
        acks: ``"all"`` sends idempotently; ``1`` is faster and may lose events when a broker dies.
        pseudonymise: replaces every ``context_id`` before it leaves, the same way in all three
            kinds of event; called in the event loop, off the requests' path. An event for which
            it raises is dropped.
        kafka: more arguments for ``aiokafka.AIOKafkaProducer`` (``security_protocol``, ``ssl_context``, ...).

    """

    def __init__(
        self,
        bootstrap_servers: str | Sequence[str],
        environment: str,
        service_name: str,
        *,
        exposures_topic: str = "flag.exposures.v1",
        outcomes_topic: str = "flag.outcomes.v1",
        feedback_topic: str = "flag.feedback.v1",
        queue_size: int = 10_000,
        linger_ms: float = 20,
        acks: Literal["all", 0, 1] = "all",
        pseudonymise: Callable[[str], str] | None = None,
        kafka: Mapping[str, Any] | None = None,
    ) -> None:
        for name, text in (("environment", environment), ("service_name", service_name)):
            if not text:
                raise ValueError(f"{name}: must not be empty")
        if queue_size < 1:
            raise ValueError(f"queue_size: must be 1 or more, is {queue_size}")
        servers = bootstrap_servers if isinstance(bootstrap_servers, str) else ",".join(bootstrap_servers)
        self.environment = environment
        self.service_name = service_name
        self._link = Link(servers, acks, kafka or {})
        encoder = Encoder(service_name, pseudonymise)
        self._exposures, self._outcomes, self._feedback = (
            Lane(topic, encoder, self._link, queue_size=queue_size, linger_ms=linger_ms)
            for topic in (exposures_topic, outcomes_topic, feedback_topic)
        )
        self._lanes = (self._exposures, self._outcomes, self._feedback)
        self._tasks: list[asyncio.Task[None]] = []

    def emit_exposure(
        self,
        flag_key: str,
        variant: str,
        *,
        context_id: str | None = None,
        reason: str | None = None,
        flag_version: str | None = None,
        at_ms: int | None = None,
    ) -> None:
        """Tell that ``context_id`` was served ``variant``, now or at ``at_ms`` (epoch milliseconds)."""
        event = Exposure(flag_key, variant, self.environment, self.service_name, context_id, reason, flag_version)
        self._put(self._exposures, event, at_ms)

    def emit_outcome(
        self,
        flags: Mapping[str, str],
        outcome: Literal["ok", "error"],
        *,
        latency_ms: float | None = None,
        operation: str | None = None,
        error_type: str | None = None,
        context_id: str | None = None,
        attributes: Mapping[str, str] | None = None,
        measures: Mapping[str, float] | None = None,
        at_ms: int | None = None,
    ) -> None:
        """
        Tell how something ended that had run under ``flags`` (flag to variation).

        ``at_ms`` is when it ended (now, if not given); it began ``latency_ms``
        before. Without flags there is nothing to tell and nothing is sent.
        """
        if not flags:
            return
        event = Outcome(
            dict(flags),
            self.environment,
            self.service_name,
            outcome,
            operation,
            error_type,
            None if latency_ms is None else round(latency_ms, 3),
            context_id,
            dict(attributes) if attributes else None,
            dict(measures) if measures else None,
        )
        self._put(self._outcomes, event, at_ms)

    def emit_feedback(
        self,
        flags: Mapping[str, str],
        kind: FeedbackKind,
        *,
        score: float | None = None,
        scale: tuple[float, float] | None = None,
        context_id: str | None = None,
        at_ms: int | None = None,
    ) -> None:
        """Tell what a person said who had seen ``flags``; every kind but ``report`` has a ``score``."""
        if not flags:
            return
        event = Feedback(
            dict(flags),
            self.environment,
            self.service_name,
            kind,
            score,
            list(scale) if scale else None,
            context_id,
        )
        self._put(self._feedback, event, at_ms)

    async def start(self) -> None:
        """Begin to send; returns at once, whether Kafka answers or not. A second call does nothing."""
        if not self._tasks:
            self._link.open()
            for lane in self._lanes:
                lane.open()
            self._tasks = [asyncio.create_task(lane.run(), name=f"emit {lane.topic}") for lane in self._lanes]

    @property
    def is_started(self) -> bool:
        """Whether ``start`` was called, and ``stop`` not since."""
        return bool(self._tasks)

    async def stop(self, deadline_s: float = 5.0) -> None:
        """Send what waits, for ``deadline_s`` at most, drop and count the rest, close the connection."""
        tasks, self._tasks = self._tasks, []
        for lane in self._lanes:
            lane.close()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=deadline_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        for lane in self._lanes:
            lane.abandon()
        await self._link.close()

    def stats(self) -> EmitterStats:
        """Return how many events wait, were sent, were dropped."""
        return EmitterStats(
            sum(lane.queued for lane in self._lanes),
            sum(lane.sent for lane in self._lanes),
            sum(lane.dropped for lane in self._lanes),
        )

    @staticmethod
    def _put(lane: Lane, event: Event, at_ms: int | None) -> None:
        lane.put(event, int(time.time() * 1000) if at_ms is None else at_ms)
