"""
``act``: reads decisions, has them carried out in the flag store, and writes receipts.

A decision is acknowledged only after its receipt is written, to ``guardian.receipts.v1`` and into the journal. So a
worker that dies anywhere before is followed by one that reads the decision again; the store then says ``already``,
and the receipt comes. Commands to one flag keep their order, but for what has waited long; whatever their order, the
store knows which of them counts. A flag whose store call hangs delays no other flag.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from aiokafka import TopicPartition

from guardian.ports import FlagStore
from streams.acting import Acting
from streams.drifting import Drifting
from streams.faust_app import GuardianApp, build_app, raw_topic, run_beside
from streams.outlet import Outlet, open_outlet
from streams.settings import Settings
from streams.standstill import ends_by, until_standstill
from streams.status import Status

OpenStore = Callable[[Settings, Outlet], AbstractAsyncContextManager[FlagStore]]
"""Opens the flag store for as long as act runs."""


async def run_act(settings: Settings, status: Status, open_store: OpenStore) -> None:
    """
    Carry decisions out until cancelled; what is under way then has a second to finish.

    Raises:
        FaustCrashed: Faust gave up.
        StoodStill: nothing is read though decisions come.
    """
    async with open_outlet(settings, "act", status) as outlet:
        status.ready(False, f"reading {settings.topics.flag_state}")
        async with open_store(settings, outlet) as store:
            acting = Acting(
                store, outlet, settings.topics, deadline_s=settings.act.deadline_s, stores_of=settings.stores_of,
                propagation_ms=settings.propagation_ms, keys=settings.signing.keys,
            )  # fmt: skip
            app = build_app(settings, "act")
            _connect(app, acting, settings.topics.decisions)
            drifting = Drifting(store, every_s=settings.act.drift_every_s, stores_of=settings.stores_of)
            try:
                beside = [_saying(app, acting, drifting, outlet, status), *([drifting.run()] if drifting.is_on else [])]
                beside.append(until_standstill(lambda: _reads(app, acting, settings.topics.decisions), ends_by(settings)))
                await run_beside(app, beside, last=acting.drain)
            finally:
                await acting.stop()


def _connect(app: GuardianApp, acting: Acting, decisions: str) -> None:
    async def carry_out(stream: Any) -> None:
        async for event in app.in_sequence.events(stream.noack()):
            acting.take(event)

    async def revoked(*_: Any, **__: Any) -> None:
        acting.revoked()

    app.agent(raw_topic(app, decisions), name="act")(carry_out)
    app.on_partitions_revoked.connect(revoked)


def _reads(app: GuardianApp, acting: Acting, decisions: str) -> dict[TopicPartition, int]:
    """How far each partition of the decisions has been read that is ours now."""
    if app.rebalancing or not app.started:
        return {}
    return {at: acting.seen.get(at.partition, -1) for at in app.consumer.assignment() if at.topic == decisions}


async def _saying(app: GuardianApp, acting: Acting, drifting: Drifting, outlet: Outlet, status: Status) -> None:
    while True:
        outlet.check()
        ready, why, numbers = acting.readiness()
        if outlet.failing_s:
            ready, why = False, f"Kafka has taken nothing for {outlet.failing_s:.0f} s"
        if app.rebalancing or not app.started:
            ready, why = False, "waiting for partitions of the decisions"
        status.ready(ready, why, **numbers, **drifting.numbers())
        await asyncio.sleep(0.5)
