"""The two requests to a webhook store, signed; docs/stores.md has what each answer means."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable

import aiohttp

from guardian.ports import FlagCommand, StoreCapabilities, StoreUnavailable
from streams.stores.http import Answer, StoreClient, place_of, unusable
from streams.stores.shares.flag import Change, Malformed, Seen
from streams.stores.webhook.wire import body_of, read_answer
from streams.web import checked_url
from streams.webhooks import key_of, message_id, signed_headers

_REFUSED = (
    "it does not accept the guardian's signature. Give both sides the same secret "
    "(webhook_store.secret_file, or GUARDIAN_WEBHOOK_STORE__SECRET), and see that their clocks agree"
)


class WebhookBackend:
    """
    One environment of the store at *url*.

    Raises:
        ValueError: no address, or no secret of Standard Webhooks; neither is shown.
    """

    name = "the webhook store"
    capabilities = StoreCapabilities(
        can_kill_variation=True,
        can_set_share=True,
        can_target_rings=True,
        needs_full_document=False,
        has_compare_and_set=True,
        requires_approval=False,
        typical_propagation_ms=1_000.0,
    )

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        url: str,
        secret: str,
        environment: str,
        timeout_s: float,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._environment, self._now = environment, now
        self._url = checked_url("webhook_store.url", url)
        self._key = key_of("webhook_store.secret", secret)
        self._where = f"the webhook store at {place_of(self._url)}"
        self._client = StoreClient(
            session, where=self._where, setting="webhook_store.url", refused=_REFUSED, timeout_s=timeout_s
        )

    async def read(self, flag_key: str) -> Seen:
        """See `streams.stores.shares.backend.Backend.read`."""
        answer = await self._ask("GET", flag_key, b"", "")
        if answer.status != 200:
            raise StoreUnavailable(f"{self._where} answers HTTP {answer.status} to a question for a flag; 200 would be right")
        try:
            return read_answer(answer.json(), answer.headers.get("etag"), self._environment, flag_key)
        except Malformed as error:
            raise unusable(self._where, error) from None

    async def write(self, seen: Seen, change: Change, command: FlagCommand) -> str:
        """See `streams.stores.shares.backend.Backend.write`."""
        answer = await self._ask("PUT", command.flag_key, body_of(change, command, seen.etag), seen.etag)
        return answer.headers.get("etag", "")

    async def _ask(self, method: str, flag_key: str, body: bytes, etag: str) -> Answer:
        digest = hashlib.sha256(body).hexdigest()
        named = message_id(method, self._environment, flag_key, etag, digest)
        signed = signed_headers(self._key, named, self._now(), body)
        return await self._client.ask(
            method,
            self._url.update_query(environment=self._environment, flag=flag_key),
            headers=signed | ({"if-match": etag} if body else {}),
            body=body,
            unknown=f"flag {flag_key!r} in environment {self._environment!r}",
        )
