"""One request, and what its answer means: delivered, again later, or never."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp
from yarl import URL

from streams.alerts.base import Refused, Unreachable
from streams.web import retry_after_s

ATTEMPT = aiohttp.ClientTimeout(total=10.0, connect=5.0)
"""What one attempt may take; a retry is worth more than patience."""
_SHOWN = 300
_READ = 64 * 1024
"""More than is shown, so that a secret is whole when it is looked for; and more than any answer that is used."""


async def post_json(
    session: aiohttp.ClientSession,
    url: URL,
    body: bytes,
    headers: Mapping[str, str],
    *,
    quoted: Callable[[str], str] | None = None,
) -> None:
    """
    Send *body* once. A refusal says what the other side answered only as *quoted* leaves it.

    Raises:
        Unreachable: no answer in time, 408, 429 or a 5xx.
        Refused: any other answer that is no 2xx.
    """
    await exchange(session, "POST", url, body, headers, quoted=quoted)


async def exchange(
    session: aiohttp.ClientSession,
    method: str,
    url: URL,
    body: bytes | None,
    headers: Mapping[str, str],
    *,
    quoted: Callable[[str], str] | None = None,
    cures: Mapping[int, str] | None = None,
) -> bytes:
    """
    Send one request and return what was answered; *cures* says by status what people can do about a refusal.

    Redirects are not followed: a notice goes where the settings say, or it is not delivered.

    Raises:
        Unreachable: no answer in time, 408, 429 or a 5xx.
        Refused: any other answer that is no 2xx.
    """
    headers = {"content-type": "application/json", **headers}
    try:
        async with session.request(
            method, url, data=body, headers=headers, allow_redirects=False, timeout=ATTEMPT
        ) as answer:
            said, status, retry_after = await _read(answer), answer.status, answer.headers.get("retry-after")
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        # Only the kind and the host: an error's own text may quote the address.
        raise Unreachable(f"{type(error).__name__} at {url.host}") from None
    if 200 <= status < 300:
        return said
    if status in (408, 429) or status >= 500:
        raise Unreachable(f"HTTP {status} from {url.host}", retry_after_s(retry_after))
    text = quoted(said.decode(errors="replace"))[:_SHOWN] if quoted else ""
    raise Refused("".join((f"HTTP {status} from {url.host}", f": {text}" if text else "", _cure(status, cures))))


async def reach(url: URL) -> str:
    """
    Open a connection to where *url* leads, encrypted as it says, and ask for nothing; return what was done, for people.

    Raises:
        Unreachable: nobody answers there.
        Refused: the name or the certificate is wrong.
    """
    host, port = url.host or "", url.port or 0
    tls = ssl.create_default_context() if url.scheme == "https" else None
    try:
        async with asyncio.timeout(ATTEMPT.connect):
            _, writer = await asyncio.open_connection(host, port, ssl=tls)
    except ssl.SSLCertVerificationError as error:
        raise Refused(f"{host}:{port}: its certificate is not one to be trusted: {error.verify_message}") from None
    except socket.gaierror:
        raise Refused(f"{host}: no such name; see the address, and the name service of this machine") from None
    except (OSError, TimeoutError) as error:
        raise Unreachable(f"{host}:{port} does not answer ({type(error).__name__})") from None
    writer.close()
    return f"{host}:{port} takes connections{', encrypted' if tls else ''}; nothing was sent"


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    said = b""
    async for part in answer.content.iter_any():
        said += part
        if len(said) > _READ:
            break
    return said[:_READ]


def _cure(status: int, cures: Mapping[int, str] | None) -> str:
    cure = (cures or {}).get(status, "")
    return f"; {cure}" if cure else ""


def encoded(document: Any) -> bytes:
    """Return it as JSON in plain ASCII, which holds even what is no valid text."""
    return json.dumps(document, separators=(",", ":")).encode()


def decoded(said: bytes, url: URL) -> Any:
    """
    Return the JSON that was answered.

    Raises:
        Refused: it is none, so that something else answers at this address.
    """
    try:
        return json.loads(said)
    except ValueError:
        raise Refused(f"{url.host} answers, but not with JSON; see whether the address is the right one") from None
