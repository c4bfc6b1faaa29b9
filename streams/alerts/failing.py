"""Which channels fail, since when and why; and the notice that says so, through another one, once an hour."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from streams.alerts.base import FAILING, Report

_HOUR_S = 3600.0


class Failing:
    """What is known of channels that fail; *now* is seconds since the epoch."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._seen: dict[str, str] = {}
        self._why: dict[str, str] = {}
        self._reported: dict[str, int] = {}

    @property
    def channels(self) -> dict[str, str]:
        """The channels that fail now, with the reason of each."""
        return dict(self._why)

    def saw(self, channel: str, why: str) -> None:
        """Take it that one attempt failed: nothing is wrong yet."""
        self._seen[channel] = why

    def last(self, channel: str) -> str:
        """Why the last attempt failed, nothing where it did not."""
        return self._seen.get(channel, "")

    def note(self, channel: str, why: str, *, is_refusal: bool) -> None:
        """Take it that a channel fails, until it takes something."""
        self._why[channel] = f"refuses: {why}" if is_refusal else f"cannot be reached: {why}"
        FAILING.labels(channel).set(1)

    def clear(self, channel: str) -> None:
        """Take it that a channel has taken a notice."""
        self._seen.pop(channel, None)
        self._why.pop(channel, None)
        FAILING.labels(channel).set(0)

    def report(self, channel: str, instead: str, notice: Report) -> Report | None:
        """Return what *instead* is to be told of the failure, nothing where it was within this hour of the clock."""
        now_s = self._now()
        hour = int(now_s // _HOUR_S)
        if self._reported.get(channel) == hour or channel not in self._why:
            return None
        self._reported[channel] = hour
        what = "page" if notice.level == "page" else "notice"
        return replace(
            notice,
            notice_id=f"channel:{channel}:{hour}",
            flag_key="",
            environment="",
            variation=channel,
            owner="",
            urgent=False,
            text=f"{channel} {self._why[channel]}; this {what} came by {instead} instead: {notice.text}",
            at=datetime.fromtimestamp(now_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            kind="news",
            level="chat",
            incident="",
            opened_at="",
            title=f"{channel} {self._why[channel].partition(':')[0]}",
            body="",
            links=(),
            chart=b"",
            to=(instead,),
        )
