"""`guardian run` as people run it: children that die, a broker that is away, a supervisor that is told or killed."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from streams import forking, supervisor
from streams.scaling import Scaling
from tests.support.movers import until
from tests.support.running import Guardian


def pids(said: dict[str, Any]) -> dict[str, int]:
    return {name: child["pid"] for name, child in said["children"].items()}


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A process whose parent has not looked yet is dead all the same.
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.fixture
def flags(tmp_path: Path) -> dict[str, Any]:
    """Settings for a flag store of the test's own, on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return {"flagd": {"port": port, "document": "config/flags.json"}}


@pytest.mark.timeout(150)
async def test_children_are_ready_restarted_and_ended(tmp_path, flags):
    """All become ready; one that is killed is started again; told to end, all are gone within 5 s with exit code 0."""
    with Guardian(tmp_path, "--embedded", "--only", "store,act", settings=flags) as guardian:
        first = pids(await guardian.until(lambda status, said: status == 200 and said, "ready"))
        os.kill(first["act"], signal.SIGKILL)
        again = await guardian.until(
            lambda status, said: said["children"]["act"]["restarts"] == 1 and status == 200 and said, "ready again"
        )
        _, metrics = await guardian.get("/metrics")
        started_s = time.monotonic()
        guardian.process.send_signal(signal.SIGTERM)
        code = await asyncio.to_thread(guardian.process.wait, 10)

        assert (0, True) == (code, time.monotonic() - started_s < 5), guardian.said.read_text()
        assert first["store"] == pids(again)["store"]
        assert not [pid for pid in {*first.values(), *pids(again).values()} if lives(pid)]
        assert 'guardian_restarts_total{child="act"} 1.0' in metrics


@pytest.mark.timeout(120)
async def test_children_end_with_a_supervisor_that_is_killed(tmp_path, flags):
    """A supervisor that dies without a word leaves nothing running, not even its broker."""
    with Guardian(tmp_path, "--embedded", "--only", "store", settings=flags) as guardian:
        said = await guardian.until(lambda status, said: status == 200 and said, "ready")
        guardian.process.kill()

        await until(lambda: not lives(pids(said)["store"]), within_s=10, what="the child is gone")


@pytest.mark.timeout(120)
async def test_without_kafka_it_lives_and_waits(tmp_path):
    """While no broker answers, it is alive but not ready, says what it waits for, and ends when told."""
    settings = {"kafka": {"bootstrap": "127.0.0.1:1"}}
    with Guardian(tmp_path, "--only", "judge", settings=settings) as guardian:
        alive, _ = await guardian.get("/healthz")
        waits = "topics in Kafka at 127.0.0.1:1"
        status = await guardian.until(lambda status, said: said["waiting_for"] == waits and status, "waits")
        guardian.process.send_signal(signal.SIGTERM)

        assert (200, 503) == (alive, status)
        assert 0 == await asyncio.to_thread(guardian.process.wait, 10), guardian.said.read_text()


def store_alone(folder: Path, flags: dict[str, Any], bootstrap: str) -> supervisor.Supervisor:
    """A supervisor of one child on the embedded broker, not started."""
    config = folder / "guardian.yaml"
    kafka = {"bootstrap": bootstrap, "embedded": True}
    config.write_text(yaml.safe_dump({**flags, "kafka": kafka, "log": {"level": "error"}}))
    forking.warm_up()
    return supervisor.Supervisor(["store"], str(config))


async def test_child_that_hangs_is_killed_and_started_again(tmp_path, flags, embedded_kafka, monkeypatch):
    """A child that says nothing for long is taken for dead: stopped, it would keep its partitions to itself."""
    monkeypatch.setattr(supervisor, "SILENT_S", 2.5)
    monkeypatch.setattr(supervisor, "STARTING_S", 15.0)
    supervised = store_alone(tmp_path, flags, embedded_kafka)
    [child] = supervised.children
    supervised.start()
    supervised.go({})
    try:
        await until(lambda: child.ready, within_s=40, what="ready")
        # As if its start, which is granted more time, were long ago.
        child.silent_from_s = time.monotonic() + supervisor.SILENT_S
        os.kill(child.process.pid, signal.SIGSTOP)

        await until(lambda: child.restarts == 1 and child.ready, within_s=40, what="ready again")
    finally:
        await supervised.stop()
    assert not child.alive


async def test_child_that_is_slow_to_start_has_more_time_in_its_next_life(tmp_path, flags, embedded_kafka, monkeypatch):
    """On a machine that is full nobody is killed again and again for starting slowly; once ready, all is as before."""
    monkeypatch.setattr(supervisor, "SILENT_S", 2.5)
    supervised = store_alone(tmp_path, flags, embedded_kafka)
    [child] = supervised.children
    child.starting_s = 3.0
    supervised.start()
    supervised.go({})
    try:
        await until(lambda: child.alive, within_s=40, what="started")
        os.kill(child.process.pid, signal.SIGSTOP)
        await until(lambda: child.restarts == 1, within_s=40, what="killed for saying nothing")
        given_s = child.starting_s
        await until(lambda: child.ready, within_s=40, what="ready")
    finally:
        await supervised.stop()

    assert (6.0, supervisor.STARTING_S) == (given_s, child.starting_s)


@pytest.mark.parametrize(
    ("arguments", "settings", "said"),
    [
        (["--only", "jugde"], {}, "--only: 'jugde': is no processor; write some of store, observe"),
        ([], {"health": {"prot": 1}, "kafka": {"bootstrap": "nowhere"}}, "health.prot"),
        ([], {"policies": ["nowhere"]}, "nowhere"),
    ],
)
def test_what_people_wrote_wrong_is_said_at_once(tmp_path, arguments, settings, said):
    """Settings, policies and names that cannot be used: every error is printed, and the exit code is 2."""
    with Guardian(tmp_path, *arguments, settings=settings) as guardian:
        code = guardian.process.wait(40)

    assert (2, True) == (code, said in guardian.said.read_text()), guardian.said.read_text()


@pytest.mark.timeout(120)
async def test_a_worker_that_is_added_is_kept_and_ended(tmp_path):
    """Another worker of a processor is a process of its own, seen at /readyz, started again when it dies, and ended with all."""

    class Once(Scaling):
        def due(self, numbers: Any) -> list[str]:
            return ["observe-2"] if set(numbers) == {"observe"} else []

    config = tmp_path / "guardian.yaml"
    config.write_text(yaml.safe_dump({"kafka": {"bootstrap": "127.0.0.1:9"}}))
    one = supervisor.Supervisor(["observe"], str(config), Once("observe", 2))
    one.start()
    one.go({})

    def waits() -> Any:
        said = one.readiness()["children"].get("observe-2", {})
        return "waiting for Kafka" in said.get("why", "") and said

    try:
        first = (await until(waits, within_s=60, what="it waits for Kafka"))["pid"]
        os.kill(first, signal.SIGKILL)
        await until(lambda: one.readiness()["children"]["observe-2"]["restarts"] == 1, within_s=20, what="it is started again")
        second = (await until(waits, within_s=60, what="it waits for Kafka again"))["pid"]
    finally:
        await one.stop()

    assert first != second
    assert not lives(second)
