"""
Alertmanager's API v2, after its OpenAPI document: alerts by their labels.

The real one is in ``alertmanager_process``; this one fails when it is asked to.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from tests.support.alerts.api import FakeApi, NotTaken, document_of, need_only, need_text

FIELDS = {"labels", "annotations", "startsAt", "endsAt", "generatorURL"}
TOKEN = "t0ken-of-alertmanager"
_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


@dataclass
class AlertsApi(FakeApi):
    """Alerts by their label set; those whose end is past are over."""

    alerts: dict[tuple[tuple[str, str], ...], dict[str, Any]] = field(default_factory=dict)

    async def answer(self, request: web.Request, body: bytes) -> web.Response:
        if (request.method, request.path) == ("GET", "/am/-/ready"):
            return web.Response(text="OK")
        if (request.method, request.path) != ("POST", "/am/api/v2/alerts"):
            raise NotTaken(404, f"no {request.method} {request.path}")
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            raise NotTaken(401, "unauthorized")
        alerts = document_of(request, body)
        if not isinstance(alerts, list):
            raise NotTaken(400, "alerts are no list")
        for alert in alerts:
            need_only("alert", alert, FIELDS)
            self._take(alert)
        return web.Response(status=200)

    def _take(self, alert: dict[str, Any]) -> None:
        for kind in ("labels", "annotations"):
            for name, value in alert.get(kind, {}).items():
                need_text(f"{kind}.{name}", value, 1_000_000)
                if not _NAME.fullmatch(name):
                    raise NotTaken(400, f"invalid label set: invalid name {name!r}")
        labels = tuple(sorted((name, value) for name, value in alert["labels"].items() if value))
        if not labels:
            raise NotTaken(400, "at least one label pair required")
        if _at(alert["startsAt"]) > _at(alert["endsAt"]):
            raise NotTaken(400, "start time must be before end time")
        self.alerts[labels] = alert

    @property
    def open(self) -> list[dict[str, Any]]:
        return [alert for alert in self.alerts.values() if _at(alert["endsAt"]) > datetime.now(UTC)]


def _at(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except (TypeError, ValueError):
        raise NotTaken(400, f"{text!r} is no date-time") from None
