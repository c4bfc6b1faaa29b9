"""Two that take JSON from anybody: a receiver of Standard Webhooks, and one of Apprise's own ``json://``."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from standardwebhooks import Webhook, WebhookVerificationError

from tests.support.alerts.api import FakeApi, NotTaken, document_of

SECRET = "whsec_bm90IGEgc2VjcmV0OiBvbmx5IHRlc3RzIHVzZSBpdA=="
PATH = "/hooks/s3cr3t-path"


@dataclass
class WebhookApi(FakeApi):
    """Calls by their ``webhook-id``."""

    calls: dict[str, dict[str, Any]] = field(default_factory=dict)

    async def answer(self, request: web.Request, body: bytes) -> web.Response:
        if (request.method, request.path) != ("POST", PATH):
            raise NotTaken(404, "not found")
        document_of(request, body)
        headers = {name.lower(): value for name, value in request.headers.items()}
        try:
            said = Webhook(SECRET).verify(body, headers)
        except WebhookVerificationError:
            raise NotTaken(401, "the signature is wrong") from None
        self.calls[headers["webhook-id"]] = said
        return web.Response(status=204)


@dataclass
class AppriseApi(FakeApi):
    """What ``json://user:password@host`` posts."""

    calls: list[dict[str, Any]] = field(default_factory=list)

    async def answer(self, request: web.Request, body: bytes) -> web.Response:
        if "authorization" not in request.headers:
            raise NotTaken(401, "who are you?")
        self.calls.append(json.loads(body))
        return web.Response(status=200)
