"""Judge is told what the document gives whom: all of it once, then what changed, until it is kept, while flags are served."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from guardian.journal import SERVES, ReceiptEntry, decode
from streams.outlet import NotDelivered
from streams.sources import Source
from streams.stores.flagd.documents import Documents
from streams.stores.flagd.told import CHUNK, follow_shares
from tests.streams.stores.support import eventually, kill_record


class Journal:
    """What was told, in its order; the first *refused* records are not kept."""

    def __init__(self, refused: int = 0) -> None:
        self.told: list[ReceiptEntry] = []
        self._refused = refused

    async def post(self, topic: str, key: str, value: bytes | None) -> asyncio.Task[None]:
        return asyncio.ensure_future(self._keep(topic, key, value or b""))

    async def _keep(self, topic: str, key: str, value: bytes) -> None:
        if self._refused:
            self._refused -= 1
            raise NotDelivered("Kafka is away")
        entry = decode(value)
        assert isinstance(entry, ReceiptEntry)
        assert ("journal", key, SERVES, "web", "") == (topic, entry.key, entry.status, entry.store, entry.decision_id)
        self.told.append(entry)

    def of(self, flag: str) -> list[float]:
        """The treatment's shares that were told of a flag, the newest last; -1 where it has none."""
        told = [one.serves for one in self.told if one.key == f"production|{flag}"]
        return [one.shares.get("treatment", -1.0) for one in told if one is not None]


def document(**treatment: int) -> bytes:
    """Flags with the percent that their treatment gets."""
    made: dict[str, Any] = {"state": "ENABLED", "variants": {"control": "a", "treatment": "b"}, "defaultVariant": "control"}
    flags = {
        name: {**made, "targeting": {"fractional": [["control", 100 - share], ["treatment", share]]}}
        for name, share in treatment.items()
    }
    return json.dumps({"flags": flags}).encode()


@asynccontextmanager
async def telling(documents: Documents, journal: Journal, **more: Any) -> AsyncIterator[None]:
    source = Source(journal, "journal", environment="production", store="web", **more)
    going = asyncio.ensure_future(follow_shares(documents, source.tell, again_s=0.001))
    try:
        yield
        assert not going.done()
    finally:
        going.cancel()
        await asyncio.wait({going})


async def test_every_flag_is_told_once_and_then_what_changes():
    """At the start each flag; after an edit those whose shares are others; after a decision the flag that it is about."""
    documents, journal = Documents(document(checkout=10, search=20)), Journal()
    async with telling(documents, journal):
        await eventually(lambda: len(journal.told) == 2)
        documents.edit(document(checkout=10, search=50))
        await eventually(lambda: journal.of("search") == [0.2, 0.5])
        documents.apply_overlay(kill_record(flag_key="checkout", decision_id="production|checkout|treatment|3"))
        await eventually(lambda: journal.of("checkout") == [0.1, 0.0])

    assert 4 == len(journal.told)
    killed = journal.told[-1].serves
    assert killed is not None
    assert (3, 0.1) == (killed.order, killed.written["treatment"])


async def test_a_flag_that_is_gone_is_told_of():
    """A flag that people take out of the document gives nobody anything that is known."""
    documents, journal = Documents(document(checkout=10, search=20)), Journal()
    async with telling(documents, journal):
        await eventually(lambda: len(journal.told) == 2)
        documents.edit(document(checkout=10))
        await eventually(lambda: len(journal.told) == 3)

    gone = journal.told[-1]
    assert gone.serves is not None
    assert ("production|search", {}) == (gone.key, gone.serves.parts)


async def test_nothing_is_lost_while_kafka_is_away():
    """What was not kept is told again, also of flags that nobody changed since."""
    many = {f"flag{number}": 10 for number in range(2 * CHUNK)}
    journal = Journal(refused=len(many) + 3)
    async with telling(Documents(document(**many)), journal):
        await eventually(lambda: len(journal.told) == len(many))

    assert {f"production|{name}" for name in many} == {one.key for one in journal.told}


async def test_a_flag_that_others_keep_as_well_has_no_known_parts():
    """Where another store that does not tell keeps the flag, too, this one's shares are not those of all traffic."""
    documents, journal = Documents(document(checkout=10, search=20)), Journal()
    async with telling(documents, journal, is_shared=lambda flag: flag == "search"):
        await eventually(lambda: len(journal.told) == 2)

    assert {"production|checkout": True, "production|search": False} == {
        one.key: bool(one.serves and one.serves.parts) for one in journal.told
    }
