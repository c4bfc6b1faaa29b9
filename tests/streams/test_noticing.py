"""People's changes in a store go into the journal: each once in effect, and none is lost while something is away."""

from __future__ import annotations

import asyncio
from typing import Any

from guardian.journal import Override, decode
from guardian.ports import StoreUnavailable
from streams.noticing import noticing
from streams.outlet import NotDelivered
from streams.stores.shares.backend import Edit
from tests.streams.stores.support import eventually


class Log:
    """A store's log: what each question is answered, then nothing."""

    poll_s = 0.001

    def __init__(self, *answers: list[Edit] | Exception) -> None:
        self._answers = list(answers)

    async def edits(self) -> list[Edit]:
        answer = self._answers.pop(0) if self._answers else []
        if isinstance(answer, Exception):
            raise answer
        return answer


class Journal:
    """What was written; the first *refused* records are not taken."""

    def __init__(self, refused: int = 0) -> None:
        self.written: list[tuple[str, str, Any]] = []
        self._refused = refused

    async def send(self, topic: str, key: str, value: bytes) -> None:
        if self._refused:
            self._refused -= 1
            raise NotDelivered("Kafka is away")
        self.written.append((topic, key, decode(value)))


async def _written(log: Log, journal: Journal, count: int) -> list[Override]:
    async with noticing(log, journal, journal="journal", environment="production", store="web"):  # type: ignore[arg-type]
        await eventually(lambda: len(journal.written) >= count)
        await asyncio.sleep(0.01)
    assert {("journal", "production|checkout")} == {(topic, key) for topic, key, _ in journal.written}
    return [entry for *_, entry in journal.written]


def edit(number: int) -> Edit:
    return Edit(f"unleash:{number}", "checkout", "ada", "rollout 10 %; now rollout 50 %")


async def test_a_change_comes_into_the_journal_with_its_name():
    """What somebody changed is a change from outside of that rollout, with who, what, where, and its id."""
    (entry,) = await _written(Log([edit(7)]), Journal(), 1)

    assert ("changed", "ada", "unleash:7") == (entry.action, entry.by, entry.id)
    assert "ada changed the flag in web: rollout 10 %; now rollout 50 %" == entry.reason


async def test_nothing_is_lost_while_the_store_or_kafka_is_away():
    """A store that does not answer is asked again; what Kafka has not taken is written again, in its order."""
    found = await _written(Log(StoreUnavailable("away"), [edit(1), edit(2)], [edit(3)]), Journal(refused=2), 3)

    assert ["unleash:1", "unleash:2", "unleash:3"] == [entry.id for entry in found]
