"""HTTP to a flag store: bounded in time and size, redirects not followed, left in peace where it asks; what answers mean."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import aiohttp
from yarl import URL

from guardian.ports import StoreError, StoreUnavailable, UnknownFlag
from streams.stores.shares.backend import NotTaken
from streams.stores.shares.flag import Malformed
from streams.web import retry_after_s

LARGEST_ANSWER = 256 * 1024
"""Bytes: a flag is a few hundred, what is kept beside it a few thousand."""
LONGEST_PEACE_S = 60.0
"""A store that asks to be left alone for longer than this is asked again all the same: kills wait."""
JSON = "application/json"
_SAID = 200


def open_session(*traces: aiohttp.TraceConfig) -> aiohttp.ClientSession:
    """A session for stores: as many calls at once as there are flags, no cookies, nothing unpacked; *traces* see each call."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trace_configs=list(traces),
    )


@dataclass(frozen=True, slots=True)
class Answer:
    """What a store answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def said(self) -> str:
        """The first 200 bytes of it, for people."""
        return self.body[:_SAID].decode(errors="replace").strip()

    def json(self) -> bytes:
        """
        The body.

        Raises:
            Malformed: it is another kind of content, or packed.
        """
        if (kind := self.headers.get("content-type", "").partition(";")[0].strip().lower()) != JSON:
            raise Malformed(f"Content-Type: {kind[:80]!r}: answer {JSON}")
        if packed := self.headers.get("content-encoding"):
            raise Malformed(f"Content-Encoding: {packed[:80]!r}: answer unpacked, as was asked")
        return self.body


Meaning = Callable[[Answer], StoreError | None]
"""What an answer that is no 2xx means to one store in particular; ``None`` where it means what it means to all."""
Peace = Callable[[Answer], float | None]
"""For how many seconds a store asks to be left alone; ``None`` where it does not."""


def retry_after(answer: Answer) -> float | None:
    """What ``Retry-After`` says."""
    return retry_after_s(answer.headers.get("retry-after"))


class StoreClient:
    """
    Requests to one store.

    *where* is what messages call it (``the webhook store at host:port``), *setting* the one that holds its address, and
    *refused* what helps where it answers 401 or 403. *peace* reads how long it asks to be left alone.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        where: str,
        setting: str,
        refused: str,
        timeout_s: float,
        peace: Peace = retry_after,
    ) -> None:
        self._session, self._where, self._setting, self._refused = session, where, setting, refused
        self._timeout, self._peace = aiohttp.ClientTimeout(total=timeout_s), peace
        self._peace_until_s, self._asked_for_peace = 0.0, ""

    async def ask(
        self,
        method: str,
        url: URL,
        *,
        unknown: str,
        headers: Mapping[str, str],
        body: bytes = b"",
        meaning: Meaning = lambda _: None,
    ) -> Answer:
        """
        Its answer, of a status that is 2xx; *unknown* says what it does not have where that is 404.

        Raises:
            NotTaken: a request with a body was answered 409 or 412.
            UnknownFlag: it answers 404.
            StoreUnavailable: it does not answer, or asks to be asked again; a change may have been made or not.
            StoreError: it refuses; the text says what would help.
        """
        if (left_s := self._peace_until_s - time.monotonic()) > 0.0:
            raise StoreUnavailable(f"{self._asked_for_peace}; it is asked again in {left_s:.1f} s")
        given = {"accept": JSON, "accept-encoding": "identity", **({"content-type": JSON} if body else {}), **headers}
        answer = await self._exchange(method, url, given, body)
        if 200 <= answer.status < 300:
            return answer
        raise meaning(answer) or self._error(answer, unknown, is_change=bool(body))

    async def _exchange(self, method: str, url: URL, headers: Mapping[str, str], body: bytes) -> Answer:
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
                return Answer(answer.status, answer.headers, bytes(said))
        except TimeoutError:
            raise StoreUnavailable(f"{self._where} does not answer within {self._timeout.total:g} s") from None
        except (aiohttp.ClientError, OSError, asyncio.IncompleteReadError) as error:
            # Only the kind: an error's own text may quote the address.
            raise StoreUnavailable(f"{self._where} cannot be reached ({type(error).__name__})") from None

    def _error(self, answer: Answer, unknown: str, *, is_change: bool) -> StoreError:
        """What an answer means that is no 2xx."""
        status, told = answer.status, f"{self._where} answers HTTP {answer.status}"
        if status == 404:
            return UnknownFlag(f"{told} for {unknown}: it does not have it, or {self._setting} leads elsewhere")
        if is_change and status in (409, 412):
            return NotTaken(f"{told}: the flag was changed meanwhile")
        if status in (408, 425, 429) or status >= 500:
            self._keep_peace(told, self._peace(answer))
            return StoreUnavailable(told)
        if status in (401, 403):
            return StoreError(f"{told}: {self._refused}")
        if 300 <= status < 400:
            return StoreError(f"{told}, a redirect, which is not followed: write the address it leads to into {self._setting}")
        return StoreError(f"{told}: {answer.said}" if answer.said else told)

    def _keep_peace(self, told: str, for_s: float | None) -> None:
        if for_s:
            self._peace_until_s = time.monotonic() + min(for_s, LONGEST_PEACE_S)
            self._asked_for_peace = f"{told}, and asked to be left alone for {for_s:g} s"


def place_of(url: URL) -> str:
    """Where a store is, as messages say it: the path may hold a secret."""
    return f"{url.host}:{url.port}"


def unusable(where: str, error: Malformed) -> StoreUnavailable:
    """What an answer that cannot be read is: it may be a proxy's, and be another one when asked again."""
    return StoreUnavailable(f"{where} gives an answer that cannot be used: {error}")
