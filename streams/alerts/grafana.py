"""Grafana: an annotation in all dashboards that ask for its tags, a region from an incident's begin to its end."""

from __future__ import annotations

import hashlib
import html
from datetime import datetime
from typing import Any, ClassVar

import aiohttp
from yarl import URL

from guardian.decisions import Decision, Receipt
from streams.alerts.base import Refused, Report
from streams.alerts.http import decoded, encoded, exchange
from streams.alerts.words import clean, cut, heading, hidden, one_line, story_of
from streams.web import checked_url

_TAG_LONGEST = 100
_TEXT_LONGEST = 4_000
_CURES = {
    400: "Grafana does not take the annotation",
    401: "see whether alerts.grafana.token is the token of a service account, and still valid",
    403: "the service account needs annotations:create, annotations:write and annotations:read (the role Editor has them)",
    404: "alerts.grafana.url is the address of Grafana itself, without /api",
}


class Grafana:
    """
    Marks what pages and what is there to be read, so that a graph shows when and why it changed.

    An annotation has a tag of its own notice or incident: it is looked for before it is made, and so made once.

    Raises:
        ValueError: an address that is none; it is not shown.
    """

    max_age_s: ClassVar[float] = 86_400.0 * 7

    def __init__(self, session: aiohttp.ClientSession, *, url: str, token: str) -> None:
        base = checked_url("alerts.grafana.url", url)
        self.name = "grafana"
        self._session = session
        self._url = base.with_path(base.path.rstrip("/") + "/api/annotations")
        self._headers = {"authorization": f"Bearer {token}"}
        self._quoted = hidden(token)

    def wants(self, notice: Report) -> bool:
        """News that are told to people, and the end of an incident."""
        return notice.kind == "resolved" or (notice.kind == "news" and notice.level != "log")

    async def notify(self, notice: Report) -> None:
        """Mark it, or write on at the mark of its incident; see ``Channel.notify``."""
        own = _own_tag(notice)
        known = await self._find(own)
        if known is None:
            await self._ask("POST", self._url, _annotation(notice, own))
        else:
            await self._ask("PATCH", self._url / str(known), _change(notice))

    async def probe(self) -> str:
        """Ask whether it is well, and for an annotation, as is done before one is made; see ``Probed.probe``."""
        health = self._url.with_path(self._url.path.removesuffix("/annotations") + "/health")
        await self._ask("GET", health)
        await self._find("guardian:none")
        return f"{self._url.host} is well, and shows annotations to the token"

    async def _find(self, tag: str) -> int | None:
        """The annotation with this tag, if there is one."""
        found = await self._ask("GET", self._url.with_query({"tags": tag, "limit": "1", "type": "annotation"}))
        if not isinstance(found, list) or not all(isinstance(one, dict) and isinstance(one.get("id"), int) for one in found):
            raise Refused(f"{self._url.host} answers, but not with annotations; {_CURES[404]}")
        return int(found[0]["id"]) if found else None

    async def _ask(self, method: str, url: URL, document: dict[str, Any] | None = None) -> Any:
        body = None if document is None else encoded(document)
        said = await exchange(self._session, method, url, body, self._headers, quoted=self._quoted, cures=_CURES)
        return decoded(said, url)


def _annotation(notice: Report, own: str) -> dict[str, Any]:
    tags = ["rollout-guardian", own, _action(notice), notice.environment, notice.flag_key, notice.variation, notice.owner]
    fields = {"time": _ms(notice.opened_at or notice.at), "tags": [cut(one_line(tag), _TAG_LONGEST) for tag in tags if tag]}
    return fields | _change(notice)


def _change(notice: Report) -> dict[str, Any]:
    """What the newest notice says; the region ends with its incident."""
    said = [f"<b>{_escaped(heading(notice), 300)}</b>"]
    said += [_escaped(notice.text, _TEXT_LONGEST)] if notice.title else []
    links = [f'<a href="{html.escape(link.href)}">{_escaped(link.text, 100)}</a>' for link in notice.links]
    ends = {"timeEnd": _ms(notice.at)} if notice.kind == "resolved" else {}
    return {"text": "\n".join([*said, " ".join(links)]).strip(), **ends}


def _own_tag(notice: Report) -> str:
    story = story_of(notice) or notice.notice_id
    return f"guardian:{hashlib.sha256(story.encode(errors='surrogatepass')).hexdigest()[:16]}"


def _action(notice: Report) -> str:
    return notice.data.action if isinstance(notice.data, Decision | Receipt) else "refused"


def _escaped(text: str, longest: int) -> str:
    return cut(clean(text), longest, html.escape)


def _ms(at: str) -> int:
    return round(datetime.fromisoformat(at).timestamp() * 1000)
