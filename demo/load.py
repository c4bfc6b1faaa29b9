"""
The load: users of the shop, in a process of their own, over real HTTP with keep-alive.

It sends at a fixed rate, whatever the shop answers, and says in lines of JSON
on stdout what users meet: ``failed`` for each checkout of the treatment that
failed, ``served`` for the first checkout by control of a user who had had
treatment before, ``tick`` every second with counts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import time
from collections.abc import Sequence
from itertools import count
from typing import Any

import aiohttp

from demo.users import Crowd, Step, User

FLAG = "checkout-v2"
TICK_S = 0.02
MOST_AT_ONCE = 64
PRESENT = 100
"""Users in the shop at any moment."""


class Load:
    """Lets a crowd loose on the shops; a user stays with one shop, where the cart is."""

    def __init__(self, crowd: Crowd, shops: Sequence[str], per_s: float, rng: random.Random) -> None:
        self._crowd = crowd
        self._shops = shops
        self._per_s = per_s
        self._rng = rng
        self._treated: set[str] = set()
        self._has_said_served = False
        self._asked: set[asyncio.Task[None]] = set()
        names = ("requests", "unanswered", "skipped", "control", "treatment", "control_failed", "treatment_failed")
        self.counts = dict.fromkeys(names, 0)

    async def run(self, stop: asyncio.Event) -> None:
        """Ask until ``stop``; when the shops are too slow, requests are skipped and counted, not piled up."""
        connector = aiohttp.TCPConnector(limit=MOST_AT_ONCE, keepalive_timeout=60)
        timeout = aiohttp.ClientTimeout(total=10)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as http:
            began_s, sent = time.monotonic(), 0
            ticking = asyncio.create_task(self._tick())
            while not stop.is_set():
                due = int((time.monotonic() - began_s) * self._per_s)
                for _ in range(due - sent):
                    self._begin(http)
                sent = due
                await asyncio.sleep(TICK_S)
            ticking.cancel()
            await asyncio.gather(*self._asked, return_exceptions=True)

    def _begin(self, http: aiohttp.ClientSession) -> None:
        if len(self._asked) >= MOST_AT_ONCE:
            self.counts["skipped"] += 1
            return
        user = self._crowd.clicks()
        if user is None:
            self.counts["skipped"] += 1
            return
        user.is_busy = True
        task = asyncio.create_task(self._ask(http, user, user.next()))
        self._asked.add(task)
        task.add_done_callback(self._asked.discard)

    async def _ask(self, http: aiohttp.ClientSession, user: User, step: Step) -> None:
        shop = self._shops[user.number % len(self._shops)]
        headers = {"x-user": user.name, "x-session": user.session}
        body = {"sku": step.sku, "quantity": 1} if step.sku else None
        self.counts["requests"] += 1
        try:
            async with http.request(step.method, shop + step.path, headers=headers, json=body) as response:
                answer = await response.json()
                if step.is_checkout:
                    self._checked_out(user, response, answer)
        except (aiohttp.ClientError, TimeoutError):
            self.counts["unanswered"] += 1
            user.leave()
        finally:
            user.is_busy = False

    def _checked_out(self, user: User, response: aiohttp.ClientResponse, answer: dict[str, Any]) -> None:
        served_ms = int(response.headers.get("x-served-ms", "0"))
        variant = response.headers.get("x-flags", "").removeprefix(f"{FLAG}=")
        if variant in self.counts:
            self.counts[variant] += 1
        if variant == "treatment":
            self._treated.add(user.name)
        elif variant == "control" and user.name in self._treated and not self._has_said_served:
            self._has_said_served = True
            say("served", at_ms=served_ms, user=user.name, shop=str(response.url.origin()))
        if response.status >= 500:
            self.counts[f"{variant}_failed"] += 1
            if variant == "treatment":
                say("failed", at_ms=served_ms, user=user.name, **answer)
            if self._rng.random() < 0.5:
                user.retry()

    async def _tick(self) -> None:
        for second in count(1):
            await asyncio.sleep(1)
            say("tick", second=second, counts=self.counts)


def say(event: str, **fields: Any) -> None:
    """Print one line of JSON."""
    print(json.dumps({"event": event, **fields}), flush=True)


async def _run(options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    rng = random.Random(options.seed)
    crowd = Crowd(options.users, PRESENT, rng)
    load = Load(crowd, options.shop, options.rate, rng)
    say("started", at_ms=int(time.time() * 1000), users=options.users, per_s=options.rate)
    await load.run(stop)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m demo.load", description=__doc__)
    parser.add_argument("--shop", action="append", required=True, help="http://host:port; repeat for more than one")
    parser.add_argument("--rate", type=float, default=450, help="requests a second")
    parser.add_argument("--users", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=None)
    asyncio.run(_run(parser.parse_args(arguments)))


if __name__ == "__main__":
    main()
