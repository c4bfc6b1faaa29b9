"""PagerDuty, Events API v2: one incident a variation, closed when the guardian's own is."""

from __future__ import annotations

import hashlib
import json
from typing import Any, ClassVar
from urllib.parse import quote

import aiohttp

from guardian.decisions import Decision, Receipt, Refusal
from streams.alerts.base import Report
from streams.alerts.http import post_json
from streams.web import checked_url

EVENTS_URL = "https://events.pagerduty.com/v2/enqueue"
_SUMMARY_LONGEST = 1024
_DEDUP_LONGEST = 255
_ROUTING_KEY = 32


class PagerDuty:
    """
    Pages for what is urgent; the same variation's news join its open incident.

    A kill that was carried out as it should is an ``error`` (customers are safe, someone has to look); a
    kill that failed or did not take effect, or a record that somebody else wrote in the guardian's place, is ``critical``.

    Raises:
        ValueError: no address, or a routing key that is not 32 characters long. Neither is shown.
    """

    max_age_s: ClassVar[float] = 3600.0

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        routing_key: str,
        url: str = EVENTS_URL,
        page_url: str = "",
    ) -> None:
        if len(routing_key) != _ROUTING_KEY:
            raise ValueError(
                f"alerts.pagerduty.routing_key: has {len(routing_key)} characters; "
                f"an integration key of Events API v2 has {_ROUTING_KEY}"
            )
        self.name = "pagerduty"
        self._session = session
        self._routing_key = routing_key
        self._url = checked_url("alerts.pagerduty.url", url)
        self._page_url = page_url.rstrip("/")

    def wants(self, notice: Report) -> bool:
        """News that wake somebody, and the end of their incident."""
        return notice.kind == "resolved" or (notice.kind == "news" and notice.level == "page")

    async def notify(self, notice: Report) -> None:
        """Trigger, or resolve; see ``Channel.notify``."""
        if notice.kind == "resolved":
            await self._send({"event_action": "resolve", "dedup_key": dedup_key(notice)})
        else:
            await self._send(self._trigger(notice))

    def _trigger(self, notice: Report) -> dict[str, Any]:
        event: dict[str, Any] = {
            "event_action": "trigger",
            "dedup_key": dedup_key(notice),
            "client": "Rollout Guardian",
            "payload": {
                "summary": _short(notice.text, _SUMMARY_LONGEST),
                "source": "rollout-guardian",
                "severity": "error" if isinstance(notice.data, Decision) else "critical",
                "timestamp": notice.at,
                "component": notice.flag_key,
                "group": notice.environment,
                "class": _class(notice),
                "custom_details": {"owner": notice.owner} | notice.data.model_dump(mode="json", exclude={"sources"}),
            },
        }
        if self._page_url and not isinstance(notice.data, Refusal):
            link = f"{self._page_url}/#/decisions/{quote(notice.data.decision_id, safe='')}"
            event |= {"client_url": self._page_url, "links": [{"href": link, "text": "The decision"}]}
        return event

    async def _send(self, event: dict[str, Any]) -> None:
        body = json.dumps({"routing_key": self._routing_key, **event}).encode()
        await post_json(self._session, self._url, body, {}, quoted=self._without_key)

    def _without_key(self, text: str) -> str:
        return text.replace(self._routing_key, "…")


def dedup_key(notice: Report) -> str:
    """Return ``guardian:environment:flag:variation``; where PagerDuty takes no such length, a hash ends it."""
    key = f"guardian:{notice.environment}:{notice.flag_key}:{notice.variation}"
    if len(key) <= _DEDUP_LONGEST:
        return key
    digest = hashlib.sha256(key.encode()).hexdigest()[:32]
    return f"{key[: _DEDUP_LONGEST - 33]}:{digest}"


def _class(notice: Report) -> str:
    match notice.data:
        case Decision(signal=signal):
            return signal
        case Receipt(action=action, status=status):
            return f"{action} {status}"
        case Refusal():
            return "not signed"


def _short(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
