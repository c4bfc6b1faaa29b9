from __future__ import annotations

import json
from dataclasses import replace

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streams.alerts.base import Link, Refused, Unreachable
from streams.alerts.pagerduty import PagerDuty, dedup_key
from tests.streams.alerts.notices import answered, decided, resolved
from tests.support.pagerduty import EventsApi, problems

KEY = "0123456789abcdef0123456789abcdef"
LINK = Link("The decision", "https://guardian.example.com/#/decisions/production%7Ccheckout-v2%7Ctreatment%7C17")
INCIDENT = "guardian:production:checkout-v2:treatment"


def channel(session: aiohttp.ClientSession, api: EventsApi, **more) -> PagerDuty:
    return PagerDuty(session, routing_key=KEY, url=api.url, **more)


async def test_a_kill_opens_an_incident(session, api):
    """
    A kill opens one incident for its variation, with the sentence, the numbers and a link to the decision.
    """
    notice = replace(decided(), links=(LINK,))
    await channel(session, api).notify(notice)

    (event,) = api.open[INCIDENT]
    payload = event["payload"]

    assert notice.text == payload["summary"]
    assert ("error", "checkout-v2", "production", "error_rate") == (
        payload["severity"], payload["component"], payload["group"], payload["class"],
    )  # fmt: skip
    assert 31 == payload["custom_details"]["evidence"]["events"]
    assert [{"href": LINK.href, "text": LINK.text}] == event["links"]


async def test_a_kill_that_did_not_help_joins_the_incident(session, api):
    """
    A kill that did not take effect is critical news of the same incident.
    """
    to = channel(session, api)
    await to.notify(decided())
    await to.notify(answered("not_effective", detail="41 exposures from cart-api"))

    assert [INCIDENT] == list(api.open)
    assert ["error", "critical"] == [event["payload"]["severity"] for event in api.open[INCIDENT]]
    assert api.open[INCIDENT][1]["payload"]["summary"].endswith("are still seen: 41 exposures from cart-api.")


async def test_the_end_of_an_incident_resolves_it(session, api):
    """
    The end of an incident resolves that one, and no other.
    """
    to = channel(session, api)
    await to.notify(decided())
    await to.notify(decided(flag="new-cart"))
    await to.notify(resolved(decided()))

    assert ["guardian:production:new-cart:treatment"] == list(api.open)


async def test_only_what_is_urgent_pages(session, api):
    """
    What is not urgent wakes nobody, nor does that an incident still goes on.
    """
    to = channel(session, api)

    assert to.wants(decided())
    assert to.wants(resolved(decided()))
    assert not to.wants(decided(action="pause"))
    assert not to.wants(replace(decided(), kind="status", level="chat"))


async def test_what_wakes_nobody_is_a_change(session, api):
    """
    What is there to be read is a change event beside the incidents, unless the settings or the kind of key forbid it.
    """
    read = replace(decided(action="pause"), level="chat", links=(LINK,))
    to = channel(session, api)
    await to.notify(read)
    others = [channel(session, api, change_events=False), PagerDuty(session, routing_key="R" + KEY[1:], url=api.url)]

    assert to.wants(read)
    assert [read.text] == [event["payload"]["summary"] for event in api.changes]
    assert ([], {}) == (api.accepted, api.open)
    assert [False, False] == [other.wants(read) for other in others]


async def test_numbers_without_end_are_left_out(session, api):
    """
    What would be larger than PagerDuty takes is told without its numbers.
    """
    await channel(session, api).notify(replace(decided(), body="x" * 600_000))

    assert "left out" in api.open[INCIDENT][0]["payload"]["custom_details"]


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(flag=st.text(min_size=1, max_size=400), variation=st.text(max_size=300), words=st.text(max_size=2000))
async def test_no_name_makes_an_event_that_is_refused(flag, variation, words):
    """
    Whatever flags and variations are called, and however long the sentence is, PagerDuty takes the event.
    """
    async with aiohttp.ClientSession() as session:
        to = PagerDuty(session, routing_key=KEY)
        notice = decided(flag=flag, variant=variation, explanation=f"Killed {words}.")
        event = json.loads(json.dumps({"routing_key": KEY, **to._trigger(notice)}))

    assert [] == problems(event)
    assert dedup_key(notice) != dedup_key(replace(notice, variation=variation + "x"))


@pytest.mark.parametrize("status", [429, 500, 503, 0])
async def test_what_may_pass_is_worth_another_try(session, api, status):
    """
    Throttling, illness and silence of the other side are worth another try, after what it asks for.
    """
    api.fail(status, retry_after="7")

    with pytest.raises(Unreachable) as failed:
        await channel(session, api).notify(decided())

    assert (7.0 if status else None) == failed.value.retry_after_s


async def test_a_refusal_is_final_and_tells_why_without_the_key(session, api):
    """
    What PagerDuty calls invalid is not tried again; the reason is told, the routing key never.
    """
    event = {"event_action": "trigger", "payload": {"summary": KEY}, "links": [{"text": KEY}]}

    with pytest.raises(Refused, match=r"HTTP 400 from 127.0.0.1: .*payload.source is missing") as failed:
        await channel(session, api)._send(event)

    assert KEY not in str(failed.value)


@pytest.mark.parametrize("key", ["", "short", KEY + "0"])
async def test_a_key_that_cannot_be_right_is_refused_at_the_start(session, key):
    """
    A routing key of a wrong length is an error at the start that names the setting and not the key.
    """
    with pytest.raises(ValueError, match=r"alerts\.pagerduty\.routing_key: has \d+ characters") as failed:
        PagerDuty(session, routing_key=key)

    assert not key or key not in str(failed.value)
