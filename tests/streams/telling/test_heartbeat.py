from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web
from structlog.testing import capture_logs

from streams.changelog import changelog_topic
from streams.outlet import open_outlet
from streams.status import Status
from streams.telling.heartbeat import Heartbeats, JudgeBeats
from tests.support.cluster import Cluster
from tests.support.page import hand, until


class Watch:
    """Whoever notices the silence: an address that counts its calls, and answers as it is told to."""

    def __init__(self) -> None:
        self.url = ""
        self.calls: list[str] = []
        self.status = 200

    async def take(self, request: web.Request) -> web.Response:
        self.calls.append(request.method)
        return web.Response(status=self.status)


@asynccontextmanager
async def watching() -> AsyncIterator[Watch]:
    watch = Watch()
    app = web.Application()
    app.router.add_route("*", "/s3cr3t", watch.take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    watch.url = f"http://127.0.0.1:{runner.addresses[0][1]}/s3cr3t"
    try:
        yield watch
    finally:
        await runner.cleanup()


def test_judge_is_heard_where_every_partition_moves():
    """
    The first look says nothing; then each partition must have moved lately, and one that stands still is named.
    """
    now = [100.0]
    beats = JudgeBeats(silent_s=60.0, now=lambda: now[0])
    looks: list[tuple[int, dict[int, int]]] = [
        (0, {}), (0, {0: 5, 1: 9}), (1, {0: 6, 1: 9}), (1, {0: 6, 1: 10}), (50, {0: 7, 1: 10}), (20, {0: 8, 1: 10}),
    ]  # fmt: skip
    heard = []
    for passed_s, ends in looks:
        now[0] += passed_s
        beats.take(ends)
        heard.append((beats.is_heard, beats.silent))

    assert [(False, []), (False, [0, 1]), (False, [1]), (True, []), (True, []), (False, [1])] == heard


async def test_it_beats_while_all_is_well_and_leaves_off():
    """
    The address is called again and again while all is well, and no more when it is not; its address is in no log.
    """
    well = True
    async with watching() as watch, aiohttp.ClientSession() as session:
        calling = Heartbeats(session, url=watch.url, every_s=0.02, method="POST", is_well=lambda: well)
        with capture_logs() as logs:
            running = asyncio.create_task(calling.run())
            await until(lambda: len(watch.calls) >= 3, "three beats")
            watch.status = 500
            await until(lambda: "heartbeat_not_taken" in str(logs), "what is not taken is said")
            well = False
            await until(lambda: "heartbeat_withheld" in str(logs), "it leaves off")
            said = len(watch.calls)
            for _ in range(20):
                await asyncio.sleep(0.005)
            running.cancel()

    assert said == len(watch.calls)
    assert {"POST"} == set(watch.calls)
    assert "s3cr3t" not in str(logs)


async def test_judge_is_followed_in_kafka(embedded_kafka: str):
    """
    What judge keeps of each partition is heard, without reading it.
    """
    given = Cluster(embedded_kafka, embedded=True).settings(partitions=2)
    beats = JudgeBeats()
    async with hand(given), open_outlet(given, "test", Status("test")) as outlet:
        following = asyncio.create_task(beats.follow(given, outlet, look_s=0.02))
        await until(lambda: beats.silent, "the first look")
        for number in range(await outlet.partitions(changelog_topic(given))):
            assert not beats.is_heard
            await outlet.send(changelog_topic(given), "k", b"v", partition=number)
        await until(lambda: beats.is_heard, "both partitions are heard")
        following.cancel()
        await asyncio.wait({following})
