"""Togglz for tests: a real Spring Boot application, from Maven Central; ``pom.xml`` and ``App.java`` are all of it."""

from __future__ import annotations

import atexit
import base64
import functools
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import aiohttp

from demo.ports import free_ports
from streams.stores.togglz import TogglzSection
from tests.kafka.server import dies_with
from tests.kafka.ways import why_no_java
from tests.support.maven import cached, copied

VERSION = "4.4.0"
FEATURES = ("checkout-v2", "new-search")
LOGIN = ("guardian", "not-a-secret")
READY_S = 60.0
_LOGIN_HEADER = {"authorization": "Basic " + base64.b64encode(":".join(LOGIN).encode()).decode()}
_NAME = f"togglz-{VERSION}"
_HERE = Path(__file__).parent


@functools.cache
def why_not() -> str:
    """Why Togglz cannot be run here; empty if it can."""
    return why_no_java(cached(_NAME), "Togglz")


def section(**fields: Any) -> TogglzSection:
    """Settings for the application of this test process."""
    username, password = LOGIN
    given = {"url": f"{address()}/actuator", "username": username, "password": password, "control": "control"}
    return TogglzSection(kind="togglz", **{**given, "variation": "treatment", **fields})


async def edit(session: aiohttp.ClientSession, feature: str = "checkout-v2", **fields: Any) -> None:
    """A person's change: ``enabled``, ``strategy``, ``parameters``."""
    async with session.post(f"{address()}/actuator/togglz/{feature}", json=fields, headers=_LOGIN_HEADER) as answer:
        assert 200 == answer.status, await answer.text()


async def percent(session: aiohttp.ClientSession, percentage: int | str, feature: str = "checkout-v2") -> None:
    """A person's change of the percentage, with all else that it takes."""
    await edit(session, feature, enabled=True, strategy="gradual", parameters=f"percentage={percentage}")


async def treated(session: aiohttp.ClientSession, feature: str = "checkout-v2") -> int:
    """How many of 1,000 users have the feature, as the application itself finds."""
    async with session.get(f"{address()}/treated", params={"flag": feature}) as answer:
        count: int = (await answer.json())["treated"]
        return count


def launch(workdir: Path, port: int, **properties: str) -> subprocess.Popen[bytes]:
    """Start the application, whose *properties* are Spring's, with _ for dots; its log is ``togglz.log`` in *workdir*."""
    given = {
        "server.address": "127.0.0.1",
        "server.port": str(port),
        "spring.main.banner-mode": "off",
        "management.endpoints.web.exposure.include": "togglz",
        **{f"togglz.features.{feature}.enabled": "false" for feature in FEATURES},
        **{name.replace("_", "."): value for name, value in properties.items()},
    }
    jars = copied(_NAME, (_HERE / "pom.xml").read_text())
    # A short-lived application gains more from a quick start than from the best compiler.
    java = ["java", "-Xmx160m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{jars}/*"]
    options = [f"--{name}={value}" for name, value in given.items()]
    with Path(workdir, "togglz.log").open("ab") as log:
        return subprocess.Popen(
            [*dies_with(os.getpid()), *java, str(_HERE / "App.java"), *options], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )


def wait(process: subprocess.Popen[bytes], workdir: Path, port: int) -> None:
    """
    Return once it takes requests.

    Raises:
        RuntimeError: it does not; the text holds what it said.
    """
    deadline_s = time.monotonic() + READY_S
    while not _answers(port):
        if process.poll() is not None or time.monotonic() > deadline_s:
            process.kill()
            process.wait()
            raise RuntimeError(f"Togglz does not start:\n{Path(workdir, 'togglz.log').read_text(errors='replace')[-4000:]}")
        time.sleep(0.05)


@functools.cache
def address() -> str:
    """Where the application of this test process answers; the first call starts it, and it ends with the process."""
    workdir = tempfile.TemporaryDirectory(prefix="guardian-togglz-")
    (port,) = free_ports(1)
    process = launch(Path(workdir.name), port)

    def end() -> None:
        process.kill()
        process.wait()
        workdir.cleanup()

    atexit.register(end)
    wait(process, Path(workdir.name), port)
    return f"http://127.0.0.1:{port}"


def _answers(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/treated?flag=checkout-v2", timeout=1.0):
            return True
    except HTTPError:
        return True
    except (URLError, OSError):
        return False
