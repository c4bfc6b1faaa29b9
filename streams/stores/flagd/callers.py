"""Who may ask over HTTP: bearers of a token, and pages of web sites that were named."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping

ANY_ORIGIN = "*"
_ALLOWED = {
    "Access-Control-Allow-Methods": "POST, OPTIONS",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, If-None-Match, X-API-Key",
    "Access-Control-Max-Age": "600",
}
_SEEN = {"Access-Control-Expose-Headers": "ETag, Retry-After"}


class Callers:
    """
    Those with one of *tokens* (without any: everybody), and in browsers pages from *origins* (``*``: all) alone.

    A token is a bearer's (``Authorization: Bearer``) or in ``X-API-Key``: the protocol has both.
    """

    def __init__(self, *, origins: Iterable[str] = (), tokens: Iterable[str] = ()) -> None:
        self._origins = frozenset(origins)
        self._tokens = tuple(token.encode() for token in tokens)

    def admits(self, headers: Mapping[str, str]) -> bool:
        """Whether a request with these headers shows a token, if it has to."""
        if not self._tokens:
            return True
        scheme, _, bearer = headers.get("Authorization", "").partition(" ")
        given = bearer.strip() if scheme.lower() == "bearer" else headers.get("X-API-Key", "")
        shown = given.encode("utf-8", "surrogateescape")
        # Each is compared, so that the time tells nothing of which it was.
        return sum(hmac.compare_digest(shown, token) for token in self._tokens) > 0

    def headers(self, headers: Mapping[str, str], *, preflight: bool = False) -> dict[str, str]:
        """What the answer tells the browser, if one asks for a page."""
        if not self._origins:
            return {}
        origin = headers.get("Origin")
        if origin is None or not self._origins & {origin, ANY_ORIGIN}:
            return {"Vary": "Origin"}
        allowed = ANY_ORIGIN if ANY_ORIGIN in self._origins else origin
        return {"Access-Control-Allow-Origin": allowed, "Vary": "Origin", **(_ALLOWED if preflight else _SEEN)}
