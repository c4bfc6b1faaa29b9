"""Requests signed as Standard Webhooks 1.0 asks: any receiver's library verifies them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

_PREFIX = "whsec_"


def key_of(name: str, secret: str) -> bytes:
    """
    Return the key that a secret holds; *name* is the setting that it came from.

    Raises:
        ValueError: it is not ``whsec_`` and 24 to 64 bytes in base64. The secret is not shown.
    """
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(_PREFIX) or not 24 <= len(key) <= 64:
        raise ValueError(f"{name}: write {_PREFIX} and 24 to 64 random bytes in base64")
    return key


def signed_headers(key: bytes, named: str, now_s: float, body: bytes) -> dict[str, str]:
    """
    Return the three headers of a request: its id, when this attempt was made, the signature.

    *now_s* is seconds since the epoch; receivers refuse what is minutes old, so a repeat is signed anew.
    """
    sent_at = str(int(now_s))
    signed = signature(key, named, sent_at, body)
    return {"webhook-id": named, "webhook-timestamp": sent_at, "webhook-signature": signed}


def signature(key: bytes, named: str, sent_at: str, body: bytes) -> str:
    """Return ``v1,`` and the HMAC-SHA256 of ``id.timestamp.body`` (Standard Webhooks 1.0)."""
    signed = b".".join((named.encode(), sent_at.encode(), body))
    return f"v1,{base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()}"


def message_id(*parts: str) -> str:
    """Return an id that only these parts have; hashed, as what is in them may not be fit for a header."""
    return f"msg_{hashlib.sha256(chr(10).join(parts).encode()).hexdigest()[:32]}"
