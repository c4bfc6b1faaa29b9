"""The demo's processes together: shops and load for real, and no process left behind whatever happens."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import textwrap
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from demo.children import ChildFailed, Children
from demo.ports import free_ports
from demo.shop import FOLDER_OF_FLAGS
from tests.streams.instrument.kafka import data_of, eventually, read_until

ROOT = Path(__file__).parents[2]


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_shop_and_load_for_real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Users shop over HTTP, the flag's treatment fails once its build is deployed, and Kafka holds it all."""
    monkeypatch.chdir(ROOT)
    (port,) = free_ports(1)
    address = f"http://127.0.0.1:{port}"
    failed: list[str] = []
    async with Children(tmp_path) as children:
        broker = await children.start("broker", "-m", "streams.broker", talks=True)
        kafka = (await broker.said(30))["bootstrap"]
        flags = str(FOLDER_OF_FLAGS / "flags.json")
        shop_arguments = ("--port", str(port), "--kafka", kafka, "--flags", flags)
        await children.start("shop", "-m", "demo.shop", *shop_arguments, talks=True)
        async with aiohttp.ClientSession() as http:
            await eventually(lambda: _listens(port), 30)
            load_arguments = ("--shop", address, "--rate", "200", "--users", "300", "--seed", "1")
            load = await children.start("load", "-m", "demo.load", *load_arguments, talks=True)
            started = await load.said(30)
            async with http.post(f"{address}/admin/build", json={"checkout-v2": "2.0.1"}) as answer:
                answer.raise_for_status()
            async for said in load.lines():
                if said["event"] == "failed" and said["file"] == "checkout_v2_1.py":
                    failed.append(said["user"])
                if len(set(failed)) >= 3:
                    break
        records = await read_until(kafka, "flag.outcomes.v1", lambda records: set(failed) <= hurt(records))

    assert ("started", 300) == (started["event"], started["users"])
    assert set(failed) <= hurt(records)
    assert {"POST /checkout", "GET /search"} == {data_of(record)["operation"] for record in records}


def hurt(records: list[Any]) -> set[str]:
    """The units whose checkout failed under the treatment, as Kafka has it."""
    outcomes = [data_of(record) for record in records]
    return {
        outcome["context_id"]
        for outcome in outcomes
        if outcome["outcome"] == "error" and outcome["flags"].get("checkout-v2") == "treatment"
    }


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def test_leaving_ends_every_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Processes end with the context, those that ignore SIGTERM and those they started too."""
    stubborn = textwrap.dedent("""
        import json, signal, subprocess, sys, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        print(json.dumps({"pid": grandchild.pid}), flush=True)
        time.sleep(600)
    """)
    monkeypatch.setattr("demo.children.END_S", 0.3)
    async with Children(tmp_path) as children:
        child = await children.start("stubborn", "-c", stubborn, talks=True)
        grandchild = (await child.said(30))["pid"]
    await eventually(lambda: not is_alive(grandchild))

    assert -signal.SIGKILL == child.process.returncode


async def test_a_child_that_ends_is_told_with_its_log(tmp_path: Path):
    """A process that ends by itself is named, with the end of its log."""
    async with Children(tmp_path) as children:
        await children.start("brief", "-c", "import sys; sys.exit('the disk is full')")
        with pytest.raises(ChildFailed, match=r"brief ended with code 1(.|\n)*the disk is full"):
            await asyncio.wait_for(children.watch(), 30)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells a child that its parent died")
async def test_children_end_with_a_director_that_is_killed(tmp_path: Path):
    """When the director dies without a word its processes end."""
    director = textwrap.dedent(f"""
        import asyncio, json
        from pathlib import Path
        from demo.children import Children
        async def main():
            async with Children(Path({str(tmp_path)!r})) as children:
                child = await children.start("sleeper", "-c", "import time; time.sleep(600)")
                print(json.dumps({{"pid": child.process.pid}}), flush=True)
                await asyncio.sleep(600)
        asyncio.run(main())
    """)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", director, stdout=asyncio.subprocess.PIPE, cwd=ROOT, env={**os.environ}
    )
    assert process.stdout is not None
    child = json.loads(await asyncio.wait_for(process.stdout.readline(), 30))["pid"]
    assert is_alive(child)
    process.kill()
    await process.wait()
    await eventually(lambda: not is_alive(child))
