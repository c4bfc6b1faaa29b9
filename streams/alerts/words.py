"""What is said, made fit to be said: cleaned, cut to what the other side takes, and known by one name."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable

from streams.alerts.base import Report

# All but tab and newline; and the marks that make a text read otherwise than it stands (CVE-2021-42574).
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_PLAIN = re.compile(r"[A-Za-z0-9._:-]+")
_HASHED = 32


def clean(text: str) -> str:
    """Return the text without control characters, marks that turn its direction, and halves of characters."""
    whole = text.replace("\r\n", "\n").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return _UNSEEN.sub(" ", whole)


def one_line(text: str) -> str:
    """Return it clean, and with single spaces for whatever white space it has."""
    return " ".join(clean(text).split())


def cut(text: str, longest: int, escape: Callable[[str], str] = str) -> str:
    """
    Return the text as *escape* writes it, which it does a character at a time, in at most *longest* units of UTF-16.

    That is what most APIs count, and never less than characters. What is cut ends in an ellipsis.
    """
    written: list[str] = []
    used = last = 0
    for character in text:
        escaped = escape(character)
        used += sum(1 + (ord(one) > 0xFFFF) for one in escaped)
        if used > longest:
            return "".join(written[:last]) + "…"
        written.append(escaped)
        if used < longest:
            last = len(written)
    return "".join(written)


def shortened(key: str, longest: int, *, plain: bool = False) -> str:
    """
    Return the key, or where it is too long a part of it that ends in a hash of it all.

    A *plain* one has nothing in it but letters, digits, dots, dashes, underscores and colons, or is hashed whole.
    """
    digest = hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()[:_HASHED]
    if plain and not _PLAIN.fullmatch(key):
        return f"guardian:{digest}"
    return key if len(key) <= longest else f"{key[: longest - _HASHED - 1]}:{digest}"


def incident_key(notice: Report) -> str:
    """Return ``guardian:environment:flag:variation``, the same for all that is said of one variation."""
    return f"guardian:{notice.environment}:{notice.flag_key}:{notice.variation}"


def story_of(notice: Report) -> str:
    """Return what is the same for all notices of one incident and of no other, before or after; empty without one."""
    return f"{notice.incident}@{notice.opened_at}" if notice.incident and notice.opened_at else ""


def heading(notice: Report) -> str:
    """Return its title in one line; that of its sentence where it has none."""
    return one_line(notice.title or notice.text) or "Rollout Guardian"


def link(notice: Report, text: str = "") -> str:
    """Return where the link of this text leads, or the first; empty where there is none."""
    return next((one.href for one in notice.links if text in ("", one.text)), "")


def hidden(*secrets: str) -> Callable[[str], str]:
    """Return what takes these secrets out of a text, as they are and in base64, and leaves one line of it."""
    encoded = [base64.b64encode(secret.encode()).decode().rstrip("=") for secret in secrets if secret]
    hiding = sorted({secret for secret in (*secrets, *encoded) if secret}, key=len, reverse=True)

    def without(text: str) -> str:
        for secret in hiding:
            text = text.replace(secret, "…")
        return one_line(text)

    return without
