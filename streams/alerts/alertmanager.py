"""
Alertmanager, API v2: one alert a variation, in all of its replicas.

Alertmanager knows an alert by its labels, so none of them ever changes while an incident is open: what an incident was
opened with is kept. Numbers are annotations. An alert says that it lasts a day: each hourly status puts that off, and
its end is told (``endsAt`` is now). Shorter, it would be called resolved whenever nobody is there to say it again,
which is when the guardian is down: the one moment at which it must not be. Without any end it would outlive a flag
that nobody remembers.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import ClassVar

import aiohttp
import structlog
from yarl import URL

from guardian.decisions import Refusal
from streams.alerts.base import ChannelError, ChannelMemory, Report, Unreachable
from streams.alerts.http import encoded, exchange
from streams.alerts.memory import Notes
from streams.alerts.words import clean, cut, heading, hidden, link, one_line
from streams.web import checked_url

LASTS_S = 86_400.0
_PATH = "/api/v2/alerts"
_ANNOTATION_LONGEST = 10_000
_CURES = {
    400: "Alertmanager does not take the alert",
    401: "see alerts.alertmanager.token",
    403: "the token may not post alerts",
    404: "alerts.alertmanager.urls are the bases of Alertmanager, without /api/v2/alerts",
}

log = structlog.get_logger()


class Alertmanager:
    """
    Alerts for what wakes somebody, until its incident is over.

    It counts as told when one replica took it, as for Prometheus; that it is over, when none failed to hear it.

    Raises:
        ValueError: an address that is none; it is not shown.
    """

    max_age_s: ClassVar[float] = 3600.0

    def __init__(
        self,
        session: aiohttp.ClientSession,
        memory: ChannelMemory,
        *,
        urls: Sequence[str],
        token: str = "",
        now: Callable[[], float] = time.time,
    ) -> None:
        self.name = "alertmanager"
        self._session = session
        self._notes = Notes(memory, self.name)
        self._urls = [_api(checked_url("alerts.alertmanager.urls", url)) for url in urls]
        self._headers = {"authorization": f"Bearer {token}"} if token else {}
        self._quoted = hidden(token)
        self._now = now

    def wants(self, notice: Report) -> bool:
        """News that wake somebody, and all about their incident but its report."""
        return notice.kind in ("status", "resolved") or (notice.kind == "news" and notice.level == "page")

    async def notify(self, notice: Report) -> None:
        """Post the alert to all replicas, as open or as over; see ``Channel.notify``."""
        labels = await self._labels(notice)
        is_over = notice.kind == "resolved"
        began_s = datetime.fromisoformat(notice.opened_at or notice.at).timestamp()
        alert = {
            "labels": labels,
            "annotations": _annotations(notice),
            "startsAt": _rfc3339(began_s),
            # Another host's clock says when it began: an end before that would not be taken.
            "endsAt": _rfc3339(max(began_s, self._now()) + (0.0 if is_over else LASTS_S)),
            "generatorURL": link(notice),
        }
        body = encoded([alert])
        answers = await asyncio.gather(*(self._post(url, body) for url in self._urls))
        failures = [answer for answer in answers if answer is not None]
        away = [failure for failure in failures if isinstance(failure, Unreachable)]
        for failure in failures:
            log.warning("alertmanager_not_told", why=str(failure), notice_id=notice.notice_id)
        if failures and (len(failures) == len(answers) or (is_over and away)):
            raise (away or failures)[0]

    async def probe(self) -> str:
        """Ask every replica whether it is ready; see ``Probed.probe``."""
        for url in self._urls:
            ready = url.with_path(url.path.removesuffix(_PATH) + "/-/ready")
            await exchange(self._session, "GET", ready, None, self._headers, quoted=self._quoted, cures=_CURES)
        return f"ready: {', '.join(f'{url.host}:{url.port}' for url in self._urls)}"

    async def _post(self, url: URL, body: bytes) -> ChannelError | None:
        try:
            await exchange(self._session, "POST", url, body, self._headers, quoted=self._quoted, cures=_CURES)
        except ChannelError as failure:
            return failure
        return None

    async def _labels(self, notice: Report) -> dict[str, str]:
        """The labels that its incident was opened with, or those to open it with."""
        if kept := self._notes.of(notice).get("labels"):
            return dict(json.loads(kept))
        labels = {name: one_line(value) for name, value in _identity(notice).items()}
        await self._notes.keep(notice, labels=json.dumps(labels))
        return labels


def _identity(notice: Report) -> dict[str, str]:
    """Severity is part of it, so it is one for all that comes here, whatever becomes of an incident later."""
    if isinstance(notice.data, Refusal):
        return {"alertname": "GuardianRecordNotBelieved", "severity": "critical", "topic": notice.variation}
    return {
        "alertname": "FlagVariationHarm",
        "severity": "critical",
        "flag_key": notice.flag_key,
        "variant": notice.variation,
        "environment": notice.environment,
        "owner": notice.owner,
    }


def _annotations(notice: Report) -> dict[str, str]:
    said = "\n\n".join(part for part in (clean(notice.text), clean(notice.body)) if part)
    links = {re.sub(r"\W+", "_", one.text.lower(), flags=re.ASCII).strip("_") or "link": one.href for one in notice.links}
    return {**links, "summary": cut(heading(notice), 300), "description": cut(said, _ANNOTATION_LONGEST)}


def _api(base: URL) -> URL:
    return base.with_path(base.path.rstrip("/") + _PATH)


def _rfc3339(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
