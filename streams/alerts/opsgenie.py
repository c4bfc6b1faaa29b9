"""Opsgenie, and Operations in Jira Service Management, which took over its API: one alert a variation."""

from __future__ import annotations

from typing import Any, ClassVar

import aiohttp
from yarl import URL

from guardian.decisions import Decision
from streams.alerts.base import Report
from streams.alerts.http import encoded, exchange, reach
from streams.alerts.words import clean, cut, heading, hidden, incident_key, one_line, shortened
from streams.web import checked_url

ALERTS_URL = "https://api.opsgenie.com/v2/alerts"
"""In Jira Service Management: https://api.atlassian.com/jsm/ops/integration/v2/alerts; in Europe: api.eu.opsgenie.com."""
_SOURCE = "rollout-guardian"
_LONGEST = {"message": 130, "alias": 512, "description": 15_000, "note": 25_000, "entity": 512, "tag": 50, "detail": 1_000}
_CURES = {
    401: "see whether alerts.opsgenie.api_key is the key of an API integration",
    402: "the account's plan has no alerts",
    403: "the integration may not create alerts: give it write access; in Europe alerts.opsgenie.url is another one",
    404: "alerts.opsgenie.url ends in /v2/alerts",
    422: "Opsgenie does not take the alert; see whether the integration is switched on",
}


class Opsgenie:
    """
    An alert for what wakes somebody, known by its alias; a status and a report are notes of it, its end closes it.

    A kill that was carried out is P2 (customers are safe), one that was not is P1; what wakes nobody is P4.

    Raises:
        ValueError: an address that is none, or no key. Neither is shown.
    """

    max_age_s: ClassVar[float] = 3600.0

    def __init__(self, session: aiohttp.ClientSession, *, api_key: str, url: str = ALERTS_URL) -> None:
        if not api_key or one_line(api_key) != api_key:
            raise ValueError("alerts.opsgenie.api_key: is empty or more than one line; write the key of an API integration")
        self.name = "opsgenie"
        self._session = session
        self._url = str(checked_url("alerts.opsgenie.url", url)).rstrip("/")
        self._headers = {"authorization": f"GenieKey {api_key}"}
        self._quoted = hidden(api_key)

    def wants(self, notice: Report) -> bool:
        """News that wake somebody, and all that is said about their incident."""
        return notice.kind != "news" or notice.level == "page"

    async def notify(self, notice: Report) -> None:
        """Open the alert or count another, note, or close; see ``Channel.notify``."""
        if notice.kind == "news":
            await self._post(self._url, _alert(notice))
            return
        doing = "close" if notice.kind == "resolved" else "notes"
        # The alias is hashed where it holds what has a meaning in a path.
        await self._post(f"{self._url}/{alias(notice)}/{doing}?identifierType=alias", {"source": _SOURCE, "note": _note(notice)})

    async def probe(self) -> str:
        """Connect; whether the key is right shows with the first alert alone. See ``Probed.probe``."""
        return await reach(URL(self._url, encoded=True))

    async def _post(self, url: str, document: dict[str, Any]) -> None:
        address = URL(url, encoded=True)
        await exchange(
            self._session, "POST", address, encoded(document), self._headers, quoted=self._quoted, cures=_CURES
        )


def alias(notice: Report) -> str:
    """Return ``guardian:environment:flag:variation``, or a hash of it where it is not fit for a path."""
    return shortened(incident_key(notice), _LONGEST["alias"], plain=True)


def _alert(notice: Report) -> dict[str, Any]:
    tags = ("rollout-guardian", notice.environment, notice.flag_key)
    details = {"variation": notice.variation, "owner": notice.owner, "at": notice.at}
    details |= {one_line(link.text): link.href for link in notice.links}
    return {
        "message": cut(heading(notice), _LONGEST["message"]),
        "alias": alias(notice),
        "description": _fitted("description", notice),
        "priority": _priority(notice),
        "source": _SOURCE,
        "entity": cut(one_line(notice.flag_key), _LONGEST["entity"]),
        "tags": [cut(one_line(tag), _LONGEST["tag"]) for tag in tags if tag],
        "details": {name: cut(one_line(value), _LONGEST["detail"]) for name, value in details.items() if value},
        # The first words of an alert stay as they are: what comes later is read among its notes.
        "note": _note(notice),
    }


def _priority(notice: Report) -> str:
    if notice.level != "page":
        return "P4"
    return "P2" if isinstance(notice.data, Decision) else "P1"


def _note(notice: Report) -> str:
    return _fitted("note", notice)


def _fitted(field: str, notice: Report) -> str:
    said = "\n\n".join(part for part in (clean(notice.text), clean(notice.body)) if part)
    return cut(said or heading(notice), _LONGEST[field])
