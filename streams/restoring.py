"""
What judge knows no more because its snapshot is damaged or gone: rebuilt in the background, taken, and told of.

Meanwhile the partition's bank is partial: no rollout begins there that may be one of those.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from aiokafka.errors import KafkaError

from guardian.bank import Bank
from guardian.decisions import RolloutView
from guardian.effects import Confirm
from guardian.names import split_rollout_key
from guardian.rollout import Status
from streams.keeper import Partition
from streams.rebuilding import Rebuild, Rebuilt
from streams.telemetry import REBUILDING, REBUILT

log = structlog.get_logger()

AGAIN_S = 2.0
"""After Kafka kept a rebuild from reading."""
PUBLISH_AGAIN = "publish its policy again, then resume it"

StartRebuild = Callable[[Partition, Callable[[Rebuilt], None]], Rebuild]
"""Prepares the rebuild of a partition's state; what comes out goes to the function."""


@dataclass(frozen=True, slots=True)
class Adopted:
    """The rollouts that a partition has again, receipts that nobody has published, and views of what is lost."""

    held: Partition
    taken: frozenset[str]
    confirms: tuple[Confirm, ...]
    lost: tuple[RolloutView, ...]


class Restoring:
    """All rebuilds of a worker. Without *start_rebuild* there are none: what cannot be read is said, and stays so."""

    def __init__(self, start_rebuild: StartRebuild | None, adopted: Callable[[Adopted], None]) -> None:
        self._start_rebuild = start_rebuild
        self._adopted = adopted
        self._under_way: dict[int, Rebuild] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._rebuilt = 0

    def begin(self, held: Partition, offset: int) -> None:
        """
        Note the first entry that is taken of a partition.

        Entries before it were acknowledged: somebody knew what they said, and it must be in a snapshot.
        """
        held.first = offset
        if held.is_missing and offset > 0 and held.number not in self._under_way:
            held.unreadable.setdefault(Bank.SOURCES, f"there is none, and the journal is read from offset {offset} on")
            self.start(held)

    def start(self, held: Partition) -> None:
        """Rebuild what of the partition cannot be read."""
        if self._start_rebuild is None:
            return
        held.bank.is_partial = True
        rebuild = self._under_way[held.number] = self._start_rebuild(held, lambda made: self._meet(held, made))
        task = asyncio.ensure_future(self._run(rebuild, len(held.unreadable)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        log.warning("state_is_rebuilt", partition=held.number, parts=sorted(held.unreadable), right="from the journal")

    def stop(self) -> None:
        """Leave off: whoever has the partitions next begins again."""
        for task in self._tasks:
            task.cancel()
        self._under_way.clear()

    def numbers(self) -> dict[str, int]:
        """How many partitions are being rebuilt, and how many rollouts were."""
        return {"rebuilding": len(self._under_way), "rebuilt": self._rebuilt}

    def right(self, held: Partition) -> str:
        """What becomes of what cannot be read."""
        rebuild = self._under_way.get(held.number)
        if rebuild is None:
            return f"it is not judged; {PUBLISH_AGAIN}"
        return f"it is rebuilt from the journal, {rebuild.done:.0%} of which is read"

    async def _run(self, rebuild: Rebuild, parts: int) -> None:
        REBUILDING.inc(parts)
        try:
            while True:
                try:
                    return await rebuild.run()
                except KafkaError as error:
                    log.warning("rebuild_interrupted", partition=rebuild.partition, reason=repr(error))
                    await asyncio.sleep(AGAIN_S)
        except Exception:
            # A defect: all others are judged, and readiness goes on to say what is not.
            log.exception("not_rebuilt", partition=rebuild.partition)
        finally:
            REBUILDING.dec(parts)

    def _meet(self, held: Partition, made: Rebuilt) -> None:
        del self._under_way[held.number]
        reasons, held.unreadable = held.unreadable, {}
        taken = held.bank.adopt(made.bank, reasons)
        if made.begins == made.before == 0 and reasons.keys() == {Bank.SOURCES}:
            # The journal begins with what was never committed: nobody has known anything before.
            return
        lost = sorted(held.bank.lost & reasons.keys())
        for key in taken:
            why = reasons.get(key) or reasons.get(Bank.SOURCES, "")
            held.bank.notes[key] = f"its state was rebuilt from the journal, as its snapshot could not be read ({why})"
        for key in lost:
            held.unreadable[key] = f"{reasons[key]}; the journal, which begins at offset {made.begins}, does not tell of it"
        self._rebuilt += len(taken)
        REBUILT.labels("rebuilt").inc(len(reasons) - len(lost))
        REBUILT.labels("lost").inc(len(lost))
        told = {"partition": held.number, "rollouts": taken, "lost": lost, "sources": Bank.SOURCES in reasons}
        read = {"from_offset": made.begins, "entries": made.entries, "seconds": round(made.seconds, 1)}
        log.warning("state_rebuilt", **told, **read, whole_past=made.begins == 0)
        confirms = tuple(confirm for key, confirm in made.confirms if key in taken)
        views = tuple(_lost(key, held.unreadable[key]) for key in lost)
        self._adopted(Adopted(held, frozenset(taken), confirms, views))


def _lost(key: str, why: str) -> RolloutView:
    """Say of a rollout that nothing is known of it; without its policy's hash, so that its policy is published again."""
    environment, flag = split_rollout_key(key)
    return RolloutView(
        key=key, flag_key=flag, environment=environment, control="", status=Status.HOLDING,
        at=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        note=f"it is not watched: its snapshot cannot be read ({why}); {PUBLISH_AGAIN}",
    )  # fmt: skip
