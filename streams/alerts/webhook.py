"""One webhook for everything, signed as Standard Webhooks 1.0 asks: any receiver's library verifies it."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import math
import time
from collections.abc import Callable
from typing import ClassVar

import aiohttp

from streams.alerts.base import Report
from streams.alerts.http import checked_url, post_json

_PREFIX = "whsec_"


class Webhook:
    """
    Every decision and receipt as ``{"type", "timestamp", "data", "text"}``.

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
        self._key = _key(secret)
        self._now = now

    def wants(self, notice: Report) -> bool:  # noqa: ARG002 - it is the channel for everything
        """Everything."""
        return True

    async def notify(self, notice: Report) -> None:
        """Post the notice; its ``webhook-id`` is the same for every repeat. See ``Channel.notify``."""
        body = payload(notice)
        # Signed with the time of the attempt: receivers refuse what is minutes old.
        sent_at = str(int(self._now()))
        named = webhook_id(notice)
        headers = {
            "webhook-id": named,
            "webhook-timestamp": sent_at,
            "webhook-signature": signature(self._key, named, sent_at, body),
        }
        await post_json(self._session, self._url, body, headers)


def payload(notice: Report) -> bytes:
    """Return the body: the notice's type, when it happened, its data as published on Kafka, its sentence."""
    said = {
        "type": notice.type,
        "timestamp": notice.at,
        "data": notice.data.model_dump(mode="json"),
        "text": notice.text,
    }
    return json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode()


def webhook_id(notice: Report) -> str:
    """Return an id that only this notice has; hashed, as the names in it may not be fit for a header."""
    return f"msg_{hashlib.sha256(notice.notice_id.encode()).hexdigest()[:32]}"


def signature(key: bytes, named: str, sent_at: str, body: bytes) -> str:
    """Return ``v1,`` and the HMAC-SHA256 of ``id.timestamp.body`` (Standard Webhooks 1.0)."""
    signed = b".".join((named.encode(), sent_at.encode(), body))
    return f"v1,{base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()}"


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(_PREFIX) or not 24 <= len(key) <= 64:
        raise ValueError(f"alerts.webhook.secret: write {_PREFIX} and 24 to 64 random bytes in base64")
    return key
