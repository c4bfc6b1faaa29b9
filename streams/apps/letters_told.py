"""``guardian dead-letters``: what could not be read, and why; and sending it again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from typing import Any, TextIO, TypeVar

from aiokafka.errors import KafkaError

from guardian.numerals import among, count
from streams.apps.client import DONE, NotReached, Wrong
from streams.apps.letters import Asked, Found, Letters, NoLetter, Place, refusal, resubmit, unreachable
from streams.outlet import NotDelivered, Outlet, open_outlet
from streams.settings import Settings
from streams.status import Status

Answered = TypeVar("Answered")
REASONS_SHOWN = 10
RESUBMITTED_MAX = 10_000
"""So many are sent again at a time."""


def list_letters(settings: Settings, asked: Asked, most: int, out: TextIO, *, as_json: bool) -> int:
    """Print the newest letters, the oldest of them first, and how often each reason is given; return the exit code."""
    survey = _asked(settings, Letters(settings).survey(asked, most))
    if as_json:
        out.write(json.dumps([record(one) for one in survey.newest], indent=1, ensure_ascii=False) + "\n")
        return DONE
    for one in survey.newest:
        where = one.letter.origin
        out.write(_plain(f"{one.place}  {one.at}  {where.topic}/{where.partition}/{where.offset}  {one.letter.reason}") + "\n")
    total = survey.reasons.total()
    out.write(f"{among(total, 'dead letter')}{f', the newest {count(most)} shown' if total > most else ''}\n")
    out.writelines(_plain(f"{count(number)}  {reason}") + "\n" for reason, number in survey.reasons.most_common(REASONS_SHOWN))
    return DONE


def show_letter(settings: Settings, place: str, out: TextIO, *, as_json: bool) -> int:
    """Print one letter whole; return the exit code."""
    (one,) = _asked(settings, Letters(settings).at([_place(place)]))
    found = record(one)
    if as_json:
        out.write(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
        return DONE
    value = found.pop("value")
    out.writelines(_plain(f"{name}: {told}") + "\n" for name, told in found.items() if told not in ("", {}, False))
    out.write(f"\n{value}\n")
    return DONE


def resubmit_letters(
    settings: Settings, places: Iterable[str], asked: Asked | None, out: TextIO, *, agreed: Callable[[str], bool]
) -> int:
    """
    Send letters to where they came from, as they were: those at these places, or all that are asked for.

    ``agreed`` is asked before anything is sent.

    Raises:
        Wrong: one of them cannot be sent again, or there are more than are sent at a time; nothing was sent.
        NotReached: Kafka does not answer.
    """
    letters = Letters(settings)
    if asked is None:
        found = _asked(settings, letters.at([_place(place) for place in places]))
    else:
        survey = _asked(settings, letters.survey(asked, RESUBMITTED_MAX, whole=False))
        if (total := survey.reasons.total()) > RESUBMITTED_MAX:
            raise Wrong(f"{count(total)} dead letters are meant, at most {count(RESUBMITTED_MAX)} are sent at a time: narrow it")
        found = list(survey.newest)
    refused = [why for one in found if (why := refusal(settings, one))]
    if refused and asked is None:
        raise Wrong("\n".join(refused))
    found = [one for one in found if not refusal(settings, one)]
    left = f"; {among(len(refused), 'other')} cannot be" if refused else ""
    if not found or not agreed(f"{among(len(found), 'dead letter')} will be sent again to {_topics(found)}{left}. Go on?"):
        out.write(f"nothing was sent{left}\n")
        return DONE
    sent = _asked(settings, _send(settings, letters.again({one.place for one in found})))
    out.write(f"sent again: {among(sent, 'dead letter')} to {_topics(found)}{left}; what is still not readable comes back\n")
    return DONE


def record(one: Found) -> dict[str, Any]:
    """Return a letter as plain JSON; a value that is no UTF-8 stands in hexadecimal."""
    letter = one.letter
    value = letter.value or b""
    try:
        text, form = value.decode(), "utf-8"
    except UnicodeDecodeError:
        text, form = value.hex(), "hex"
    return {
        "place": str(one.place), "at": one.at, "reason": letter.reason, "topic": letter.origin.topic,
        "partition": letter.origin.partition, "offset": letter.origin.offset,
        "key": (letter.key or b"").decode(errors="replace"), "truncated": letter.was_cut,
        "headers": {name: (told or b"").decode(errors="replace") for name, told in letter.headers}, "form": form, "value": text,
    }  # fmt: skip


def _place(text: str) -> Place:
    try:
        return Place.of(text)
    except NoLetter as error:
        raise Wrong(str(error)) from None


def _asked(settings: Settings, question: Awaitable[Answered]) -> Answered:
    async def ask() -> Answered:
        return await question

    try:
        return asyncio.run(ask())
    except NoLetter as error:
        raise Wrong(str(error)) from None
    except KafkaError as error:
        raise NotReached(unreachable(settings, error)) from None
    except NotDelivered as error:
        raise NotReached(f"Kafka did not take all of them: {error}; those before it were sent") from None


async def _send(settings: Settings, found: AsyncIterable[Found]) -> int:
    outlet: Outlet
    async with open_outlet(settings, "dead-letters", Status("dead-letters")) as outlet:
        return await resubmit(found, outlet)


def _topics(found: Iterable[Found]) -> str:
    return ", ".join(sorted({one.letter.origin.topic for one in found}))


def _plain(text: str) -> str:
    """Whatever an event held, safe for a terminal and on one line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
