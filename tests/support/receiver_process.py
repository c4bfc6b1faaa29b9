"""The strict receiver as a process of its own, that a test starts, ends without a warning, and tells what goes wrong next."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import aiohttp

from demo.ports import free_ports
from tests.support.movers import until
from tests.support.receiver import Fault

HALVES = {"control": 0.5, "treatment": 0.5}


class ReceiverProcess:
    """Flags that stand in a file of *folder*, split in halves, behind a receiver that may be down."""

    def __init__(self, folder: Path, *flags: str) -> None:
        self._path, self.port = folder / "store.json", free_ports(1)[0]
        self.url = f"http://127.0.0.1:{self.port}/hidden-in-the-path/flags"
        self._process: subprocess.Popen[bytes] | None = None
        stored = {f"production|{flag}": {"enabled": True, "shares": HALVES, "rings": {}, "changed_by": "ada"} for flag in flags}
        self._path.write_text(json.dumps({"flags": stored, "effects": []}))

    @property
    def effects(self) -> list[dict[str, Any]]:
        """Every change that the store has ever made, in their order."""
        return list(json.loads(self._path.read_text())["effects"])

    def share(self, flag: str) -> float:
        """What the treatment gets."""
        return float(json.loads(self._path.read_text())["flags"][f"production|{flag}"]["shares"]["treatment"])

    async def up(self) -> None:
        """Start it, and wait until it answers."""
        self._start()

        async def answers() -> bool:
            async with aiohttp.ClientSession() as session:
                try:
                    async with session.get(f"http://127.0.0.1:{self.port}/_says") as said:
                        return said.status == 200
                except aiohttp.ClientError:
                    return False

        for _ in range(400):
            if await answers():
                return
            await asyncio.sleep(0.05)
        raise AssertionError("the receiver does not answer within 20 s")

    def _start(self) -> None:
        command = [sys.executable, "-m", "tests.support.receiver", str(self.port), str(self._path)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def down(self) -> None:
        """End it as the kernel would; connections are refused from then on."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    async def fail(self, **faults: list[Fault]) -> None:
        """What goes wrong from now on, by flag; nothing with all others."""
        told = {flag: [asdict(one) for one in given] for flag, given in faults.items()}
        async with aiohttp.ClientSession() as session, session.post(f"http://127.0.0.1:{self.port}/_told", json=told) as said:
            assert said.status == 200

    async def until_killed(self, flag: str, within_s: float = 20.0) -> None:
        await until(lambda: self.share(flag) == 0.0, within_s=within_s, what=f"{flag} is killed in the store")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.down()


class FileFlags:
    """What services of such a store evaluate flags by: the shares in its file, and a hash of the user."""

    def __init__(self, receiver: ReceiverProcess) -> None:
        self._receiver = receiver

    def get_string_details(self, flag: str, _: str, user: Any) -> Any:
        bucket = zlib.crc32(f"{flag}|{user.targeting_key}".encode()) % 1_000 / 1_000
        variant = "treatment" if bucket < self._receiver.share(flag) else "control"
        return SimpleNamespace(variant=variant, flag_metadata={})


def of(effects: Iterable[Mapping[str, Any]], flag: str) -> list[str]:
    """The commands that have changed a flag."""
    return [str(one["command_id"]) for one in effects if one["flag"] == flag]
