"""What talking HTTP to other people's servers takes: an address that is one, and how long they ask to be left in peace."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from yarl import URL


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


def retry_after_s(given: str | None) -> float | None:
    """``Retry-After`` as seconds from now, whether given as such or as a date (RFC 9110, 10.2.3); ``None`` for neither."""
    if given is None:
        return None
    if given.strip().isdecimal():
        return float(given)
    try:
        when = parsedate_to_datetime(given)
    except ValueError:
        return None
    return max((when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds(), 0.0)
