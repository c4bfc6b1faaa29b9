"""
``judge``: reads the journal, has it judged, and keeps snapshots of what is known in a Faust table.

What a crash at any point leads to stands in ``streams.judging``.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from guardian.bank import Bank
from guardian.errors import ConfigError, Problem
from streams.changelog import changelog_topic
from streams.faust_app import GuardianApp, build_app, raw_topic, run_beside
from streams.judging import Judge, LeftBehind, NewerState
from streams.keeper import Keeper, Partition
from streams.keepsakes import Keepsakes
from streams.outlet import Outlet, open_outlet
from streams.policies import load_default
from streams.rebuilding import Rebuild, Rebuilt
from streams.registry import Registry
from streams.settings import Settings
from streams.snapshots import SnapshotTable, snapshot_table
from streams.standstill import ends_by, until_standstill
from streams.status import Status
from streams.topics import Topics

SHOW_LEAST_S = 0.02
SHOW_REST = 5.0
"""So many times as long as a round of views took, others have their turn: whoever has a backlog judges first."""
NOTICE_EVERY_S = 1.0
KEEPSAKES_EVERY_S = 1.0
SAVE_PAUSE_S = 0.1
"""Between two rounds of snapshots, however many decisions ask for one."""
SAVED_A_SECOND = 500_000
"""
Bytes: with very many busy rollouts snapshots become rarer instead of crowding out the journal. A thousand of them are
kept every ten seconds or so, and whoever recovers reads tens of megabytes.
"""
REFRESH_S = 60.0
"""Well below the changelog's ``min.compaction.lag.ms``."""
REFRESH_EMBEDDED_S = 45.0
"""The embedded broker forgets what is older than its last few megabytes."""


async def run_judge(settings: Settings, status: Status, bank: type[Bank] = Bank) -> None:
    """
    Judge the journal until cancelled; the last snapshots are written before it ends.

    Raises:
        FaustCrashed: Faust gave up.
        StoodStill: nothing is read though entries come.
        LeftBehind: what this worker knows is not what is committed.
        ConfigError: the changelog is not partitioned as the journal.
        PolicyError: the default policy cannot be used.
    """
    config = settings.judge.config()
    async with open_outlet(settings, "judge", status) as outlet:
        topics = settings.topics
        changelog = changelog_topic(settings)
        app = build_app(settings, "judge", table=SnapshotTable)
        table = snapshot_table(app, changelog, await _same_partitions(outlet, topics, changelog), bank.offset_of)
        new_bank = lambda: bank(config)  # noqa: E731
        judge = Judge(new_bank, outlet, topics, settings.signing.keys, partial(_rebuild, settings, new_bank))
        keeper = Keeper(
            outlet, table, changelog, refresh_s=REFRESH_EMBEDDED_S if settings.kafka.embedded else REFRESH_S
        )
        _connect(app, judge, table, topics.journal)
        beside = [_saving(judge, keeper, settings.judge.snapshot_s), _showing(judge), _saying(judge, outlet, status)]
        beside += [judge.until_left(), _keeping(judge, Keepsakes(outlet, topics.journal))]
        beside += [until_standstill(judge.reads, ends_by(settings)), judge.until_behind()]
        if settings.policies_default:
            default = load_default(Path(settings.policies_default))
            beside.append(_noticing(judge, Registry(default, outlet, topics.journal)))
        try:
            await run_beside(app, beside, last=lambda: keeper.save(judge.partitions))
        except NewerState as error:
            await _stand_aside(status, str(error))


async def _same_partitions(outlet: Outlet, topics: Topics, changelog: str) -> int:
    journal, kept = await outlet.partitions(topics.journal), await outlet.partitions(changelog)
    if journal != kept:
        right = f"{changelog} has {kept}; a part is kept in the partition of its journal: make the numbers equal"
        raise ConfigError([Problem("Kafka", None, topics.journal, f"{journal} partitions", right)])
    return journal


def _connect(app: GuardianApp, judge: Judge, table: SnapshotTable, journal: str) -> None:
    async def entries(stream: Any) -> None:
        async for event in app.in_sequence.events(stream.noack()):
            if judge.is_behind(event.message):
                # In a moment it hears that the group has gone on without it; or its snapshots are not the newest.
                app.in_sequence.restart()
                judge.leave_behind()
            else:
                await judge.take(event)

    async def revoked(*_: Any, **__: Any) -> None:
        judge.revoked()

    async def recovered() -> None:
        app.in_sequence.restart()
        mine = {held.partition for held in app.consumer.assignment() if held.topic == journal}
        if gaps := mine & table.snapshots.gaps:
            await app.crash(LeftBehind(f"snapshots of {sorted(gaps)} were dropped on the way"))
            return
        try:
            judge.recovered(mine, lambda held: held.load(table))
        except Exception as error:  # noqa: BLE001
            # Faust would drop it and go on with what memory holds.
            await app.crash(error)

    app.agent(raw_topic(app, journal), name="judge")(entries)
    app.on_partitions_revoked.connect(revoked)
    table.on_recover(recovered)


def _rebuild(
    settings: Settings, new_bank: Callable[[], Bank], held: Partition, meet: Callable[[Rebuilt], None]
) -> Rebuild:
    def seen() -> int:
        # After a rebalance entries are read again that memory has seen: it is met where both are level.
        return held.seen if held.bank.sources.offset <= held.seen else -1

    return Rebuild(settings, held.number, new_bank, seen, lambda: held.first, meet)


async def _stand_aside(status: Status, why: str) -> None:
    """Out of the group, newer workers have all partitions; coming back would only interrupt them, and end here again."""
    while True:  # the supervisor wants to hear from it
        status.ready(False, why)
        await asyncio.sleep(0.5)


async def _keeping(judge: Judge, keepsakes: Keepsakes) -> None:
    while True:
        await asyncio.sleep(KEEPSAKES_EVERY_S)
        await keepsakes.go_on([held.bank for held in judge.partitions], KEEPSAKES_EVERY_S)


async def _saving(judge: Judge, keeper: Keeper, every_s: float) -> None:
    while True:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(judge.decided.wait(), every_s)
        judge.decided.clear()
        before = keeper.written
        await keeper.save(judge.partitions)
        await asyncio.sleep(max(SAVE_PAUSE_S, (keeper.written - before) / SAVED_A_SECOND))


async def _showing(judge: Judge) -> None:
    while True:
        began_s = time.perf_counter()
        await judge.show()
        await asyncio.sleep(max(SHOW_LEAST_S, SHOW_REST * (time.perf_counter() - began_s)))


async def _noticing(judge: Judge, registry: Registry) -> None:
    while True:
        await registry.notice(held.bank for held in judge.partitions)
        await asyncio.sleep(NOTICE_EVERY_S)


async def _saying(judge: Judge, outlet: Outlet, status: Status) -> None:
    while True:
        outlet.check()
        ready, why, numbers = judge.readiness()
        if outlet.failing_s:
            ready, why = False, f"Kafka has taken nothing for {outlet.failing_s:.0f} s"
        status.ready(ready, why, **numbers)
        await asyncio.sleep(0.5)
