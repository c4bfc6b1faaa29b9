"""
The faces of the flagd store alone: from a decision to each face's client, and how many requests a second OFREP answers.

The server runs in this process, as in the process ``store``; clients of OFREP in one of their own.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp

from bench._stores import client_of
from streams.loops import new_loop
from streams.stores.flagd.server import FlagdStoreServer

KILLS = int(os.environ.get("BENCH_KILLS", "50"))
FLAGS, CONNECTIONS, SECONDS = 100, 16, 4.0
FACES = ("flagd", "file", "ofrep")


def run() -> dict[str, Any]:
    """Milliseconds from a decision to an evaluation that obeys it, by face; requests a second, of a flag and of all 100."""
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(_run())


async def _run() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        split = {"fractional": [{"var": "targetingKey"}, ["control", 90], ["treatment", 10]]}
        flag = {"state": "ENABLED", "variants": {"control": "old", "treatment": "new"}, "defaultVariant": "control"}
        flags = {f"flag-{number}": {**flag, "targeting": split} for number in range(FLAGS)}
        (folder / "flags.json").write_text(json.dumps({"flags": flags}))
        served = folder / "served.json"
        async with FlagdStoreServer(folder / "flags.json", port=0, file=served, ofrep_port=0) as server:
            assert server.ofrep is not None
            ports = {"store": server.sync.port, "other": server.ofrep.port}
            found: dict[str, Any] = {"unit": "ms, requests/s", "version": 0}
            for face in FACES:
                found[face] = await _kills(server, face, folder, ports, first=found.pop("version") + 1)
                found["version"] = found[face].pop("version")
            del found["version"]
            for what in ("one", "all", "unchanged"):
                found[f"ofrep {what}"] = {"per_s": await _rate(server.ofrep.port, what)}
    return found


async def _kills(
    server: FlagdStoreServer, face: str, folder: Path, ports: dict[str, int], first: int
) -> dict[str, Any]:
    """Decide again and again; return how long each took to be seen by a client that evaluates all the time."""
    took_ms = []
    opened = client_of(face, folder, ports)
    client = await asyncio.to_thread(opened.__enter__)
    for number in range(first, first + KILLS):
        waiting = asyncio.create_task(asyncio.to_thread(_seen, client, f"0+g{number}"))
        await asyncio.sleep(0.05)
        began_s = time.perf_counter()
        killed = {"treatment": "control"} if number % 2 else {}
        record = {"flag_key": "flag-7", "environment": "production", "version": number, "command_id": f"c{number}"}
        server.apply_overlay({**record, "killed": killed})
        took_ms.append((await waiting - began_s) * 1_000)
    await asyncio.to_thread(opened.__exit__, None, None, None)
    return {"p50": statistics.median(took_ms), "max": max(took_ms), "n": KILLS, "version": number}


def _seen(client: Any, version: str) -> float:
    from openfeature.evaluation_context import EvaluationContext

    until_s = time.monotonic() + 20.0
    while client.get_string_details("flag-7", "", EvaluationContext("u1")).flag_metadata.get("version") != version:
        if time.monotonic() > until_s:
            raise TimeoutError(f"{version} was not seen within 20 s")
        time.sleep(0.0005)
    return time.perf_counter()


async def _rate(port: int, what: str) -> float:
    """Answers a second to clients of another process."""
    command = [sys.executable, "-m", "bench.faces", str(port), what]
    done = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    said, _ = await done.communicate()
    return float(said)


async def _ask(port: int, what: str) -> None:
    """Ask over some connections for a while, and print how many answers came a second."""
    url = f"http://127.0.0.1:{port}/ofrep/v1/evaluate/flags{'/flag-7' if what == 'one' else ''}"
    body = {"context": {"targetingKey": "u1", "plan": "free", "country": "CA"}}
    until_s, answers = time.perf_counter() + SECONDS, 0

    async def ask(session: aiohttp.ClientSession) -> None:
        nonlocal answers
        headers: dict[str, str] = {}
        while time.perf_counter() < until_s:
            async with session.post(url, json=body, headers=headers) as response:
                await response.read()
                assert response.status in (200, 304)
                if what == "unchanged" and "ETag" in response.headers:
                    headers = {"If-None-Match": response.headers["ETag"]}
            answers += 1

    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(ask(session) for _ in range(CONNECTIONS)))
    print(answers / SECONDS)


if __name__ == "__main__":
    asyncio.run(_ask(int(sys.argv[1]), sys.argv[2]))
