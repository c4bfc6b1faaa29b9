"""What happens in a store with a log goes into the journal: each change once in effect, none lost while something is away."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from guardian.journal import Override, ReceiptEntry, decode
from guardian.ports import StoreError, StoreUnavailable, UnknownFlag
from guardian.served import Serves
from streams.noticing import Noticing
from streams.outlet import NotDelivered
from streams.sources import Source
from streams.stores.shares.backend import Edit, News
from streams.stores.shares.flag import Seen, seen
from tests.streams.stores.support import eventually

QUIET = News([], frozenset())
FULL = {"control": 0.9, "treatment": 0.1}


class Log:
    """A store: what its log answers to each question, then nothing; what its flags give, and how often each was read."""

    def __init__(self, *answers: News | Exception, poll_s: float = 0.001, **flags: Any) -> None:
        self.poll_s = poll_s
        self.answers = list(answers)
        self.given: dict[str, Any] = {"checkout": FULL, **flags}
        self.reads: Counter[str] = Counter()
        self.asked = 0

    async def news(self) -> News:
        self.asked += 1
        answer = self.answers.pop(0) if self.answers else QUIET
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def flags(self) -> list[str]:
        return list(self.given)

    async def read(self, flag_key: str) -> Seen:
        self.reads[flag_key] += 1
        given = self.given[flag_key]
        if isinstance(given, list):
            given = given.pop(0) if len(given) > 1 else given[0]
        if isinstance(given, Exception):
            raise given
        return seen("production", flag_key, etag="1", shares=given, kept=None)


class Journal:
    """What was written; the first *refused* records are not taken."""

    def __init__(self, refused: int = 0) -> None:
        self.written: list[tuple[str, str, Any]] = []
        self._refused = refused

    async def send(self, topic: str, key: str, value: bytes | None) -> None:
        if self._refused:
            self._refused -= 1
            raise NotDelivered("Kafka is away")
        assert value is not None
        self.written.append((topic, key, decode(value)))

    async def post(self, topic: str, key: str, value: bytes | None) -> asyncio.Task[None]:
        return asyncio.ensure_future(self.send(topic, key, value))

    def entries(self, flag_key: str) -> list[Any]:
        return [entry for _, key, entry in self.written if key == f"production|{flag_key}"]

    @property
    def changes(self) -> list[Override]:
        return [entry for *_, entry in self.written if isinstance(entry, Override)]

    @property
    def told(self) -> list[tuple[str, Serves]]:
        return [(key, entry.serves) for _, key, entry in self.written if isinstance(entry, ReceiptEntry) and entry.serves]


def noticing(log: Log, journal: Journal, **given: Any) -> Noticing:
    source = Source(journal, "journal", environment="production", store="web", propagation_ms=20_000)
    return Noticing(log, log.read, source, **given)


def edit(number: int, flag_key: str = "checkout") -> Edit:
    return Edit(f"unleash:{number}", flag_key, "ada", "rollout 10 %; now rollout 50 %")


def news(*edits: Edit, touched: frozenset[str] | None = frozenset()) -> News:
    return News(list(edits), touched)


async def test_a_change_comes_into_the_journal_with_its_name():
    """What somebody changed is a change from outside of that rollout, with who, what, where, and its id; then what it led to."""
    journal = Journal()
    async with noticing(Log(news(edit(7))), journal).looking():
        await eventually(lambda: len(journal.written) >= 2)

    (_, key, entry), (_, of, told) = journal.written
    assert ("production|checkout", "changed", "ada", "unleash:7") == (key, entry.action, entry.by, entry.id)
    assert "ada changed the flag in web: rollout 10 %; now rollout 50 %" == entry.reason
    assert ("production|checkout", "unleash:7", FULL, 20_000) == (of, told.change, told.serves.shares, told.propagation_ms)


async def test_nothing_is_lost_while_the_store_or_kafka_is_away():
    """A store that does not answer is asked again; what Kafka has not taken is written again, in its order."""
    journal = Journal(refused=2)
    log = Log(StoreUnavailable("away"), news(edit(1), edit(2)), news(edit(3)))
    async with noticing(log, journal).looking():
        await eventually(lambda: len(journal.changes) >= 3)

    assert ["unleash:1", "unleash:2", "unleash:3"] == [entry.id for entry in journal.changes]


async def test_every_flag_is_told_at_the_start_and_again_when_it_was_touched():
    """At the start all flags are told; after that those that anybody touched are read, and told if they give something else."""
    log = Log(news(touched=None), other={"control": 1.0})
    journal = Journal()
    running = noticing(log, journal)
    async with running.looking():
        await eventually(lambda: {"production|checkout", "production|other"} == {key for key, _ in journal.told})
        log.given["checkout"] = {"control": 0.5, "treatment": 0.5}
        log.answers.append(news(touched=frozenset({"checkout", "other"})))
        await eventually(lambda: log.reads["other"] == 2 and len(journal.told) == 3)

    assert ("production|checkout", {"control": 0.5, "treatment": 0.5}) == (journal.told[-1][0], journal.told[-1][1].shares)


async def test_a_flag_that_cannot_be_read_is_read_again_or_not_known():
    """One that the store does not tell now is told later, with the change that led there; what is no shares is not known."""
    log = Log(news(edit(1), touched=frozenset({"odd", "gone"})), odd=StoreError("two strategies"), gone=UnknownFlag("archived"))
    log.given["checkout"] = [StoreUnavailable("away"), FULL]
    journal = Journal()
    async with noticing(log, journal).looking():
        await eventually(lambda: len(journal.told) == 3)

    told = dict(journal.told)
    assert told["production|odd"] == told["production|gone"] == Serves(apart=True)
    (late,) = [entry for _, key, entry in journal.written if key == "production|checkout" and isinstance(entry, ReceiptEntry)]
    assert (FULL, "unleash:1") == (late.serves and late.serves.shares, late.change)


async def test_flags_that_the_store_does_not_keep_are_left_alone():
    """Neither changes nor shares of a flag that settings give to another store."""
    log = Log(news(edit(1, "mobile"), edit(2), touched=None), mobile=FULL)
    journal = Journal()
    async with noticing(log, journal, keeps=lambda flag_key: flag_key != "mobile").looking():
        await eventually(lambda: len(journal.written) == 2)
        log.answers.append(news(touched=frozenset({"mobile", "checkout"})))
        await eventually(lambda: log.reads["checkout"] == 2)

    assert {"production|checkout"} == {key for _, key, _ in journal.written}
    assert 0 == log.reads["mobile"]


async def test_a_nudge_is_a_look_at_once():
    """Whoever says that there is something to see need not wait for the next look, which is an hour away."""
    log, journal = Log(poll_s=3_600.0), Journal()
    running = noticing(log, journal)
    async with running.looking():
        await eventually(lambda: log.asked == 1)
        log.answers.append(news(edit(1)))
        running.nudge()
        await eventually(lambda: len(journal.changes) == 1)
