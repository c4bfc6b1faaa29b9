"""Slack: threads and their first message, charts, what its errors mean; escaped and whole, or cut."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from streams.alerts.base import Channel, Link, Refused, Unreachable
from streams.alerts.memory import ShortMemory
from streams.alerts.slack import slack
from streams.alerts.slack_message import escaped, message
from streams.alerts.words import cut
from tests.streams.alerts.notices import answered, decided, resolved
from tests.support.alerts.api import serving, units
from tests.support.alerts.cases import colour_of
from tests.support.alerts.slack import CHANNEL, HOOK, MESSAGE, TOKEN, SlackApi, check_message

CHART = b"\x89PNG" + bytes(range(200))


@pytest.fixture
async def slack_api() -> AsyncIterator[SlackApi]:
    api = SlackApi()
    async with serving(api):
        yield api


def bot(session: aiohttp.ClientSession, api: SlackApi, memory: ShortMemory | None = None, **more: Any) -> Channel:
    options = {"token": TOKEN, "channel": CHANNEL, "url": f"{api.url}/api", **more}
    return slack(session, memory or ShortMemory(), **options)


async def test_an_incident_is_a_thread_whose_first_message_says_how_it_stands(session, slack_api):
    """
    The first message opens a thread; what follows replies there and changes the first one's words and colour.
    """
    memory, first = ShortMemory(), replace(decided(), title="Killed")
    news = replace(answered("not_effective"), title="Not effective", incident=first.incident, opened_at=first.opened_at)
    colours = []
    for notice in (first, news, replace(resolved(first), title="Over")):
        await bot(session, slack_api, memory).notify(notice)
        colours.append(colour_of(next(iter(slack_api.messages.values()))))
    top, *replies = slack_api.messages.values()

    assert ["#cf222e", "#cf222e", "#1a7f37"] == colours
    assert "*Over*" in str(top)
    assert [next(iter(slack_api.messages))] * 2 == [one["thread_ts"] for one in replies]
    assert ["Not effective", "Over"] == [str(one)[str(one).index("*") + 1 :].partition("*")[0] for one in replies]
    assert [] == slack_api.refused


async def test_a_new_incident_of_the_same_name_is_a_new_thread(session, slack_api):
    """
    What begins anew opens a thread of its own; so does what belongs to no incident.
    """
    memory, first = ShortMemory(), decided()
    alone = replace(first, notice_id="alone", incident="", opened_at="")
    for notice in (first, replace(first, notice_id="again", opened_at="2027-01-01T00:00:00.000Z"), alone):
        await bot(session, slack_api, memory).notify(notice)

    assert 3 == len(slack_api.messages)
    assert not any("thread_ts" in one for one in slack_api.messages.values())


async def test_what_opened_a_thread_is_not_said_again(session, slack_api):
    """
    A first message that was sent and kept is not sent again, even where Slack does not heed its id.
    """
    slack_api.heeds_ids = False
    memory, first = ShortMemory(), decided()
    for _ in range(2):
        await bot(session, slack_api, memory).notify(first)

    assert 1 == len(slack_api.messages)


async def test_a_message_that_people_deleted_is_replied_to_all_the_same(session, slack_api):
    """
    Where the first message cannot be changed, the reply still comes.
    """
    memory, first = ShortMemory(), decided()
    await bot(session, slack_api, memory).notify(first)
    slack_api.errors["chat.update"] = "message_not_found"
    await bot(session, slack_api, memory).notify(resolved(first))

    assert 2 == len(slack_api.messages)


async def test_the_chart_is_shown_in_the_thread(session, slack_api):
    """
    The chart is uploaded into the incident's thread, without the token being sent to where it goes.
    """
    await bot(session, slack_api).notify(replace(decided(), title="Killed", chart=CHART))
    (shown,) = slack_api.shown

    assert (CHANNEL, next(iter(slack_api.messages))) == (shown["channel_id"], shown["thread_ts"])
    assert [CHART] == [upload["bytes"] for upload in slack_api.uploads.values()]
    assert [] == slack_api.refused


async def test_a_chart_is_not_shown_again_with_each_status(session, slack_api):
    """
    A thread has the chart of each decision, and none again with what is said later.
    """
    memory, first = ShortMemory(), replace(decided(), chart=CHART)
    await bot(session, slack_api, memory).notify(first)
    for kind in ("status", "report"):
        later = replace(first, kind=kind, level="chat", notice_id=kind)
        await bot(session, slack_api, memory).notify(later)

    assert (3, 1) == (len(slack_api.messages), len(slack_api.shown))


async def test_without_the_right_to_files_the_words_still_come(session, slack_api):
    """
    A token that may not upload costs the chart and nothing else; nor does the setting that forbids it.
    """
    slack_api.scopes = {"chat:write"}
    with capture_logs() as logs:
        await bot(session, slack_api).notify(replace(decided(), chart=CHART))
    await bot(session, slack_api, upload_chart=False).notify(replace(decided(flag="new-cart"), chart=CHART))

    assert (2, []) == (len(slack_api.messages), slack_api.shown)
    assert ["slack_chart_not_shown"] == [line["event"] for line in logs]
    assert "files:write" in logs[0]["why"]


@pytest.mark.parametrize(
    ("error", "cure"),
    [
        ("invalid_auth", "alerts.slack.token"), ("not_in_channel", "/invite"), ("channel_not_found", "alerts.slack.channel"),
        ("missing_scope", "chat:write"), ("is_archived", "archived"), ("something_new", ""),
    ],
)  # fmt: skip
async def test_an_error_of_slack_says_what_to_do(session, slack_api, error, cure):
    """
    Slack's refusals, which come as HTTP 200, are final and name the cure, never the token.
    """
    slack_api.errors["chat.postMessage"] = error

    with pytest.raises(Refused, match=error) as failed:
        await bot(session, slack_api).notify(decided())

    assert cure in str(failed.value)
    assert TOKEN not in str(failed.value)


@pytest.mark.parametrize("error", ["ratelimited", "internal_error", "service_unavailable"])
async def test_an_illness_of_slack_is_worth_another_try(session, slack_api, error):
    """
    What Slack says of itself as HTTP 200 is worth another try.
    """
    slack_api.errors["chat.postMessage"] = error

    with pytest.raises(Unreachable, match=error):
        await bot(session, slack_api).notify(decided())


async def test_a_webhook_that_was_removed_says_so(session, slack_api):
    """
    An incoming webhook's one word for what is wrong is told with the cure, and its address is not.
    """
    removed = slack(session, ShortMemory(), webhook_url=f"{slack_api.url}{HOOK}x")

    with pytest.raises(Refused, match=r"HTTP 404 from 127\.0\.0\.1: no_service; .*make a new one") as failed:
        await removed.notify(decided())

    assert "XXXX" not in str(failed.value)


async def test_something_else_at_the_address_is_a_refusal(session, slack_api):
    """
    What answers with no JSON is not Slack: the setting is named.
    """
    slack_api.fail(200)

    with pytest.raises(Refused, match="not with JSON"):
        await bot(session, slack_api).notify(decided())


@settings(deadline=None, max_examples=60)
@given(title=st.text(max_size=700), text=st.text(max_size=9_000), body=st.text(max_size=70_000), href=st.text(max_size=3_000))
def test_any_words_make_a_message_that_slack_takes(title, text, body, href):
    """
    Whatever is said, the message has no markup that nobody wrote and is within Slack's lengths.
    """
    notice = replace(
        decided(), title=title, text=text, body=body, links=(Link(text[:99], f"https://x.example/{href}"),) * 3, owner=title
    )

    check_message(message(notice), MESSAGE)


def test_markdown_is_written_as_slack_writes_it():
    """
    Headlines and what is bold read so in Slack, line by line; a long body is cut where lines end.
    """
    short = replace(decided(), body="## What was done\n\n**31 of 312** failed\n- a < b")
    long = replace(decided(), body="\n".join(f"line {number} " + "x" * 200 for number in range(500)))
    sections = [block["text"]["text"] for block in message(long)["attachments"][0]["blocks"] if block["type"] == "section"]

    assert "*What was done*\n\n*31 of 312* failed\n- a &lt; b" == message(short)["attachments"][0]["blocks"][1]["text"]["text"]
    assert sections[-1].startswith("… (cut")
    assert all(section.endswith("x") for section in sections[1:-1])


@settings(deadline=None)
@given(text=st.text(max_size=300), longest=st.integers(1, 200))
def test_what_is_cut_is_never_too_long_and_never_cut_in_the_middle(text, longest):
    """
    A cut text is at most as long as was asked for, an entity is whole in it or not there, and what fits is not cut.
    """
    written = cut(text, longest, escaped)
    whole = "".join(map(escaped, text))

    assert units(written) <= longest
    assert written == whole or written.endswith("…")
    assert written == whole or any(written[:-1] == "".join(map(escaped, text[:end])) for end in range(len(text) + 1))
    assert units(whole) > longest or written == whole
