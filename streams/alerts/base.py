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
from typing import Protocol

from prometheus_client import Counter

from guardian.decisions import Decision, Receipt, Refusal
from guardian.errors import GuardianError
from guardian.ports import Notice

NOTICES = Counter(
    "guardian_report_notices",
    "Notices by channel and what became of each: delivered, refused, gave_up, stale.",
    ["channel", "outcome"],
)
RETRIES = Counter("guardian_report_retries", "Attempts to deliver a notice that are made again.", ["channel"])


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
class Report(Notice):
    """
    A notice with the decision, the receipt or the refused record that it is about.

    *type* is the CloudEvents type, *at* when it happened (RFC 3339). ``urgent`` says that it should wake
    someone; ``text`` is its one sentence.
    """

    type: str
    at: str
    variation: str
    data: Decision | Receipt | Refusal

    @property
    def order(self) -> str:
        """Notices of the same order are delivered one after the other, as they came."""
        return f"{self.environment}|{self.flag_key}"

    @property
    def ends_alarm(self) -> bool:
        """Whether people took the variation up again, so that what was open about it is over."""
        return isinstance(self.data, Decision) and self.data.action == "resume" and self.data.mode == "enforce"

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
        """What is older is not told any more: a page about yesterday wakes people for nothing."""
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
