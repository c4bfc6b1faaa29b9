"""One webhook for everything, signed as Standard Webhooks 1.0 asks: any receiver's library verifies it."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import ClassVar

import aiohttp

from streams.alerts.base import Report
from streams.alerts.http import post_json, reach
from streams.web import checked_url
from streams.webhooks import key_of, message_id, signed_headers


class Webhook:
    """
    Every notice as ``{"type", "timestamp", "data", "text", "kind", "level", ...}``; charts are left to be drawn there.

    Raises:
        ValueError: no address, or a secret that is not ``whsec_`` and 24 to 64 bytes in base64; not shown.
    """

    max_age_s: ClassVar[float] = math.inf

    def __init__(
        self, session: aiohttp.ClientSession, *, url: str, secret: str, now: Callable[[], float] = time.time
    ) -> None:
        self.name = "webhook"
        self._session = session
        self._url = checked_url("alerts.webhook.url", url)
        self._key = key_of("alerts.webhook.secret", secret)
        self._now = now

    def wants(self, notice: Report) -> bool:  # noqa: ARG002 - it is the channel for everything
        """Everything."""
        return True

    async def notify(self, notice: Report) -> None:
        """Post the notice; its ``webhook-id`` is the same for every repeat. See ``Channel.notify``."""
        body = payload(notice)
        headers = signed_headers(self._key, webhook_id(notice), self._now(), body)
        await post_json(self._session, self._url, body, headers)


    async def probe(self) -> str:
        """Connect; see ``Probed.probe``."""
        return await reach(self._url)


def payload(notice: Report) -> bytes:
    """
    Return the body: the notice's type, when it happened, its data as published on Kafka, its sentence.

    And what it is to its incident: ``kind``, ``level``, ``incident``, ``opened_at``, ``title``, ``body``, ``links``.
    """
    said = {
        "type": notice.type,
        "timestamp": notice.at,
        "data": notice.data.model_dump(mode="json"),
        "text": notice.text,
        "kind": notice.kind,
        "level": notice.level,
        "incident": notice.incident,
        "opened_at": notice.opened_at,
        "title": notice.title,
        "body": notice.body,
        "links": [asdict(link) for link in notice.links],
    }
    # Halves of characters, which are no UTF-8, become question marks: a body must be readable before all.
    return json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


def webhook_id(notice: Report) -> str:
    """Return an id that only this notice has."""
    return message_id(notice.notice_id)
