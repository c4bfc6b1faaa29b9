"""
One measurement in a process of its own: ``python -m bench._measure WHAT BOOTSTRAP TOPIC COUNT``.

Prints JSON: wall and processor seconds from being assigned its partitions to the last event.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
import uuid
from typing import Any

from aiokafka import AIOKafkaConsumer

from bench.events import FLAGS
from streams import telemetry
from streams.loops import new_loop
from streams.observe import GARBAGE_AFTER, Observer
from streams.observing.plans import Plans
from streams.settings import Settings
from streams.status import Status


class Stopwatch:
    """Wall and processor time since it was made."""

    def __init__(self) -> None:
        self._wall_s, self._cpu_s = time.perf_counter(), time.process_time()

    def seconds(self) -> dict[str, float]:
        """Return what has passed."""
        return {"wall_s": time.perf_counter() - self._wall_s, "cpu_s": time.process_time() - self._cpu_s}


async def raw(bootstrap: str, topic: str, count: int) -> dict[str, float]:
    """The limit: aiokafka's ``getmany`` as observe calls it, and nothing done with the records."""
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
        group_id=f"raw-{uuid.uuid4().hex[:8]}",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        check_crcs=False,
        fetch_max_wait_ms=100,
    )
    await consumer.start()
    while not consumer.assignment():
        await asyncio.sleep(0.005)
    watch, read = Stopwatch(), 0
    while read < count:
        for records in (await consumer.getmany(timeout_ms=100)).values():
            read += len(records)
        await asyncio.sleep(0)
    found = watch.seconds()
    await consumer.stop()
    return found


async def poisoned(bootstrap: str, topic: str, count: int) -> dict[str, float]:
    """The same as ``ours`` where not all is an event: until so many events are counted."""
    return await ours(bootstrap, topic, count, poison=True)


async def ours(bootstrap: str, topic: str, count: int, *, poison: bool = False) -> dict[str, float]:
    """The whole of observe: decode, fold, one transaction a partition and flush into the journal."""
    name = f"b{uuid.uuid4().hex[:8]}"
    settings = Settings.model_validate(
        {
            "kafka": {"bootstrap": bootstrap, "group_prefix": name},
            "topics": {
                "exposures": [], "feedback": [], "outcomes": [topic], "journal": f"{topic}.journal",
                "rollouts": f"{topic}.rollouts", "dead_letters": f"{topic}.dead-letters",
            },
        }
    )  # fmt: skip
    plans = Plans(settings)
    plans.start()
    observer = Observer(settings, Status("observe"), plans)
    running = asyncio.ensure_future(observer.run())
    while not observer.is_reading:
        await asyncio.sleep(0.002)
    assert all(plan.latency for plan in plans.now.values())
    assert set(plans.now) == {f"production|{flag}" for flag in FLAGS}
    watch = Stopwatch()
    while observer.committed.outcomes < count:
        await asyncio.sleep(0.01)
        if running.done():
            running.result()
    found = watch.seconds()
    assert bool(observer.committed.dead) == poison
    assert observer.committed.duplicates == 0
    running.cancel()
    await asyncio.wait({running})
    await plans.stop()
    return found


def main(what: str, bootstrap: str, topic: str, count: str) -> None:
    """Measure, and print what was found."""
    telemetry.configure("bench", level="error")
    # The same for both: what observe sets for itself.
    gc.set_threshold(GARBAGE_AFTER, 20, 50)
    gc.freeze()
    measure: Any = {"raw": raw, "ours": ours, "poisoned": poisoned}[what]
    with asyncio.Runner(loop_factory=new_loop) as runner:
        print(json.dumps(runner.run(measure(bootstrap, topic, int(count)))))


if __name__ == "__main__":
    main(*sys.argv[1:])
