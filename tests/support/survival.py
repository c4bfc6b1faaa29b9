"""A rollout that turns harmful under traffic, and what must have become of it in the end, whatever happened meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from guardian.decisions import DECISION_TYPE, RECEIPT_TYPE, ROLLOUT_TYPE, Decision, Receipt, RolloutView
from streams.cloudevents import from_event
from streams.flag_state import read_record
from tests.streams.stores.support import connect, treated
from tests.support.installation import Installation, Written, written
from tests.support.movers import until
from tests.support.processes import producer
from tests.support.users import Users

WORKERS = ("store", "observe", "judge", "act")
WATCHED = 150
"""Requests of each arm before the treatment breaks."""


async def until_ready(guardian: Installation, *names: str) -> None:
    await until(lambda: guardian.ready(*names), within_s=60, what=f"{', '.join(names)} ready")


class Rollout:
    """A rollout under traffic, and what the guardian wrote about it."""

    def __init__(self, guardian: Installation, records: Written, users: Users, client: object) -> None:
        self.guardian, self.records, self.users, self.client, self.flag = guardian, records, users, client, users.flag
        self.decision_id = f"production|{self.flag}|treatment|1"
        self._topics = guardian.settings.topics

    @property
    def decisions(self) -> list[Decision]:
        return [from_event(value, Decision, type=DECISION_TYPE) for value in self._of(self._topics.decisions)]

    @property
    def receipts(self) -> list[Receipt]:
        return [from_event(value, Receipt, type=RECEIPT_TYPE) for value in self._of(self._topics.receipts)]

    @property
    def answers(self) -> list[str]:
        return [one.status for one in self.receipts if not one.status.endswith("effective")]

    @property
    def view(self) -> RolloutView | None:
        values = self._of(self._topics.rollouts)
        return from_event(values[-1], RolloutView, type=ROLLOUT_TYPE) if values else None

    def _of(self, topic: str) -> list[bytes]:
        return self.records.of(topic, self.flag)

    def is_watched(self) -> bool:
        return self.view is not None and len(self.view.arms) == 2 and all(arm.n >= WATCHED for arm in self.view.arms)

    async def break_treatment(self) -> None:
        """Once it has been watched for a while, every request of the treatment fails."""
        await self.records.until(self.is_watched, "the rollout is watched")
        assert 400 < treated(self.client, self.flag) < 600
        self.users.is_broken = True

    async def until_decided(self, times: int = 1) -> None:
        await self.records.until(lambda: len(self.decisions) >= times, f"decided, and said so {times} times")

    async def assert_survived(self, answers: set[str] | None = None) -> None:
        """One decision, repeated at most under its id; one effect in the store; control in the client."""
        await until(lambda: not treated(self.client, self.flag), within_s=40, what="everybody gets control")
        await self.records.until(lambda: "effective" in [one.status for one in self.receipts], "seen to be effective")
        await until_ready(self.guardian, *WORKERS)
        # Nobody is to say anything any more.
        await until(lambda: self.guardian.child("judge")["outbox"] == 0, within_s=20, what="every decision is answered")
        await self.records.to_end()

        assert {self.decision_id} == {one.decision_id for one in self.receipts + self.decisions}
        assert 1 == len(set(map(repr, self.decisions)))
        assert self.answers
        assert (answers or {"applied", "already"}) >= set(self.answers)
        assert self.answers.count("applied") <= 1
        records = [read_record(value) for value in self._of(self._topics.flag_state)]
        assert [(1, {"treatment": "control"})] == [(one["version"], one["killed"]) for one in records]
        view = self.view
        assert view is not None
        assert ("killed", self.decision_id) == (view.status, view.last_decision)


@asynccontextmanager
async def rollout(guardian: Installation, flag: str) -> AsyncIterator[Rollout]:
    topics = guardian.settings.topics
    names = (topics.decisions, topics.receipts, topics.rollouts, topics.flag_state)
    client = await connect(guardian.store_port)
    async with written(guardian.settings, *names) as records, producer(guardian.settings, linger_ms=5) as producing:
        users = Users(guardian.settings, producing, client, flag)
        async with users.busy():
            yield Rollout(guardian, records, users, client)
