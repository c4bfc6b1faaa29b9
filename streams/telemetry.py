"""
Logs for people and machines, and the names of the metrics.

Every process logs through structlog, libraries that use ``logging`` included. Metrics are those of
prometheus_client in its multiprocess mode: the supervisor makes one directory (``PROMETHEUS_MULTIPROC_DIR``) before it
starts its children, each child's numbers live in a memory-mapped file there, and the supervisor adds them up for
``/metrics``. So no child needs a port, a crashed child's counts stay, and counting costs no message.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from typing import Any

import structlog
from prometheus_client import Counter, Gauge, Histogram

_LATENCY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

JOURNAL_ENTRIES = Counter("guardian_judge_entries", "Journal entries taken into account.", ["kind"])
JOURNAL_SECONDS = Histogram(
    "guardian_judge_entry_age_seconds",
    "From an entry's own time to its effects handed to Kafka.",
    buckets=_LATENCY_BUCKETS_S,
)
PROPAGATION_SECONDS = Histogram(
    "guardian_propagation_seconds",
    "From a store's receipt of a kill to the last exposure of what was killed, of kills seen to be effective.",
    ["store"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0),
)
DECISIONS = Counter("guardian_judge_decisions", "Decisions published, repeats included.", ["action", "mode"])
SNAPSHOT_BYTES = Counter("guardian_judge_snapshot_bytes", "Bytes of snapshots written.")
SNAPSHOT_SECONDS = Histogram(
    "guardian_judge_snapshot_seconds", "To write one round of snapshots.", buckets=_LATENCY_BUCKETS_S
)
REBUILT = Counter(
    "guardian_judge_rebuilt", "Parts of the state whose snapshot was damaged or gone, by what became of them.", ["outcome"]
)
REBUILDING = Gauge(
    "guardian_judge_rebuilding", "Parts of the state that are being rebuilt now.", multiprocess_mode="livesum"
)
LAST_EVALUATION = Gauge(
    "guardian_last_evaluation_timestamp_seconds",
    "When judge last took an entry of the journal into account, in seconds since 1970.",
    multiprocess_mode="max",
)
CLOCK_AHEAD = Gauge(
    "guardian_clock_ahead_seconds",
    "How far a clock is ahead that dates entries of the journal; 0 where none is by more than ten seconds.",
    multiprocess_mode="livemax",
)
COMMANDS = Counter("guardian_act_commands", "Decisions answered, by what the store said.", ["action", "status"])
COMMAND_SECONDS = Histogram(
    "guardian_act_command_seconds", "From a decision read to its receipt written.", buckets=_LATENCY_BUCKETS_S
)
ATTEMPTS = Counter("guardian_act_attempts", "Commands sent to a flag store, by what came of each.", ["outcome"])
STORE_DRIFT = Gauge(
    "guardian_store_drift",
    "Flags that stores serve differently, of those that act has acted on; by the stores that keep them.",
    ["stores"],
    multiprocess_mode="livemax",
)
DEAD_LETTERS = Counter("guardian_dead_letters", "Records that could not be read.", ["topic"])
NOT_DELIVERED = Counter("guardian_not_delivered", "Records that the broker did not take in time.", ["topic"])
RESTARTS = Counter("guardian_restarts", "Times that the supervisor started a child again.", ["child"])
POLICY_PROBLEMS = Gauge(
    "guardian_policy_problems", "What is wrong in the policy files as they are now.", multiprocess_mode="livemostrecent"
)
READY = Gauge("guardian_ready", "Whether a child does its work now.", ["child"], multiprocess_mode="livemostrecent")

EVERY_S, TEXTS_MAX = 10.0, 1_000
"""A library says the same text once in so many seconds; so many texts are told apart."""
_QUIET = (
    "aiokafka",
    "faust",
    "mode",
    "kafka",
    "aiohttp.access",
    "uvicorn",
    # Faust logs the start and end of each of its services under the module of its class.
    "streams.faust_app",
    "streams.snapshots",
)


class _SaidAlready(logging.Filter):
    """Drops what Faust warns of on every start and what is meant so here: topics are made beforehand."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "Topic creation disabled" not in record.getMessage()


class _SaidOften(logging.Filter):
    """
    Lets a library say the same once in a while only, and then how often it would have.

    While a broker is away every client of it complains ten times a second. "The same" is the text before its arguments.
    """

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock_s = clock_s
        self._said: dict[tuple[str, int, str], list[float]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if not isinstance(record.msg, str):
            return True  # our own events
        now_s, key = self._clock_s(), (record.name, record.levelno, record.msg)
        if key not in self._said and len(self._said) >= TEXTS_MAX:
            self._said.clear()
        said = self._said.setdefault(key, [-EVERY_S, 0])
        if now_s - said[0] < EVERY_S:
            said[1] += 1
            return False
        if said[1]:
            record.msg = f"{record.msg} (and {said[1]:.0f} times more in {now_s - said[0]:.0f} s)"
        said[:] = [now_s, 0]
        return True


def configure(process: str, *, as_json: bool = False, level: str = "info") -> None:
    """
    Send everything that is logged to stderr, one line an event: for people, or as JSON.

    Raises:
        ValueError: *level* is no level of ``logging``.
    """
    wanted = logging.getLevelNamesMapping().get(level.upper())
    if wanted is None:
        raise ValueError(f"log level: {level!r}: write one of debug, info, warning, error")

    def name_process(_: Any, __: str, event: Any) -> Any:
        event["process"] = process
        return event

    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        name_process,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at")
        if as_json
        else structlog.processors.TimeStamper(fmt="%H:%M:%S.%f", utc=True, key="timestamp"),
        structlog.processors.StackInfoRenderer(),
    ]
    # No variables in tracebacks: they hold secrets, and to print them takes a crashing process seconds.
    plain = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    final: list[Any] = (
        [structlog.processors.ExceptionRenderer(plain), structlog.processors.JSONRenderer()]
        if as_json
        else [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        ]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *final],
        )
    )
    handler.addFilter(_SaidAlready())
    handler.addFilter(_SaidOften())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(wanted)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(wanted, logging.WARNING))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
