"""
A harmful rollout's kill survives whoever dies on its way: one decision, one effect in the store, control for its users.

Everything is real: Kafka, the processes of ``guardian run``, the flagd store, and users whose flag is evaluated by the
official OpenFeature provider. Each test has a rollout of its own in one installation that all share.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Iterator
from functools import partial

import pytest
from confluent_kafka.admin import AdminClient

from guardian.journal import Summary, decode
from streams.admin import ensure_topics
from streams.partitioning import partition_of
from tests.support.cluster import Cluster
from tests.support.installation import Installation, written
from tests.support.movers import until
from tests.support.survival import WORKERS, rollout, until_ready

FLAGS = ("judge-dies", "act-dies", "recovery-dies", "observe-dies")
RANDOM_FLAGS = tuple(f"any-{number}" for number in range(12))

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def guardian(real_kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    # Flushed so often, observe is in a transaction most of the time.
    settings = Cluster(real_kafka, embedded=False).settings(observe={"flush_ms": 20})
    asyncio.run(ensure_topics(settings, inputs=True))
    folder = tmp_path_factory.mktemp("guardian")
    with Installation(settings, folder, [*FLAGS, *RANDOM_FLAGS]) as installation:
        try:
            asyncio.run(until_ready(installation, *WORKERS))
            yield installation
        finally:
            print(installation.said.read_text())


async def test_judge_dies_after_it_has_decided(guardian):
    """Killed with its decision published and not yet answered, judge takes the same decision, not another one."""
    async with rollout(guardian, "judge-dies") as one:
        await one.break_treatment()
        with guardian.stopped("act"):
            await one.until_decided()
            guardian.kill("judge")
            await one.until_decided(times=2)
            assert [] == one.answers
        await one.assert_survived({"applied", "already"})


async def test_act_dies_between_the_store_and_the_receipt(guardian):
    """Killed when the store serves the kill and nobody was told, act finds it done, and says so."""
    async with rollout(guardian, "act-dies") as one:
        guardian.held.hold(one.flag)
        await one.break_treatment()
        await until(guardian.held.holding.is_set, within_s=30, what="the store has answered")
        guardian.kill("act")
        await one.records.to_end()
        assert [] == one.answers
        guardian.held.release()
        await one.assert_survived({"already"})


@pytest.mark.long
async def test_judge_dies_again_while_it_recovers(guardian):
    """Killed twice more with its partitions assigned and its table not yet recovered, judge loses and adds nothing."""
    async with rollout(guardian, "recovery-dies") as one:
        await one.break_treatment()
        with guardian.stopped("act"):
            await one.until_decided()
            await kill_in_recovery(guardian, times=2)
            await until_ready(guardian, "judge")
        await one.assert_survived({"applied", "already"})


async def kill_in_recovery(guardian: Installation, times: int) -> None:
    """Kill judge, and then so many of its next lives between being given their partitions and knowing their table."""
    group = f"{guardian.settings.kafka.group_prefix}-judge"
    admin = AdminClient({"bootstrap.servers": guardian.settings.kafka.bootstrap})

    def members() -> set[str]:
        described = admin.describe_consumer_groups([group])[group].result(5)
        return {member.member_id for member in described.members if member.assignment.topic_partitions}

    def recoveries() -> int:
        return guardian.said.read_text().count("partitions_taken")

    deadline_s = time.monotonic() + 60
    before, recovered, dead = members(), recoveries(), guardian.kill("judge")
    while times:
        await until(partial(guardian.lives_again, "judge", dead), what="judge is started again")
        # A static member that comes again has a new id once the group has let it in.
        while not (now := members()) - before:
            assert time.monotonic() < deadline_s, "judge was not given its partitions, or never found recovering"
        with guardian.stopped("judge") as dead:
            # What is stopped cannot recover between this look and the kill.
            times -= recoveries() == recovered
            before, recovered = now, recoveries()
            guardian.kill("judge")


async def test_observe_dies_in_a_transaction(guardian):
    """Killed in a transaction that holds failures, observe sums them once more, and the kill comes."""
    async with rollout(guardian, "observe-dies") as one:
        await one.break_treatment()
        # Who decides is held up, so that observe certainly dies before the kill.
        with guardian.stopped("judge"):
            await kill_in_transaction(guardian, one.flag)
            await one.records.to_end()
            assert [] == one.decisions
        await one.assert_survived({"applied"})


async def kill_in_transaction(guardian: Installation, flag: str) -> None:
    """Kill observe while failures of the flag stand in the journal, and neither their commit nor their end."""
    journal = guardian.settings.topics.journal
    async with (
        written(guardian.settings, journal) as committed,
        written(guardian.settings, journal, isolation_level="read_uncommitted") as all_of_it,
    ):
        [at] = [
            at for at in committed.consumer.assignment()
            if at.partition == partition_of(f"production|{flag}", len(committed.consumer.assignment()))
        ]  # fmt: skip
        deadline_s = time.monotonic() + 30
        while time.monotonic() < deadline_s:
            with guardian.stopped("observe"):
                # The first record that readers do not get is of a transaction that is open, and stays so.
                stable = (await committed.consumer.end_offsets([at]))[at]
                await all_of_it.to_end()
                found = [one for one in all_of_it.records if (one.partition, one.offset) == (at.partition, stable)]
                if found and failures(found[0].value, flag):
                    guardian.kill("observe")
                    return
            all_of_it.records.clear()
            await all_of_it.poll()
    raise AssertionError("observe was never found in a transaction with failures")


def failures(value: bytes, flag: str) -> int:
    """How many failures of the flag's treatment an entry of the journal holds."""
    entry = decode(value)
    flags = entry.flags if isinstance(entry, Summary) else []
    ticks = [tick for sums in flags if sums.key == f"production|{flag}" for tick in sums.ticks]
    return sum(tick.arms["treatment"].errors for tick in ticks if "treatment" in tick.arms)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("flag", RANDOM_FLAGS)
async def test_whoever_dies_whenever(guardian, flag):
    """Killed at any moment around the decision, any of the workers lets the kill survive; ``SEED=n`` plays one again."""
    seed = int(os.environ.get("SEED") or random.SystemRandom().randrange(10_000))
    dice = random.Random(f"{seed} {flag}")
    who, after_s = dice.choice(WORKERS), dice.uniform(0.0, 1.5)
    print(f"seed {seed}: {who} dies {after_s:.3f} s after the treatment broke")
    async with rollout(guardian, flag) as one:
        await one.break_treatment()
        await asyncio.sleep(after_s)
        guardian.kill(who)
        await one.assert_survived()
