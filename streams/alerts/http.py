"""One POST of JSON, and what its answer means: delivered, again later, or never."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import aiohttp
from yarl import URL

from streams.alerts.base import Refused, Unreachable

ATTEMPT = aiohttp.ClientTimeout(total=10.0, connect=5.0)
"""What one attempt may take; a retry is worth more than patience."""
_SHOWN = 300


def checked_url(name: str, url: str) -> URL:
    """
    Return the address; *name* is the setting that it came from.

    Raises:
        ValueError: no http or https address. The address itself is not shown, as it may hold a secret.
    """
    try:
        address = URL(url)
    except ValueError:
        address = URL()
    if address.scheme not in ("http", "https") or not address.host:
        raise ValueError(f"{name}: is no address; write one such as https://alerts.example.com/hook")
    return address


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
        raise Unreachable(f"HTTP {status} from {url.host}", _seconds(retry_after))
    raise Refused(f"HTTP {status} from {url.host}" + (f": {quoted(text)}" if quoted and text else ""))


def _seconds(retry_after: str | None) -> float | None:
    """``Retry-After`` as seconds from now, whether given as such or as a date (RFC 9110, 10.2.3)."""
    if retry_after is None:
        return None
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        when = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    return max((when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds(), 0.0)
