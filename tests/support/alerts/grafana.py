"""Grafana's HTTP API for annotations, after its documentation: found by tags, made, changed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.support.alerts.api import FakeApi, NotTaken, document_of, need_only, need_text

TOKEN = "glsa_s3cr3t_0123456789"
FIELDS = {"dashboardUID", "panelId", "time", "timeEnd", "tags", "text"}


@dataclass
class GrafanaApi(FakeApi):
    """Annotations by their id."""

    annotations: dict[int, dict[str, Any]] = field(default_factory=dict)

    async def answer(self, request: web.Request, body: bytes) -> web.Response:
        if (request.method, request.path) == ("GET", "/grafana/api/health"):
            return web.json_response({"database": "ok", "version": "11.0.0"})
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            raise NotTaken(401, "Invalid API key")
        place = request.path.removeprefix("/grafana/api/annotations")
        if place == request.path:
            raise NotTaken(404, "Not found")
        match request.method, place.strip("/"):
            case "GET", "":
                tags = set(request.query.getall("tags", []))
                found = [one for one in self.annotations.values() if tags <= set(one["tags"])]
                return web.json_response(found[: int(request.query.get("limit", "100"))])
            case "POST", "":
                said = _checked(document_of(request, body))
                need_text("text", said.get("text"), 1_000_000, least=1)
                number = len(self.annotations) + 1
                # One that is given no end is a moment, which Grafana stores as a region of no length.
                self.annotations[number] = {"id": number, "timeEnd": said["time"], **said}
                return web.json_response({"message": "Annotation added", "id": number})
            case "PATCH", number if number.isdecimal():
                if int(number) not in self.annotations:
                    raise NotTaken(404, "Annotation not found")
                self.annotations[int(number)] |= _checked(document_of(request, body))
                return web.json_response({"message": "Annotation patched"})
        raise NotTaken(405, "method not allowed")


def _checked(said: Any) -> dict[str, Any]:
    need_only("annotation", said, FIELDS)
    for name in said.keys() & {"time", "timeEnd"}:
        if not isinstance(said[name], int) or said[name] < 10**12:
            raise NotTaken(400, f"{name} is no number of milliseconds")
    for tag in said.get("tags", []):
        need_text("tags", tag, 100, least=1)
    return dict(said)
