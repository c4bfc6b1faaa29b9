"""``guardian dead-letters``, against letters that ``observe`` wrote."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiokafka import AIOKafkaConsumer
from typer.testing import CliRunner, Result

from streams.admin import ensure_topics
from streams.apps.cli import app
from streams.apps.letters import REASONS_MAX, Found, Place, Survey
from streams.deadletters import VALUE_BYTES_MAX, DeadLetter, Origin, dead_letter, letter_of
from streams.folding.wire import Line
from streams.observing.entries import dead_letters
from streams.settings import Settings
from tests.support.cluster import Cluster
from tests.support.page import hand

GARBAGE = [b"\xff\xfe no text", b'{"specversion": "1.0"', b"", b"x" * (VALUE_BYTES_MAX + 1)]


@pytest.fixture
def given(kafka: Cluster) -> Settings:
    return kafka.settings()


@pytest.fixture
async def config(given: Settings, tmp_path: Path) -> Path:
    """Settings in a file, and dead letters of four records that could not be read."""
    outcomes = given.topics.outcomes[0]
    await ensure_topics(given, inputs=True)
    async with hand(given) as publish:
        for number, value in enumerate(GARBAGE):
            line = Line(value, (("content-type", b"text/\xff"),), 7 + number, 0, b"k\xff" if number else None)
            letter = dead_letter(line, f"{outcomes}/{number % 2}", f"value: reason {number % 3}")
            (message,) = dead_letters(given.topics.dead_letters, [letter])
            await publish.outlet.send(message.topic, message.key, message.value, partition=0, headers=message.headers or ())
    file = tmp_path / "guardian.yaml"
    written = {"kafka": {"bootstrap": given.kafka.bootstrap}, "topics": given.topic_names.model_dump(mode="json")}
    file.write_text(yaml.safe_dump(written))
    return file


async def guardian(config: Path, *arguments: str, say: str = "") -> Result:
    return await asyncio.to_thread(CliRunner().invoke, app, ["dead-letters", *arguments, "-c", str(config)], input=say)


async def records(given: Settings, topic: str, number: int) -> list[tuple[Any, ...]]:
    """Partition, key, value and headers of the first records of a topic."""
    consumer = AIOKafkaConsumer(topic, **given.kafka.client_options(), auto_offset_reset="earliest", fetch_max_wait_ms=20)
    await consumer.start()
    try:
        async with asyncio.timeout(20.0):
            found = [await consumer.getone() for _ in range(number)]
    finally:
        await consumer.stop()
    return [(one.partition, one.key, one.value, tuple(one.headers)) for one in found]


def test_a_letter_is_read_as_it_was_written():
    """What a dead letter keeps of a record is what is read of it again: bytes, key, headers, origin and reason."""
    letter = DeadLetter("why", Origin("t", 3, 41), b"\xff", b"\xfe", (("a", b"\xfd"),))
    kept = Line(letter.value, letter.kafka_headers(), 0, 0, letter.key)

    assert letter == letter_of(kept)
    assert letter_of(Line(b"x", (), 0, 0, None)).origin == Origin("", -1, -1)


@pytest.mark.parametrize(
    ("value", "key", "headers"),
    [(b"x" * 10_000_000, None, ()), (b"x", b"k" * 10_000_000, ()), (None, b"", (("a", b"1"), ("n" * 10_000_000, b"")))],
    ids=["value", "key", "headers"],
)
def test_a_letter_fits_whatever_the_record(value, key, headers):
    """Of a record of ten megabytes so much is kept as the broker takes, and it is known to be cut; a smaller one is whole."""
    large = dead_letter(Line(value, headers, 7, 0, key), "t/3", "value: " + "why " * 10_000_000)
    small = dead_letter(Line(b"\xff", (("a", b"1"),), 7, 0, b"k"), "t/3", "why")
    size = sum(len(name) + len(told) for name, told in large.kafka_headers()) + len(large.value or b"") + len(large.key or b"")

    assert large.was_cut
    assert size < 1_000_000 - 100_000
    assert ("why", b"\xff", b"k", (("a", b"1"),), False) == (small.reason, small.value, small.key, small.headers, small.was_cut)


def test_a_flood_of_reasons_is_counted():
    """A million reasons are counted in bounded memory: the first ones by name, all others together."""
    survey = Survey(deque(maxlen=20))
    for number in range(REASONS_MAX + 500):
        survey.add(Found(Place(0, number), "", DeadLetter(f"reason {number}", Origin("t", 0, number), b"")))

    assert REASONS_MAX + 1 == len(survey.reasons)
    assert ("other reasons", 500) == survey.reasons.most_common(1)[0]
    assert (REASONS_MAX + 500, 20) == (survey.reasons.total(), len(survey.newest))


async def test_letters_are_listed_with_their_reasons(config):
    """A line a letter, the newest last, and how often each reason is given; by origin or reason where that is asked."""
    every, some = await guardian(config, "list", "--most", "3"), await guardian(config, "list", "--reason", "reason 0", "--json")

    lines = every.stdout.splitlines()
    assert ["0/1", "0/2", "0/3"] == [line.split()[0] for line in lines[:3]]
    assert "4 dead letters, the newest 3 shown" == lines[3]
    assert "2  value: reason 0" == lines[4]
    assert ["0/0", "0/3"] == [one["place"] for one in json.loads(some.stdout)]
    assert "hex" == json.loads(some.stdout)[0]["form"]


async def test_a_letter_is_shown_whole(config, given):
    """One letter is shown with where it came from, why, and its bytes; a place that is none is said to be none."""
    shown = await guardian(config, "show", "0/1")
    errors = {"0/99": "no dead letter at 0/99", "77/0": "no dead letter at 77/0", "first": "write partition/offset"}
    wrong = {place: await guardian(config, "show", place) for place in errors}

    assert GARBAGE[1].decode() in shown.stdout
    assert f"topic: {given.topics.outcomes[0]}" in shown.stdout
    assert [2, 2, 2] == [one.exit_code for one in wrong.values()]
    assert all(said in wrong[place].stderr for place, said in errors.items())


async def test_letters_are_sent_again_as_they_were(config, given):
    """Sent again, a record has its bytes, its key, its headers and its partition; one that was cut is not sent."""
    said = await guardian(config, "resubmit", "--all", "--topic", given.topics.outcomes[0], say="y\n")
    found = await records(given, given.topics.outcomes[0], 3)

    assert 0 == said.exit_code, said.output
    assert "sent again: 3 dead letters" in said.stdout
    assert "1 other cannot be" in said.stdout
    content = (("content-type", b"text/\xff"),)
    expected = [(n % 2, b"k\xff" if n else None, GARBAGE[n], content) for n in range(3)]
    assert sorted(expected, key=str) == sorted(found, key=str)


async def test_nothing_is_sent_unless_that_is_meant(config):
    """Without consent nothing is sent, nor where a letter that is named cannot be, nor without any being named."""
    no = await guardian(config, "resubmit", "0/0", say="n\n")
    cut = await guardian(config, "resubmit", "0/0", "0/3", "--yes")
    nothing = await guardian(config, "resubmit")

    assert (0, True) == (no.exit_code, "nothing was sent" in no.stdout), no.output
    assert (2, True) == (cut.exit_code, cut.stderr.startswith("0/3: only the beginning of it was kept"))
    assert 2 == nothing.exit_code
