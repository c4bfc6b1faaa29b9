"""
``store``: what flagd's clients are served, as a process of its own, fed from ``guardian.flag-state.v1``.

One document by three faces: flagd's sync protocol, and where the settings say so a file and OFREP. It opens its ports,
and writes the file, only when the whole topic was read: a client that connects never sees a killed variation alive.
From then on judge is told what each flag gives whom; where that cannot be written, flags are served all the same.
"""

from __future__ import annotations

import asyncio

import structlog

from guardian.errors import EventError
from streams.flag_state import read_record
from streams.outlet import Outlet, open_outlet
from streams.reading import Follower
from streams.settings import Settings
from streams.sources import Source, source_of
from streams.status import Status
from streams.stores.flagd.callers import Callers
from streams.stores.flagd.documents import Documents
from streams.stores.flagd.server import FlagdStoreServer
from streams.stores.flagd.told import AGAIN_S, follow_shares
from streams.stores.shares.noted import STORE

log = structlog.get_logger()


async def run_store(settings: Settings, status: Status) -> None:
    """
    Serve flags until cancelled; clients keep what they have when it ends.

    Raises:
        OSError: the flag document cannot be read, or a port cannot be had.
        ValueError: the flag document has problems; the text holds each.
    """
    given = settings.flagd
    server = FlagdStoreServer(
        given.document,
        host=given.host,
        port=given.port,
        environment=given.environment,
        file=given.file or None,
        ofrep_port=given.ofrep_port or None,
        callers=Callers(origins=given.ofrep_origins, tokens=given.ofrep_tokens.get_secret_value().split()),
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
            telling = asyncio.ensure_future(_tell(settings, server.documents))
            try:
                await _say(server, status, following)
            finally:
                telling.cancel()
                await asyncio.wait({telling})
    finally:
        following.cancel()
        await asyncio.wait({following})


async def _tell(settings: Settings, documents: Documents) -> None:
    """Tell judge what is served, until cancelled. Whatever is wrong with that, it is no reason to serve nothing."""
    while True:
        try:
            # With a status of its own: who serves is ready whether or not Kafka can be written to.
            async with open_outlet(settings, "store", Status("store")) as outlet:
                await follow_shares(documents, _source(settings, outlet).tell)
        except Exception:
            log.exception("shares_not_followed")
        await asyncio.sleep(AGAIN_S)


def _source(settings: Settings, outlet: Outlet) -> Source:
    """The document as a source, under the name that receipts have for its store."""
    name, section = next((name, target) for name, target in settings.targets.items() if target.kind == "flagd")
    return source_of(settings, outlet, name, section)


async def _say(server: FlagdStoreServer, status: Status, following: asyncio.Future[None]) -> None:
    while not following.done():
        problems = server.problems
        status.ready(
            not problems,
            "; ".join(problems),
            target=server.target,
            **({"ofrep": server.ofrep.answered} if server.ofrep else {}),
            **({"file": server.file.written} if server.file else {}),
            clients=server.sync.connected,
            pushes=server.sync.pushes,
            revision=server.documents.revision,
        )
        await asyncio.wait({following}, timeout=0.5)
    following.result()
