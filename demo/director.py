"""
The director: starts every process of the demo, ships the bug, and tells what follows.

Everything it knows of the guardian it reads where any service could: health
over HTTP, decisions and receipts in Kafka. It decides nothing.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import aiohttp

from demo.children import Child, ChildFailed, Children
from demo.follow import follow
from demo.narrator import Narrator, now_ms
from demo.ports import HOST, free_ports
from demo.story import BAD_FLAG, GOOD_FLAG, Story

FOLDER = Path(__file__).parent
GUARDIAN = ("-m", "streams.apps.cli", "run", "--config")
SHOPS = 2
START_S = 60.0
HEALTHY_S = 5.0
"""Traffic before the bug ships, at least: the guardian should have seen what is normal."""
PATIENCE_S = 20.0
"""Time for the kill after the bug shipped (or would have), at least, however short the demo was asked to be."""
SHIP_AFTER_S = 15.0


class Director:
    """Runs the demo once; ``seconds`` is how long, ``None`` until Ctrl-C."""

    def __init__(self, seconds: float | None, *, with_bug: bool) -> None:
        self._seconds = seconds
        self._with_bug = with_bug
        self._narrator = Narrator()
        self._story = Story(self._narrator)
        self._tell = self._narrator.tell
        self._shops: list[str] = []
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[Any]] = []
        self._began_s = time.monotonic()

    async def run(self) -> int:
        """Return the exit code: 0 only if what should happen did, and nothing else."""
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self._stop.set)
        directory = Path(tempfile.mkdtemp(prefix="rollout-guardian-demo-"))
        try:
            complaints = await self._play(directory)
        except ChildFailed as err:
            complaints = [str(err)]
        for line in self._story.last_lines(with_bug=self._with_bug):
            print(line, flush=True)
        if not complaints:
            shutil.rmtree(directory, ignore_errors=True)
            return 0
        for complaint in complaints:
            print(f"NOT AS IT SHOULD BE: {complaint}", flush=True)
        print(f"the logs of all processes are in {directory}", flush=True)
        return 1

    async def _play(self, directory: Path) -> list[str]:
        async with Children(directory) as children:
            playing = asyncio.create_task(self._acts(children))
            stopping = asyncio.create_task(self._stop.wait())
            try:
                await asyncio.wait({playing, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if playing.done():
                    playing.result()
            finally:
                for task in (playing, stopping, *self._tasks):
                    task.cancel()
                await asyncio.gather(playing, stopping, *self._tasks, return_exceptions=True)
        return self._story.complaints(with_bug=self._with_bug)

    async def _acts(self, children: Children) -> None:
        await self._set_the_stage(children)
        self._background(children.watch())
        traffic_s = time.monotonic()
        ship_s = max(self._began_s + (self._seconds / 3 if self._seconds else SHIP_AFTER_S), traffic_s + HEALTHY_S)
        await self._until(ship_s)
        if self._with_bug:
            await self._ship()
        await self._until(ship_s + PATIENCE_S, lambda: self._story.is_told)
        if self._seconds is None:
            self._tell("demo", "goes on: look at the page; Ctrl-C ends it")
            await self._until(float("inf"))
        else:
            await self._until(self._began_s + self._seconds)

    async def _set_the_stage(self, children: Children) -> None:
        flagd, page, health, *ports = free_ports(3 + SHOPS)
        settings = settings_of(flagd=flagd, page=page, health=health)
        guardian = await children.start("guardian", *GUARDIAN, str(FOLDER / "guardian.yaml"), env=settings)
        self._tell("guardian", f"starts; its page: http://{HOST}:{page}/")
        bootstrap = (await guardian.logged("embedded_broker_started", START_S))["bootstrap"]
        self._tell("broker", f"an embedded Kafka is up at {bootstrap}")
        shops = await self._start_shops(children, ports, bootstrap, f"{HOST}:{flagd}")
        await self._answers(guardian, f"http://{HOST}:{health}/readyz")
        self._tell("guardian", f"is ready, and watches {BAD_FLAG} and {GOOD_FLAG} with 10 % of users in each")
        self._background(follow(bootstrap, self._story.hear_decision, self._story.hear_receipt))

        for shop, address in zip(shops, self._shops, strict=True):
            await self._answers(shop, f"{address}/healthz")
            self._background(self._listen(shop, self._story.hear_shop))
        self._tell("shop", f"is open, {len(shops)} processes, flags by OpenFeature from the guardian's flagd-sync")
        arguments = [f"--shop={shop}" for shop in self._shops]
        load = await children.start("load", "-m", "demo.load", *arguments, talks=True)
        started = await load.said(START_S)
        self._story.hear_load(started)
        self._background(self._listen(load, self._story.hear_load))
        self._tell("users", f"{started['users']:,} of them come, {started['per_s']:.0f} requests a second")

    async def _start_shops(self, children: Children, ports: list[int], bootstrap: str, flags: str) -> list[Child]:
        shops = []
        for number, port in enumerate(ports, 1):
            arguments = ("--name", f"shop-{number}", "--port", str(port), "--kafka", bootstrap, "--flags", flags)
            shops.append(await children.start(f"shop-{number}", "-m", "demo.shop", *arguments, talks=True))
            self._shops.append(f"http://{HOST}:{port}")
        return shops

    async def _ship(self) -> None:
        async with aiohttp.ClientSession() as http:
            for shop in self._shops:
                async with http.post(f"{shop}/admin/build", json={BAD_FLAG: "2.0.1"}) as answer:
                    answer.raise_for_status()
        self._story.shipped_ms = now_ms()
        self._tell("release", f"the shop deploys {BAD_FLAG} 2.0.1: to the 10 % who have the flag's treatment")

    async def _answers(self, child: Child, address: str) -> None:
        """Wait until ``address`` answers 200."""
        until_s = time.monotonic() + START_S
        last = "nobody listens"
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as http:
            while time.monotonic() < until_s:
                if child.process.returncode is not None:
                    raise ChildFailed(f"{child.name} ended with code {child.process.returncode}{child.tail()}")
                try:
                    async with http.get(address) as answer:
                        if answer.status == 200:
                            return
                        last = unready(await answer.text())
                except (aiohttp.ClientError, TimeoutError):
                    pass
                await asyncio.sleep(0.05)
        raise ChildFailed(f"{child.name} is not ready after {START_S:.0f} s: {last}{child.tail()}")

    async def _until(self, moment_s: float, holds: Callable[[], bool] = lambda: False) -> None:
        """Wait for a moment of the monotonic clock, or until ``holds``; raises what a background task raised."""
        while time.monotonic() < moment_s and not holds():
            left_s = min(0.05, moment_s - time.monotonic())
            done, _ = await asyncio.wait(self._tasks, timeout=left_s, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
                self._tasks.remove(task)

    @staticmethod
    async def _listen(child: Child, hear: Callable[[dict[str, Any]], None]) -> None:
        async for said in child.lines():
            hear(said)

    def _background(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(work))


def unready(answer: str) -> str:
    """Return who is not ready and why, from the answer of the guardian's ``/readyz``."""
    try:
        said = json.loads(answer)
        waiting = [f"it waits for {said['waiting_for']}"] if said["waiting_for"] else []
        children = said["children"].items()
        return "; ".join(waiting + [f"{name}: {child['why']}" for name, child in children if not child["ready"]])
    except (ValueError, KeyError, TypeError):
        return answer.strip()[:200]


def settings_of(*, flagd: int, page: int, health: int) -> dict[str, str]:
    """Return the guardian's settings that only this run knows, as environment variables."""
    return {
        "GUARDIAN_POLICIES": str(FOLDER / "policies"),
        "GUARDIAN_FLAGD__DOCUMENT": str(FOLDER / "flags.json"),
        "GUARDIAN_FLAGD__HOST": HOST,
        "GUARDIAN_FLAGD__PORT": str(flagd),
        "GUARDIAN_API__HOST": HOST,
        "GUARDIAN_API__PORT": str(page),
        "GUARDIAN_HEALTH__HOST": HOST,
        "GUARDIAN_HEALTH__PORT": str(health),
        "GUARDIAN_LOG__JSON_LINES": "true",
    }
