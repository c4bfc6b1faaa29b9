"""What every channel promises (`streams.alerts.base.Channel`), kept by each adapter at a strict server of its vendor's API."""

from __future__ import annotations

import asyncio
import io
import traceback
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
from PIL import Image
from structlog.testing import capture_logs

from streams.alerts.base import ChannelError, Link, Probed, Refused, Report, Unreachable
from streams.alerts.memory import ShortMemory
from streams.alerts.table import CHANNELS
from streams.settings import Settings
from tests.streams.alerts.notices import answered, decided
from tests.support.alerts.api import DROPPED, SILENT
from tests.support.alerts.cases import CASES, Case

PAGE = "https://guardian.example.com"
LINKS = (Link("The decision", f"{PAGE}/#/decisions/a%7Cb"), Link("Undo", f"{PAGE}/?a=1&b=2"))
AGAIN = "2036-11-26T00:00:00.000Z"
"""When an incident begins anew; by a clock that is ahead of this host's, too."""
FAILING = {
    "http": "streams.alerts.http.ATTEMPT",
    "email": "streams.alerts.email.ATTEMPT_S",
    "apprise": "streams.alerts.apprise.ATTEMPT_S",
}
REPORT_BODY = "# What happened\n\n**31 of 312** failed.\n" + "- a line of the timeline\n" * 2_000
HOSTILE = (
    "<script>alert(1)</script> <!channel> <@U1> *b* & &amp; <https://evil.example|click> ]]> ${x} {{y}} שלום "
    "\u202egnp.exe 🙈\ud83d "
    "\r\nBcc: evil@example.com\r\n\r\nno header\x00\x1b[31m end"
)


@pytest.fixture(params=CASES)
async def case(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Case]:
    async with aiohttp.ClientSession() as session, CASES[request.param](session, tmp_path) as case:
        yield case


def chart() -> bytes:
    image = io.BytesIO()
    Image.new("RGB", (800, 400), "white").save(image, "PNG")
    return image.getvalue()


def opened(**more: object) -> Report:
    """A page about a variation, with everything that a notice can have."""
    notice = decided()
    fields = {"title": "checkout-v2/treatment killed in production", "links": LINKS, "chart": chart(), **more}
    return replace(notice, **fields)  # type: ignore[arg-type]


def later(first: Report, kind: str, **more: object) -> Report:
    """What is said about the same incident a minute later."""
    at = datetime.fromisoformat(first.at) + timedelta(minutes=1)
    own = {"at": at.isoformat(), "kind": kind, "level": "chat", "urgent": False, "notice_id": f"{kind}:{first.incident}"}
    return replace(first, **{**own, "chart": b"", **more})  # type: ignore[arg-type]


async def test_it_says_what_happened(case):
    """
    A page arrives with its sentence, and one that is told of a variation of its own beside it.
    """
    channel = case.make(ShortMemory())
    first = opened(text="31 of 312 failed, 10.3 times as often.")
    other = replace(decided(flag="new-cart"), title="", text="new-cart was killed.")
    for notice in (first, other):
        assert channel.wants(notice)
        await channel.notify(notice)

    assert [] == case.refused()
    assert 2 == len(case.texts())
    assert first.text in case.texts()[0]
    assert other.text in case.texts()[1]


async def test_a_repeat_is_told_once(case):
    """
    The same notice again, by a process that does not know whether it was told, shows nothing twice; but for a channel that
    has nothing to know a repeat by, which docs/alerts.md names.
    """
    memory, notice = ShortMemory(), opened()
    for _ in range(3):
        await case.make(memory).notify(notice)

    assert (1 if case.identity else 3) == len(case.texts())
    assert [] == case.refused()


async def test_an_incident_is_opened_updated_and_closed(case):
    """
    What a page opened, its news and status join; its end closes it; a new one of the same name is open again.
    """
    memory, first = ShortMemory(), opened()
    news = replace(answered("not_effective"), incident=first.incident, opened_at=first.opened_at, text="still seen")
    told = [first, news, later(first, "status", body="**open** for an hour")]
    for notice in told:
        await case.make(memory).notify(notice)

    assert case.is_open() == case.closes

    for notice in (later(first, "resolved"), later(first, "report", body=REPORT_BODY, text="What is left to read.")):
        channel = case.make(memory)
        if channel.wants(notice):
            await channel.notify(notice)

    assert not case.is_open()
    assert [] == case.refused()

    await case.make(memory).notify(opened(notice_id="again", opened_at=AGAIN, at=AGAIN))

    assert case.is_open() == case.closes
    assert [] == case.refused()


@pytest.mark.parametrize("status", [429, 500, 503, DROPPED, SILENT])
async def test_what_may_pass_is_worth_another_try(case, status, monkeypatch):
    """
    Too many, illness, an ended connection and silence are worth another try, after what is asked for; then it arrives.
    """
    if status == SILENT:
        timeout = aiohttp.ClientTimeout(total=0.3) if case.attempt == "http" else 0.3
        monkeypatch.setattr(FAILING[case.attempt], timeout)
    memory, notice = ShortMemory(), opened()
    # Twice, as aiohttp asks once more by itself where a connection ended and nothing was to be changed.
    case.fail(status, status, retry_after="7")
    with pytest.raises(Unreachable) as failed:
        await case.make(memory).notify(notice)
    monkeypatch.undo()
    case.heal()
    await case.make(memory).notify(notice)

    assert (7.0 if case.retry_after and status > 0 else None) == failed.value.retry_after_s
    assert notice.text in case.texts()[0]


@pytest.mark.parametrize("status", [400, 401, 403, 404])
async def test_a_refusal_is_final(case, status):
    """
    What the other side does not take is not worth another try, unless all that is known is that it failed.
    """
    case.fail(status)

    with pytest.raises(Refused if case.reasons else Unreachable):
        await case.make(ShortMemory()).notify(opened())


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, DROPPED])
async def test_no_error_shows_a_secret(case, status, caplog):
    """
    Even where the other side quotes the whole request, credentials included, no error and no log line shows them.
    """
    channel = case.make(ShortMemory())
    case.fail(status, status)
    with capture_logs() as logs, pytest.raises(ChannelError) as failed:
        await channel.notify(opened())

    shown = "".join(traceback.format_exception(failed.value)) + repr(failed.value) + str(logs) + caplog.text
    assert [] == [secret for secret in case.secrets if secret in shown]


@pytest.mark.parametrize("words", [HOSTILE, HOSTILE + "x" * 10_000 + "🙈" * 10_000, ""], ids=["hostile", "long", "empty"])
async def test_hostile_words_are_only_words(case, words):
    """
    Markup, line ends, half characters, what turns the direction of a text and what is far too long arrive as text: the
    server takes it, and nothing of it is obeyed.
    """
    memory = ShortMemory()
    first = opened(title=words, text=words, body=words, owner=words[:200], links=(*LINKS, Link(words[:300], "https://x.example/?q=<a>|b")))
    for notice in (first, *(later(first, kind, body=words) for kind in ("status", "resolved", "report"))):
        channel = case.make(memory)
        if channel.wants(notice):
            await channel.notify(notice)

    shown = "\n".join(case.texts())
    assert [] == case.refused()
    assert not words or ("שלום" in shown and "🙈" in shown)


async def test_names_are_only_names(case):
    """
    Flags, variations and environments of any letters and length open and close what is theirs.
    """
    memory = ShortMemory()
    for flag in ("a/b?c#d", "ключ 🙈", "x" * 2_000, "../..", 'a"b\\c', "%2F%00"):
        first = replace(decided(flag=flag), incident=f"production|{flag}|treatment")
        await case.make(memory).notify(first)
        assert case.is_open() == case.closes
        await case.make(memory).notify(later(first, "resolved"))

    assert not case.is_open()
    assert [] == case.refused()


async def test_notices_at_once_do_not_disturb_each_other(case):
    """
    Twenty incidents that begin together are all told.
    """
    channel = case.make(ShortMemory())
    await asyncio.gather(*(channel.notify(decided(flag=f"flag-{number}")) for number in range(20)))

    assert 20 == len(case.texts())


def test_every_channel_is_held_to_this():
    """
    Each channel of the table has a case here and settings of its own name, which are not in use by default.
    """
    alerts = Settings().alerts

    assert set(CHANNELS) == {name.partition(" ")[0] for name in CASES}
    assert not any(getattr(alerts, name).is_set for name in CHANNELS)


async def test_a_probe_tells_nobody_anything(case):
    """A channel that can be tried finds its server well, says so without a secret, and nothing is to be read there."""
    channel = case.make(ShortMemory())
    if not isinstance(channel, Probed):
        assert "apprise" == channel.name
        return
    said = await channel.probe()

    assert said and not any(secret in said for secret in case.secrets)
    assert ([], []) == (case.texts(), case.refused())
