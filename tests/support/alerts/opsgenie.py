"""Opsgenie's Alert API v2, after its documentation: aliases, lengths, notes, close; all that is taken is 202."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.support.alerts.api import FakeApi, NotTaken, document_of, need_only, need_text

KEY = "eb243592-faa2-4ba2-a551-1afdf565c889"
LONGEST = {
    "message": 130, "alias": 512, "description": 15_000, "entity": 512, "source": 100, "user": 100, "note": 25_000,
}  # fmt: skip
CREATE = {*LONGEST, "responders", "visibleTo", "actions", "tags", "details", "priority"}


@dataclass
class OpsgenieApi(FakeApi):
    """Alerts by alias; one that is open is counted once more, not opened again."""

    open: dict[str, dict[str, Any]] = field(default_factory=dict)
    closed: list[dict[str, Any]] = field(default_factory=list)

    async def answer(self, request: web.Request, body: bytes) -> web.Response:
        if request.headers.get("authorization") != f"GenieKey {KEY}":
            raise NotTaken(401, "Could not authenticate")
        if request.method != "POST":
            raise NotTaken(405, "method not allowed")
        said = document_of(request, body)
        match request.path.removeprefix("/v2/alerts").strip("/").split("/"):
            case [""]:
                self._create(said)
            case [alias, "notes" | "close" as doing]:
                if request.query.get("identifierType") != "alias":
                    raise NotTaken(422, "identifierType is id, and there is no alert with this id")
                self._change(alias, doing, said)
            case _:
                raise NotTaken(404, f"no {request.path}")
        return web.json_response({"result": "Request will be processed", "took": 0.1, "requestId": "1"}, status=202)

    def _create(self, said: Any) -> None:
        need_only("alert", said, CREATE)
        need_text("message", said.get("message"), LONGEST["message"], least=1)
        for name in said.keys() & LONGEST.keys():
            need_text(name, said[name], LONGEST[name])
        if said.get("priority", "P3") not in ("P1", "P2", "P3", "P4", "P5"):
            raise NotTaken(422, "priority is none")
        if len(said.get("tags", [])) > 20:
            raise NotTaken(422, "there are more than 20 tags")
        for tag in said.get("tags", []):
            need_text("tags", tag, 50, least=1)
        if sum(len(name) + len(value) for name, value in said.get("details", {}).items()) > 8_000:
            raise NotTaken(422, "details have more than 8000 characters")
        known = self.open.setdefault(said["alias"], {**said, "count": 0, "notes": []})
        known["count"] += 1
        known["notes"].append(said.get("note", ""))

    def _change(self, alias: str, doing: str, said: Any) -> None:
        need_only(doing, said, {"note", "user", "source"})
        if doing == "notes":
            need_text("note", said.get("note"), LONGEST["note"], least=1)
        # Both are taken whether there is such an alert or not: they are carried out later.
        if (known := self.open.get(alias)) is not None:
            known["notes"].append(said.get("note", ""))
        if doing == "close" and alias in self.open:
            self.closed.append(self.open.pop(alias))
