"""
``store``: the flagd-sync server as a process of its own, fed from ``guardian.flag-state.v1``.

It opens its port only when the whole topic was read: a client that connects never sees a killed variation alive.
"""

from __future__ import annotations

import asyncio

import structlog

from guardian.errors import EventError
from streams.flag_state import read_record
from streams.reading import Follower
from streams.settings import Settings
from streams.status import Status
from streams.stores.flagd.server import FlagdStoreServer
from streams.stores.shares.noted import STORE

log = structlog.get_logger()


async def run_store(settings: Settings, status: Status) -> None:
    """
    Serve flags until cancelled; clients keep what they have when it ends.

    Raises:
        OSError: the flag document cannot be read, or the port cannot be had.
        ValueError: the flag document has problems; the text holds each.
    """
    server = FlagdStoreServer(
        settings.flagd.document,
        host=settings.flagd.host,
        port=settings.flagd.port,
        environment=settings.flagd.environment,
    )

    def take(key: str, value: bytes | None) -> None:
        if value is None:
            return
        try:
            record = read_record(value)
            if STORE not in record:  # else it is of another store
                server.apply_overlay(record)
        except EventError as error:
            log.error("flag_state_not_readable", key=key, reason=str(error))  # noqa: TRY400 - no defect here

    follower = Follower(settings, settings.topics.flag_state, take)
    following = asyncio.ensure_future(follower.run())
    try:
        status.ready(False, f"reading {settings.topics.flag_state}")
        await follower.caught_up.wait()
        async with server:
            log.info("serving_flags", target=server.target, flags=len(server.documents.document["flags"]))
            await _say(server, status, following)
    finally:
        following.cancel()
        await asyncio.wait({following})


async def _say(server: FlagdStoreServer, status: Status, following: asyncio.Future[None]) -> None:
    while not following.done():
        problems = server.documents.problems
        status.ready(
            not problems,
            "; ".join(problems),
            target=server.target,
            clients=server.sync.connected,
            pushes=server.sync.pushes,
            revision=server.documents.revision,
        )
        await asyncio.wait({following}, timeout=0.5)
    following.result()
