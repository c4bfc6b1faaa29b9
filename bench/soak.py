"""
Half an hour under load: whether the memory of any worker grows, its open files, its tasks or its threads.

A real Kafka, ``guardian run`` with all its processes, outcomes at a part of what the installation keeps up with, and
again and again ten rollouts that are harmed and killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from bench import kill
from bench._stages import Kill, figures
from bench._stores import client_of
from bench.events import make_topics
from bench.memory import resident_mb
from demo.ports import free_ports
from streams.admin import ensure_topics
from streams.settings import Settings, load_settings
from tests.kafka import KafkaServer
from tests.support.pages import table
from tests.support.started import children

SECONDS = float(os.environ.get("SOAK_S", "1800"))
LOAD_PART = 0.6
EVERY_S = 5.0
PARTITIONS = 4
KEPT = {"retention_bytes": str(256 << 20), "segment_bytes": str(64 << 20)}
"""Of each partition of the inputs: half an hour of it is more than a disk may have."""
CHECK = {"log.retention.check.interval.ms": "5000"}
GROUPS = (kill.KILLS + kill.KILLS // 5) // 10
LIMIT_MB = 300.0
FLAT_MB_PER_MINUTE = 1.0
GROWN_MOST = {"files": 3.0, "tasks": 5.0, "threads": 2.0}
"""From the middle third to the last."""

Samples = dict[str, dict[str, list[float]]]
"""By worker, and by what was counted: ``at_s``, ``mb``, ``files``, ``tasks``, ``threads``."""


def run() -> dict[str, Any]:
    """``ours`` holds the largest megabytes of each worker; ``grown`` what is wrong: nothing, where all is flat."""
    return asyncio.run(_run())


async def _run() -> dict[str, Any]:
    with (
        tempfile.TemporaryDirectory(prefix="guardian-soak-") as made,
        KafkaServer.start(Path(made) / "kafka", properties=CHECK) as server,
    ):
        folder, bootstrap = Path(made), server.bootstrap
        ports = dict(zip(("store", "api", "health"), free_ports(3), strict=True))
        kill.write_settings(folder, bootstrap, ports, "flagd")
        make_topics(bootstrap, PARTITIONS, *Settings().topics.inputs, **KEPT)
        await ensure_topics(load_settings(folder / "guardian.yaml"), inputs=True)
        with kill.guardian(folder), client_of("flagd", folder, ports) as client:
            await kill.ready(ports["health"])
            capacity = await asyncio.to_thread(kill.capacity_of, bootstrap, ports["health"])
            with kill.load(bootstrap, LOAD_PART * capacity, SECONDS + 600.0):
                killing = asyncio.ensure_future(_kill_all_the_time(bootstrap, client))
                samples = await asyncio.to_thread(watch, ports["health"], SECONDS)
                lag = await asyncio.to_thread(kill.lag, ports["health"])
                restarts = children(ports["health"])
                killing.cancel()
                await asyncio.wait({killing})
                tried, made_kills = killing.result()
    return described(samples) | {
        "kills": figures([one.took_ms for one in made_kills]),
        "missed": tried - len(made_kills),
        "restarts": sum(child["restarts"] for child in restarts.values()),
        "lag_events": lag,
        "load_events_s": LOAD_PART * capacity,
        "seconds": SECONDS,
    }


def markdown(found: dict[str, Any]) -> str:
    """Return the figures as two tables: of each worker, and of the run."""
    one_of = {"MB": "{mb:.0f}", "MB a minute": "{mb_per_minute:.2f}", **{what: f"{{{what}:.0f}}" for what in GROWN_MOST}}
    workers = [(name, *(form.format(**found[name]) for form in one_of.values())) for name in found["ours"]]
    took = "median {p50_ms:.0f} ms, p99 {p99_ms:.0f} ms, at most {max_ms:.0f} ms".format(**found["kills"])
    of_run = [
        ("seconds, and outcomes a second", f"{found['seconds']:,.0f}, {found['load_events_s']:,.0f}", ""),
        ("what grew", found["grown"], f"nothing ({FLAT_MB_PER_MINUTE:g} MB a minute)"),
        ("workers that started again", str(found["restarts"]), "0"),
        ("kills, and those that were missed", f"{found['kills']['n']}, {found['missed']}", "none missed"),
        ("from the decisive event to the client", took, ""),
        ("events behind at the end", f"{found['lag_events']:,.0f}", ""),
    ]
    return f"{table(['worker', *one_of], workers)}\n\n{table(['the run', 'measured', 'limit'], of_run)}"


async def _kill_all_the_time(bootstrap: str, client: Any) -> tuple[int, list[Kill]]:
    """Harm ten rollouts at a time, evenly over the run; cancelled, return how many were tried whole, and their kills."""
    tried, done = 0, list[Kill]()
    with contextlib.suppress(asyncio.CancelledError):
        async with kill.producing(bootstrap) as producer:
            for group in range(GROUPS):
                next_s = time.monotonic() + SECONDS / GROUPS
                done += await kill.kills(producer, client, range(10 * group, 10 * group + 10))
                tried += 10
                await asyncio.sleep(max(next_s - time.monotonic(), 0.0))
    return tried, done


def watch(health_port: int, seconds: float) -> Samples:
    """Return what was counted of every worker, for so long."""
    samples: Samples = defaultdict(lambda: defaultdict(list))
    began_s = time.monotonic()
    while (at_s := time.monotonic() - began_s) < seconds:
        for name, child in children(health_port).items():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                for what, number in {"at_s": at_s, **counted(child)}.items():
                    samples[name][what].append(number)
        if int(at_s / 60) != int((at_s + EVERY_S) / 60):
            print({name: [round(of[-1]) for of in one.values()] for name, one in samples.items()}, file=sys.stderr, flush=True)
        time.sleep(EVERY_S)
    return samples


def counted(child: dict[str, Any]) -> dict[str, float]:
    """
    Return what a worker has of each now.

    Raises:
        FileNotFoundError: it is gone.
    """
    process = Path(f"/proc/{child['pid']}")
    return {
        "mb": resident_mb(child["pid"]),
        "files": float(sum(1 for _ in (process / "fd").iterdir())),
        "tasks": float(child["tasks"]),
        "threads": float(sum(1 for _ in (process / "task").iterdir())),
    }


def described(samples: Samples) -> dict[str, Any]:
    """Return the figures: of memory the slope a minute after the first third, of the rest medians of the last two thirds."""
    figures_of, grown = {}, []
    for name, one in samples.items():
        at_s = np.array(one["at_s"])
        third, last = at_s > SECONDS / 3, at_s > 2 * SECONDS / 3
        slope = float(np.polyfit(at_s[third] / 60, np.array(one["mb"])[third], 1)[0])
        figures_of[name] = {"mb": max(one["mb"]), "mb_per_minute": slope}
        grown += [f"{name}: memory {slope:.2f} MB a minute"] if slope >= FLAT_MB_PER_MINUTE else []
        for what, most in GROWN_MOST.items():
            found = np.array(one[what])
            middle, end = float(np.median(found[third & ~last])), float(np.median(found[last]))
            figures_of[name][what] = end
            grown += [f"{name}: {what} {middle:g} -> {end:g}"] if end - middle > most else []
    return {
        "ours": {name: one["mb"] for name, one in figures_of.items()},
        "limit": LIMIT_MB,
        "peers": {},
        "ratio_to_limit": None,
        "unit": "MB",
        **figures_of,
        "grown": ", ".join(grown) or "nothing",
    }
