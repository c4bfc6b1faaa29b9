"""One POST of JSON, and what its answer means: delivered, again later, or never."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import aiohttp
from yarl import URL

from streams.alerts.base import Refused, Unreachable
from streams.web import retry_after_s

ATTEMPT = aiohttp.ClientTimeout(total=10.0, connect=5.0)
"""What one attempt may take; a retry is worth more than patience."""
_SHOWN = 300


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

    Redirects are not followed: a notice goes where the settings say, or it is not delivered.

    Raises:
        Unreachable: no answer in time, 408, 429 or a 5xx.
        Refused: any other answer that is no 2xx.
    """
    headers = {"content-type": "application/json", **headers}
    try:
        async with session.post(url, data=body, headers=headers, allow_redirects=False, timeout=ATTEMPT) as answer:
            text = (await answer.content.read(_SHOWN)).decode(errors="replace")
            status, retry_after = answer.status, answer.headers.get("retry-after")
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        # Only the kind and the host: an error's own text may quote the address.
        raise Unreachable(f"{type(error).__name__} at {url.host}") from None
    if 200 <= status < 300:
        return
    if status in (408, 429) or status >= 500:
        raise Unreachable(f"HTTP {status} from {url.host}", retry_after_s(retry_after))
    raise Refused(f"HTTP {status} from {url.host}" + (f": {quoted(text)}" if quoted and text else ""))
