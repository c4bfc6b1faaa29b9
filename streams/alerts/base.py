"""
What every channel shares: the notice, what can go wrong, and who is told in which order.

::

    GuardianError
    └── ChannelError
        ├── Unreachable   no answer, too many at once, or the other side is ill: worth another try
        └── Refused       the other side said no, and would say so again
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol, runtime_checkable

from prometheus_client import Counter, Gauge

from guardian.decisions import Decision, Receipt, Refusal
from guardian.errors import GuardianError
from guardian.ports import Notice

NOTICES = Counter(
    "guardian_report_notices",
    "Notices by channel and what became of each: delivered, refused, gave_up, stale, fell_back.",
    ["channel", "outcome"],
)
RETRIES = Counter("guardian_report_retries", "Attempts to deliver a notice that are made again.", ["channel"])
FAILING = Gauge(
    "guardian_report_channel_failing",
    "Whether a channel takes no notices now: it refuses them, or has not been reached for long.",
    ["channel"],
    multiprocess_mode="livemax",
)

Level = Literal["page", "chat", "log"]
"""``page`` wakes somebody, ``chat`` is there to be read, ``log`` is for the log alone."""
Kind = Literal["news", "status", "resolved", "report"]
"""
news       a decision, receipt or refusal, as it happens; opens or updates an incident
status     the incident is still open
resolved   a person resumed or archived: the incident is over
report     what is left to read when it is over, Markdown in the body
"""


class ChannelError(GuardianError):
    """A notice was not delivered."""


class Unreachable(ChannelError):
    """Worth another try; *retry_after_s* is what the other side asked for, if it did."""

    def __init__(self, why: str, retry_after_s: float | None = None) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(why)


class Refused(ChannelError):
    """The other side understood and said no: the same again will not help."""


@dataclass(frozen=True, slots=True)
class Link:
    """Where to read on: ``The decision``, ``Why``, ``Undo``."""

    text: str
    href: str


@dataclass(frozen=True, slots=True)
class Report(Notice):
    """
    A notice with the decision, the receipt or the refused record that it is about.

    *type* is the CloudEvents type, *at* when it happened (RFC 3339); ``text`` is its one sentence, ``title`` a few
    words, ``body`` Markdown (of a status and a report). ``urgent`` is that ``level`` is ``page``. ``incident`` is
    ``environment|flag|variation``, the identity for dedup keys, threads and labels, and empty where there is none;
    ``opened_at`` is when it began (RFC 3339). ``chart`` is a PNG of 800 by 400 or nothing. ``to`` names the channels
    that it is meant for, where routing has decided; where it is empty, those that want it are told.
    """

    type: str
    at: str
    variation: str
    data: Decision | Receipt | Refusal
    kind: Kind = "news"
    level: Level = "log"
    incident: str = ""
    opened_at: str = ""
    title: str = ""
    body: str = ""
    links: tuple[Link, ...] = ()
    chart: bytes = b""
    to: tuple[str, ...] = ()

    @property
    def order(self) -> str:
        """Notices of the same order are delivered one after the other, as they came."""
        return f"{self.environment}|{self.flag_key}"

    def age_s(self, now_s: float) -> float:
        """Return how long ago it happened; *now_s* is seconds since the epoch."""
        return now_s - datetime.fromisoformat(self.at).timestamp()


class Channel(Protocol):
    """A way to tell people or machines."""

    @property
    def name(self) -> str:
        """What logs and metrics call it."""
        ...

    @property
    def max_age_s(self) -> float:
        """What is older is not told any more, but for an end: a page about yesterday wakes people for nothing."""
        ...

    def wants(self, notice: Report) -> bool:
        """Say whether this notice goes through this channel."""
        ...

    async def notify(self, notice: Report) -> None:
        """
        Deliver the notice, one attempt; a repeat carries the same identity.

        Raises:
            Unreachable: worth another try.
            Refused: not worth one.
        """
        ...


@runtime_checkable
class Probed(Protocol):
    """A channel that can be tried without telling anybody anything."""

    async def probe(self) -> str:
        """
        Try what can be tried, and return in a few words what that was.

        Raises:
            ChannelError: a notice would not arrive; the text says what helps.
        """
        ...


class ChannelMemory(Protocol):
    """What a channel must know of an incident later: a chat message's id, so that the next one can answer it."""

    def get(self, incident: str, channel: str) -> str | None:
        """Return what was put last, nothing where the incident is unknown or over for long."""
        ...

    async def put(self, incident: str, channel: str, value: str) -> None:
        """Keep *value*: it is durable when this returns. Of what is no incident nothing is kept."""
        ...
