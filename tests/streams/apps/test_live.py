from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

from hypothesis import given
from hypothesis import strategies as st

from streams.apps import live
from streams.apps.live import Hub


def parsed(text: bytes) -> dict[str, str]:
    """The fields of one event as a browser reads them."""
    return dict(line.split(": ", 1) for line in text.decode().strip().splitlines() if not line.startswith(":"))


async def take(stream: AsyncIterator[bytes], number: int) -> list[dict[str, str]]:
    async with asyncio.timeout(5.0):
        return [parsed(await anext(stream)) for _ in range(number)]


async def test_pages_are_told_what_comes():
    """
    A page is greeted, and then told each event with its kind, id and data.
    """
    hub = Hub()
    stream = hub.stream()
    (hello,) = await take(stream, 1)
    hub.publish("decision", "d1", '{"decision_id":"d1"}')
    (event,) = await take(stream, 1)

    assert hello["event"] == "hello"
    assert json.loads(hello["data"])["boot"] == hub.boot
    assert event == {"event": "decision", "id": f"{hub.boot}-1", "data": '{"decision_id":"d1"}'}


async def test_a_page_that_comes_back_is_told_what_it_missed():
    """
    After a break exactly the events since the last id come, none twice, none missing.
    """
    hub = Hub()
    for i in range(5):
        hub.publish("decision", f"d{i}", str(i))
    stream = hub.stream(f"{hub.boot}-3")
    hub_events = await take(stream, 3)

    assert [event["data"] for event in hub_events[1:]] == ["3", "4"]


async def test_what_is_not_known_any_more_is_read_anew(monkeypatch):
    """
    An id of another process, of the future, or from too long ago makes the page read everything anew.
    """
    monkeypatch.setattr(live, "REPLAYED", 2)
    hub = Hub()
    for i in range(5):
        hub.publish("decision", f"d{i}", str(i))

    for last_id in ("12345-3", f"{hub.boot}-99", f"{hub.boot}-1", "nonsense", f"{hub.boot}-"):
        _, second = await take(hub.stream(last_id), 2)
        assert second["event"] == "resync"


async def test_a_page_that_is_too_slow_reads_anew(monkeypatch):
    """
    More than waits for one page makes that page read everything anew; memory is bounded, others do not notice.
    """
    monkeypatch.setattr(live, "QUEUED", 10)
    hub = Hub()
    slow, quick = hub.stream(), hub.stream()
    await take(slow, 1)
    await take(quick, 1)
    told = []
    for i in range(15):
        hub.publish("decision", f"d{i}", str(i))
        told += await take(quick, 1)

    assert [event["data"] for event in told] == [str(i) for i in range(15)]
    assert [event.get("data") for event in await take(slow, 5)] == ["{}", "11", "12", "13", "14"]


@given(st.lists(st.sampled_from(["a", "b", "c", "decision"]), max_size=60))
def test_a_slow_page_gets_the_newest_of_each_rollout_and_every_decision(subjects):
    """
    Of each rollout the newest view waits, of decisions all; ids only grow, so that a reconnect misses nothing.
    """

    async def told() -> list[dict[str, str]]:
        hub = Hub()
        stream = hub.stream()
        await take(stream, 1)
        for i, subject in enumerate(subjects):
            kind = "decision" if subject == "decision" else "rollout"
            hub.publish(kind, f"{subject}{i}" if kind == "decision" else subject, str(i))
        newest = {subject: i for i, subject in enumerate(subjects) if subject != "decision"}
        expected = sorted([*newest.values(), *(i for i, one in enumerate(subjects) if one == "decision")])
        events = await take(stream, len(expected))

        assert [int(event["data"]) for event in events] == expected
        return events

    events = asyncio.run(told())
    numbers = [int(event["id"].partition("-")[2]) for event in events]

    assert numbers == sorted(numbers)


async def test_silence_is_filled(monkeypatch):
    """
    When nothing happens a comment comes from time to time.
    """
    monkeypatch.setattr(live, "PING_S", 0.02)
    stream = Hub().stream()
    await take(stream, 1)

    assert await anext(stream) == b": ping\n\n"


async def test_closing_ends_every_stream():
    """
    When the process ends, open streams end at once by themselves.
    """
    hub = Hub()
    stream = hub.stream()
    await take(stream, 1)
    waiting = asyncio.ensure_future(anext(stream, None))
    await asyncio.sleep(0)
    hub.close()

    async with asyncio.timeout(1.0):
        assert await waiting is None
