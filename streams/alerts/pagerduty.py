"""PagerDuty, Events API v2: one incident a variation, closed when the guardian's own is; the rest as change events."""

from __future__ import annotations

from typing import Any, ClassVar

import aiohttp

from guardian.decisions import Decision, Receipt, Refusal
from streams.alerts.base import Report
from streams.alerts.http import encoded, exchange, reach
from streams.alerts.words import clean, cut, hidden, incident_key, one_line, shortened
from streams.web import checked_url

EVENTS_URL = "https://events.pagerduty.com/v2/enqueue"
_SUMMARY_LONGEST = 1024
_DEDUP_LONGEST = 255
_ROUTING_KEY = 32
_BODY_LARGEST = 500_000
"""Bytes; PagerDuty takes 512 KB."""
_CURES = {
    400: "see whether alerts.pagerduty.routing_key is the integration key of a service (Events API v2)",
    403: "see whether alerts.pagerduty.routing_key is still in use",
    404: "alerts.pagerduty.url ends in /v2/enqueue",
}


class PagerDuty:
    """
    Pages for what wakes somebody; the same variation's news join its open incident.

    A kill that was carried out as it should is an ``error`` (customers are safe, someone has to look); a
    kill that failed or did not take effect, or a record that somebody else wrote in the guardian's place, is ``critical``.
    With *change_events* what is there to be read (a pause, an advance) is shown beside, as a change: that never pages.

    Raises:
        ValueError: no address, or a routing key that is not 32 characters long. Neither is shown.
    """

    max_age_s: ClassVar[float] = 3600.0

    def __init__(
        self, session: aiohttp.ClientSession, *, routing_key: str, url: str = EVENTS_URL, change_events: bool = True
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
        self._changes_url = self._url.with_path(self._url.path.removesuffix("/enqueue") + "/change/enqueue")
        # Keys of event orchestrations begin so, and take no changes.
        self._tells_changes = change_events and not routing_key.startswith("R")

    def wants(self, notice: Report) -> bool:
        """News that wake somebody, the end of their incident, and changes."""
        is_change = notice.level == "chat" and self._tells_changes
        return notice.kind == "resolved" or (notice.kind == "news" and (notice.level == "page" or is_change))

    async def notify(self, notice: Report) -> None:
        """Trigger, resolve, or tell a change; see ``Channel.notify``."""
        if notice.kind == "resolved":
            await self._send({"event_action": "resolve", "dedup_key": dedup_key(notice)})
        elif notice.level == "page":
            await self._send(self._trigger(notice))
        else:
            await self._send(_change(notice), changes=True)

    async def probe(self) -> str:
        """Connect; whether the key is right shows with the first event alone. See ``Probed.probe``."""
        return await reach(self._url)

    def _trigger(self, notice: Report) -> dict[str, Any]:
        return {
            "event_action": "trigger",
            "dedup_key": dedup_key(notice),
            "client": "Rollout Guardian",
            "payload": _payload(notice)
            | {
                "severity": "error" if isinstance(notice.data, Decision) else "critical",
                "component": notice.flag_key,
                "group": notice.environment,
                "class": _class(notice),
            },
            "links": _links(notice),
        }

    async def _send(self, event: dict[str, Any], *, changes: bool = False) -> None:
        event = {"routing_key": self._routing_key, **event}
        body = encoded(event)
        if len(body) > _BODY_LARGEST:
            event["payload"]["custom_details"] = {"left out": "the numbers are too many to be shown here"}
            body = encoded(event)
        url, quoted = self._changes_url if changes else self._url, hidden(self._routing_key)
        await exchange(self._session, "POST", url, body, {}, quoted=quoted, cures=_CURES)


def _change(notice: Report) -> dict[str, Any]:
    return {"payload": _payload(notice), "links": _links(notice)}


def _payload(notice: Report) -> dict[str, Any]:
    details = {"owner": notice.owner, "title": one_line(notice.title), "body": clean(notice.body)}
    return {
        "summary": cut(one_line(notice.text), _SUMMARY_LONGEST) or "Rollout Guardian",
        "source": "rollout-guardian",
        "timestamp": notice.at,
        "custom_details": {name: value for name, value in details.items() if value}
        | notice.data.model_dump(mode="json", exclude={"sources"}),
    }


def _links(notice: Report) -> list[dict[str, str]]:
    return [{"href": link.href, "text": link.text} for link in notice.links]


def dedup_key(notice: Report) -> str:
    """Return ``guardian:environment:flag:variation``; where PagerDuty takes no such length, a hash ends it."""
    return shortened(incident_key(notice), _DEDUP_LONGEST)


def _class(notice: Report) -> str:
    match notice.data:
        case Decision(signal=signal):
            return signal
        case Receipt(action=action, status=status):
            return f"{action} {status}"
        case Refusal():
            return "not signed"
