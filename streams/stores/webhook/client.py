"""The two requests to a webhook store, signed; and what each answer means: docs/stores.md has the table."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from typing import Any

import aiohttp
from yarl import URL

from guardian.ports import FlagCommand, StoreCapabilities, StoreError, StoreUnavailable, UnknownFlag
from streams.stores.shares.backend import NotTaken
from streams.stores.shares.flag import Change, Malformed, Seen
from streams.stores.webhook.wire import body_of, read_answer
from streams.web import checked_url, retry_after_s
from streams.webhooks import key_of, message_id, signed_headers

LARGEST_ANSWER = 256 * 1024
"""Bytes: a flag is a few hundred, what is kept beside it a few thousand."""
LONGEST_PEACE_S = 60.0
"""A store that asks to be left alone for longer than this is asked again all the same: kills wait."""
_SAID = 200
_JSON = "application/json"


def open_session() -> aiohttp.ClientSession:
    """A session for stores: as many calls at once as there are flags, no cookies, nothing unpacked."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
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
        self._session, self._environment, self._now = session, environment, now
        self._url = checked_url("webhook_store.url", url)
        self._key = key_of("webhook_store.secret", secret)
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._where = f"the webhook store at {self._url.host}:{self._url.port}"
        self._peace_until_s, self._asked_for_peace = 0.0, ""

    async def read(self, flag_key: str) -> Seen:
        """See `streams.stores.shares.backend.Backend.read`."""
        status, headers, body = await self._ask("GET", flag_key, b"", "")
        if status != 200:
            raise StoreUnavailable(f"{self._where} answers HTTP {status} to a question for a flag; 200 would be right")
        try:
            if (kind := headers.get("content-type", "").partition(";")[0].strip().lower()) != _JSON:
                raise Malformed(f"Content-Type: {kind[:80]!r}: answer {_JSON}")
            if packed := headers.get("content-encoding"):
                raise Malformed(f"Content-Encoding: {packed[:80]!r}: answer unpacked, as was asked")
            return read_answer(body, headers.get("etag"), self._environment, flag_key)
        except Malformed as error:
            raise StoreUnavailable(f"{self._where} gives an answer that cannot be used: {error}") from None

    async def write(self, seen: Seen, change: Change, command: FlagCommand) -> str:
        """See `streams.stores.shares.backend.Backend.write`."""
        _, headers, _ = await self._ask("PUT", command.flag_key, body_of(change, command, seen.etag), seen.etag)
        return str(headers.get("etag", ""))

    async def _ask(self, method: str, flag_key: str, body: bytes, etag: str) -> tuple[int, Any, bytes]:
        if (left_s := self._peace_until_s - time.monotonic()) > 0.0:
            raise StoreUnavailable(f"{self._asked_for_peace}; it is asked again in {left_s:.1f} s")
        digest = hashlib.sha256(body).hexdigest()
        named = message_id(method, self._environment, flag_key, etag, digest)
        headers = {"accept": _JSON, "accept-encoding": "identity", **signed_headers(self._key, named, self._now(), body)}
        if body:
            headers |= {"content-type": _JSON, "if-match": etag}
        status, answered, said = await self._exchange(method, self._address(flag_key), headers, body)
        if not 200 <= status < 300:
            raise self._error(status, answered, said, flag_key, is_change=bool(body))
        return status, answered, said

    def _address(self, flag_key: str) -> URL:
        return self._url.update_query(environment=self._environment, flag=flag_key)

    async def _exchange(self, method: str, url: URL, headers: dict[str, str], body: bytes) -> tuple[int, Any, bytes]:
        try:
            async with self._session.request(
                method, url, data=body or None, headers=headers, allow_redirects=False, timeout=self._timeout
            ) as answer:
                # One byte more than allowed is enough to know that it is too long.
                said = bytearray()
                async for piece in answer.content.iter_chunked(16 * 1024):
                    said += piece
                    if len(said) > LARGEST_ANSWER:
                        raise StoreUnavailable(f"{self._where} gives an answer of more than {LARGEST_ANSWER // 1024} KiB")
                return answer.status, answer.headers, bytes(said)
        except TimeoutError:
            raise StoreUnavailable(f"{self._where} does not answer within {self._timeout.total:g} s") from None
        except (aiohttp.ClientError, OSError, asyncio.IncompleteReadError) as error:
            # Only the kind: an error's own text may quote the address.
            raise StoreUnavailable(f"{self._where} cannot be reached ({type(error).__name__})") from None

    def _error(self, status: int, headers: Any, said: bytes, flag_key: str, *, is_change: bool) -> StoreError:
        """What an answer means that is no 2xx."""
        told = f"{self._where} answers HTTP {status}"
        if status == 404:
            where = f"flag {flag_key!r} in environment {self._environment!r}"
            return UnknownFlag(f"{told} for {where}: it does not have it, or webhook_store.url leads elsewhere")
        if is_change and status in (409, 412):
            return NotTaken(f"{told}: the flag was changed meanwhile")
        if status in (408, 425, 429) or status >= 500:
            self._keep_peace(told, retry_after_s(headers.get("retry-after")))
            return StoreUnavailable(told)
        if status in (401, 403):
            return StoreError(
                f"{told}: it does not accept the guardian's signature. Give both sides the same secret "
                "(webhook_store.secret_file, or GUARDIAN_WEBHOOK_STORE__SECRET), and see that their clocks agree"
            )
        if 300 <= status < 400:
            return StoreError(f"{told}, a redirect, which is not followed: write the address it leads to into webhook_store.url")
        shown = said[:_SAID].decode(errors="replace").strip()
        return StoreError(f"{told}: {shown}" if shown else told)

    def _keep_peace(self, told: str, for_s: float | None) -> None:
        if for_s:
            self._peace_until_s = time.monotonic() + min(for_s, LONGEST_PEACE_S)
            self._asked_for_peace = f"{told}, and asked to be left alone for {for_s:g} s"
