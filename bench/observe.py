"""
How many outcomes a second one core takes from Kafka to the journal, beside reading alone and beside others.

CloudEvents of some 420 bytes, each under two flags whose plans want the
histogram of latencies, as the peers make it, on a real Kafka. Every
measurement is a process of its own, bound to one core (of the consumer; the
broker has the others), timed from having its partitions to the last event.
Ours and the limit take turns, and their medians count. The peers do the same
fold in plain Python (``bench/peers/plain.py``); once more they do its sums
alone, without repeats, mixed units, and a unit's latencies once in ten seconds.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path
from typing import Any

from bench.events import make_topics, produce, want_latencies
from tests.kafka import running_kafka

EVENTS = int(os.environ.get("BENCH_EVENTS", "1200000"))
ROUNDS = 3
FAUST_EVENTS = 20_000
PARTITIONS = 4
JOURNAL_PARTITIONS = 8
LONGEST_S = 300
PEERS = Path(__file__).parent / "peers"
NEEDED = ("quixstreams==3.28.1", "bytewax==0.21.1")

Seconds = dict[str, float]


def run() -> dict[str, Any]:
    """
    Measure in one run: ours (the whole of observe), the limit (``getmany`` alone), the peers (``bench/peers``).

    ``cpu`` holds the same as events a second of processor time, which other
    work on the machine disturbs less. A peer that cannot be had is None, and ``missing`` says why.
    """
    with tempfile.TemporaryDirectory(prefix="guardian-bench-") as made, running_kafka(Path(made)) as bootstrap:
        topic = f"bench-{uuid.uuid4().hex[:8]}"
        make_topics(bootstrap, PARTITIONS, topic)
        make_topics(bootstrap, JOURNAL_PARTITIONS, f"{topic}.journal")
        make_topics(bootstrap, 1, f"{topic}.rollouts")
        want_latencies(bootstrap, f"{topic}.rollouts")
        event_bytes = produce(bootstrap, topic, EVENTS)
        rounds = [{what: measure(what, bootstrap, topic) for what in ("raw", "ours")} for _ in range(ROUNDS)]
        peers, missing = measure_peers(bootstrap, topic)
    wall = {what: statistics.median(EVENTS / found[what]["wall_s"] for found in rounds) for what in ("raw", "ours")}
    cpu = {what: statistics.median(EVENTS / found[what]["cpu_s"] for found in rounds) for what in ("raw", "ours")}
    return {
        "ours": wall["ours"],
        "limit": wall["raw"],
        "peers": {name: None if found is None else found["wall"] for name, found in peers.items()},
        "ratio_to_limit": wall["ours"] / wall["raw"],
        "unit": "events/s",
        "event_bytes": event_bytes,
        "cpu": {
            "ours": cpu["ours"],
            "limit": cpu["raw"],
            "ratio_to_limit": cpu["ours"] / cpu["raw"],
            "peers": {name: None if found is None else found["cpu"] for name, found in peers.items()},
        },
        "missing": missing,
    }


def measure(what: str, bootstrap: str, topic: str, events: int = EVENTS) -> Seconds:
    """Measure observe, or the limit."""
    return _measured([sys.executable, "-m", "bench._measure", what, bootstrap, topic, str(events)])


def measure_peers(bootstrap: str, topic: str) -> tuple[dict[str, Seconds | None], dict[str, str]]:
    """Measure each peer; return what could be measured, and why not what could not."""
    found: dict[str, Seconds | None] = {}
    missing: dict[str, str] = {}
    few = min(FAUST_EVENTS, EVENTS)
    try:
        python = peers_python()
    except (OSError, subprocess.SubprocessError) as error:
        python = ""
        missing["quixstreams and bytewax"] = f"cannot be installed: {error}"
    for name, interpreter, script, count, more in (
        ("quixstreams", python, "quix.py", EVENTS // 2, []),
        ("bytewax", python, "bytewax_flow.py", EVENTS // 2, []),
        ("quixstreams, sums alone", python, "quix.py", EVENTS // 2, ["sums"]),
        ("bytewax, sums alone", python, "bytewax_flow.py", EVENTS // 2, ["sums"]),
        ("faust agent", sys.executable, "faust_agent.py", few, []),
        ("faust table", sys.executable, "faust_agent.py", few // 2, ["table"]),
    ):
        found[name] = None
        if not interpreter:
            continue
        try:
            took = _measured([interpreter, "-W", "ignore", script, bootstrap, topic, str(count), *more], PEERS)
            found[name] = {"wall": count / took["wall_s"], "cpu": count / took["cpu_s"]}
        except (subprocess.SubprocessError, ValueError) as error:
            missing[name] = f"did not finish: {error}"
    return found, missing


def peers_python() -> str:
    """
    Return the interpreter of the peers' own environment, in the user's cache; it is made when it is first needed.

    Their requirements contradict ours.

    Raises:
        OSError, subprocess.SubprocessError: it cannot be made.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rollout-guardian" / "bench-peers"
    python = cache / "bin" / "python"
    if not (cache / "complete").is_file():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(cache)], check=True, timeout=LONGEST_S)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *NEEDED], check=True, timeout=LONGEST_S)
        (cache / "complete").touch()
    return str(python)


def _measured(command: list[str], folder: Path | None = None) -> Seconds:
    with tempfile.TemporaryDirectory() as scratch:
        script = command if folder is None else [str(folder / part) if part.endswith(".py") else part for part in command]
        done = subprocess.run(
            script,
            cwd=None if folder is None else scratch,
            env=os.environ | {"PYTHONPATH": str(PEERS.parent.parent)},
            capture_output=True,
            text=True,
            timeout=LONGEST_S,
            preexec_fn=_bind_to_one_core,
            check=False,
        )
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"wall_s"')]
    if not lines:
        raise ValueError(f"{' '.join(command[-5:])}: {(done.stderr or done.stdout)[-500:]}")
    found: Seconds = json.loads(lines[-1])
    return found


def _bind_to_one_core() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
