"""What the APIs of vendors have in common: an address for each flag, a token for all, and limits on how much is asked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Annotated
from urllib.parse import quote

from pydantic import AfterValidator, Field, SecretStr
from yarl import URL

from guardian.errors import wrong
from guardian.ports import UnknownFlag
from streams.fields import Text, as_asked
from streams.stores.http import Answer, Peace, retry_after
from streams.web import checked_url

STOPS = frozenset({"kill", "kill_flag", "step_back"})
"""Commands that take traffic away: a store that would rather have somebody look first is not asked."""

Address = Annotated[Text, AfterValidator(lambda value: as_asked(value, checked_url))]
"""Where a vendor's API begins."""
OneRequest = Annotated[float, Field(ge=0.05, le=4.0)]
"""Seconds that one request may take; a change takes several, and 4.5 s in all."""


def address(base: str, *parts: str) -> URL:
    """
    The address of what *parts* name beneath *base*, whatever signs they hold.

    Raises:
        UnknownFlag: a part that addresses cannot hold, so that no store has a flag of that name.
    """
    if unfit := [part for part in parts if part in ("", ".", "..")]:
        raise UnknownFlag(f"{unfit[0]!r}: no flag of the store can have this name")
    return URL("/".join([base.rstrip("/"), *(quote(part, safe="") for part in parts)]), encoded=True)


def checked_token(*wrong_kinds: tuple[str, str], schemes: Iterable[str] = ("Bearer",)) -> Callable[[SecretStr], SecretStr]:
    """
    A check of a token, which never shows it.

    What stands in front of it in a request does not belong to it; *wrong_kinds* are known by how they begin, each with what
    it is and what helps.
    """

    def checked(given: SecretStr) -> SecretStr:
        value = given.get_secret_value()
        for scheme in schemes:
            if value.lower().startswith(f"{scheme.lower()} "):
                raise wrong(f"begins with {scheme}: write the token alone")
        if not value or any(not "!" <= sign <= "~" for sign in value):
            raise wrong("is no token: one line of letters, digits and signs, without spaces")
        for start, kind in wrong_kinds:
            if value.startswith(start):
                raise wrong(f"begins with {start}: {kind}")
        return given

    return checked


def peace_until_ms(header: str) -> Peace:
    """How many seconds a store asks to be left alone: ``Retry-After``, or where a 429 has none, until *header*'s epoch ms."""

    def asked(answer: Answer) -> float | None:
        after_s = retry_after(answer)
        until = answer.headers.get(header, "").strip()
        if after_s is not None or answer.status != 429 or not until.isdecimal():
            return after_s
        return round(max(int(until) / 1000 - time.time(), 0.0), 1)

    return asked


def peace_in_s(*headers: str) -> Peace:
    """The same, where *headers* hold seconds, of which the longest counts."""

    def asked(answer: Answer) -> float | None:
        given = [answer.headers.get(header, "").strip() for header in headers]
        told = [float(one) for one in given if one.isdecimal()]
        return retry_after(answer) or (max(told, default=None) if answer.status == 429 else None)

    return asked
