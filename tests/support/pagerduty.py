"""
A local server that takes and refuses what PagerDuty's Events API v2 takes and refuses.

Written after PagerDuty's developer documentation ("Send an Alert Event", "Send a Change Event", "Events API v2
Overview"): two paths, required fields, lengths, severities, the 512 KB limit; 202 for what it takes, 400 with the reasons
for what it does not. Alerts open, collect further triggers and resolve by ``dedup_key``, as documented.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import uuid4

from aiohttp import web

BODY_MAX = 512 * 1024
LONGEST = {"summary": 1024, "dedup_key": 255}
SEVERITIES = ("critical", "error", "warning", "info")
ACTIONS = ("trigger", "acknowledge", "resolve")


@dataclass
class Fault:
    """What the next request gets instead of an answer of substance; status 0 drops the connection."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class EventsApi:
    """The server's side of it: what came, what was refused, what is open."""

    url: str = ""
    requests: int = 0
    accepted: list[dict[str, Any]] = field(default_factory=list)
    refused: list[list[str]] = field(default_factory=list)
    open: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    changes: list[dict[str, Any]] = field(default_factory=list)
    faults: deque[Fault] = field(default_factory=deque)
    delay_s: float = 0.0

    def fail(self, *statuses: int, **headers: str) -> None:
        """Answer the next requests with these statuses (0: no answer), whatever they say."""
        self.faults.extend(Fault(status, {k.replace("_", "-"): v for k, v in headers.items()}) for status in statuses)

    async def handle(self, request: web.Request) -> web.Response:
        self.requests += 1
        if request.path not in ("/v2/enqueue", "/v2/change/enqueue"):
            return web.json_response({"error": "not found"}, status=404)
        if request.method != "POST":
            return web.json_response({"error": "method not allowed"}, status=405)
        if self.faults:
            fault = self.faults.popleft()
            if not fault.status:
                assert request.transport is not None
                request.transport.abort()
            return web.json_response({"status": "throttled"}, status=fault.status or 500, headers=fault.headers)
        body = await request.read()
        await asyncio.sleep(self.delay_s)
        if len(body) > BODY_MAX:
            return self._refuse(["payload is larger than 512 KB"], status=413)
        try:
            event = json.loads(body)
        except ValueError:
            return self._refuse(["JSON is not valid"])
        is_change = "/change/" in request.path
        if errors := change_problems(event) if is_change else problems(event):
            return self._refuse(errors)
        if is_change:
            self.changes.append(event)
            return web.json_response({"status": "success", "message": "Change event processed"}, status=202)
        return web.json_response(self._take(event), status=202)

    def _refuse(self, errors: list[str], status: int = 400) -> web.Response:
        self.refused.append(errors)
        answer = {"status": "invalid event", "message": "Event object is invalid", "errors": errors}
        return web.json_response(answer, status=status)

    def _take(self, event: dict[str, Any]) -> dict[str, str]:
        self.accepted.append(event)
        key = event.setdefault("dedup_key", uuid4().hex)
        if event["event_action"] == "trigger":
            self.open.setdefault(key, []).append(event)
        elif event["event_action"] == "resolve":
            self.open.pop(key, None)
        return {"status": "success", "message": "Event processed", "dedup_key": key}


def problems(event: Any) -> list[str]:
    """Everything that the documentation says is wrong with an event; nothing if it may be sent."""
    if not isinstance(event, dict):
        return ["event is not an object"]
    found = []
    if not isinstance(event.get("routing_key"), str) or len(event["routing_key"]) != 32:
        found.append("routing_key is not a 32 character integration key")
    if event.get("event_action") not in ACTIONS:
        found.append(f"event_action is not one of {', '.join(ACTIONS)}")
    dedup_key = event.get("dedup_key")
    if dedup_key is not None and (not isinstance(dedup_key, str) or not 0 < len(dedup_key) <= LONGEST["dedup_key"]):
        found.append("dedup_key is not a text of 1 to 255 characters")
    if event.get("event_action") in ("acknowledge", "resolve") and dedup_key is None:
        found.append("dedup_key is missing or blank")
    if event.get("event_action") == "trigger":
        found += payload_problems(event.get("payload"))
    found += [f"links[{i}].href is missing" for i, one in enumerate(event.get("links", ())) if not one.get("href")]
    return found


def change_problems(event: Any) -> list[str]:
    """The same of a change event, which has no key to deduplicate by and no severity."""
    if not isinstance(event, dict) or not isinstance(event.get("payload"), dict):
        return ["payload is missing or blank"]
    found = problems({**event, "event_action": "resolve", "dedup_key": "-"})
    found += [f"{name} is not a field of change events" for name in sorted(event.keys() - {"routing_key", "payload", "links"})]
    found += payload_problems({"severity": "info", **event["payload"]})
    return found


def payload_problems(payload: Any) -> list[str]:
    if not isinstance(payload, dict):
        return ["payload is missing or blank"]
    found = [
        f"payload.{name} is missing or blank"
        for name in ("summary", "source", "severity")
        if not isinstance(payload.get(name), str) or not payload[name]
    ]
    if len(str(payload.get("summary", ""))) > LONGEST["summary"]:
        found.append("payload.summary is longer than 1024 characters")
    if payload.get("severity") not in SEVERITIES:
        found.append(f"payload.severity is not one of {', '.join(SEVERITIES)}")
    optional = ("component", "group", "class")
    found += [f"payload.{name} is not a text" for name in optional if not isinstance(payload.get(name, ""), str)]
    if not isinstance(payload.get("custom_details", {}), dict):
        found.append("payload.custom_details is not an object")
    try:
        datetime.fromisoformat(payload.get("timestamp", "2026-01-01T00:00:00Z"))
    except (TypeError, ValueError):
        found.append("payload.timestamp is not ISO 8601")
    return found


@asynccontextmanager
async def events_api() -> AsyncIterator[EventsApi]:
    """Run the server on a free local port; ``url`` is the address to send to."""
    api = EventsApi()
    app = web.Application(client_max_size=4 * BODY_MAX)
    app.router.add_route("*", "/{path:.*}", api.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        api.url = f"http://127.0.0.1:{port}/v2/enqueue"
        yield api
    finally:
        await runner.cleanup()
