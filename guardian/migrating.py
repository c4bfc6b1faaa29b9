"""
Reading what older versions wrote: each step from one format of a rollout's state to the present plain values.

A format that is gone from here is refused, and its rollout begins anew.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Any

import msgspec

from guardian.history import COARSE_MAX, STEPS_MAX
from guardian.newcomers import Newcomers
from guardian.packing import unpack
from guardian.population import Cell
from guardian.remembered import Remembered
from guardian.rollout import Status
from guardian.steps import Steps
from guardian.tally import Tally

Plain = dict[str, Any]


def _from_4(raw: bytes) -> Plain:
    """Format 4: no checksum, one course for all variations, a history by steps, sums of earlier blocks as dictionaries."""
    plain: Plain = msgspec.msgpack.decode(raw[1:], strict=False)
    plain["document"] = msgspec.msgpack.encode(plain["document"])
    plain["history"] = tuple(map(_steps, plain["history"], (STEPS_MAX, COARSE_MAX)))
    lines = [line for watch in plain["variations"].values() for line in watch["lines"].values()]
    shown = [one for health in plain["progress"]["health"].values() for one in health]
    for story in [story for line in lines for story in line["stories"].values()]:
        from_ms, to_ms, t, c = story.pop("pair")
        story.update(from_ms=from_ms, to_ms=to_ms, t=_remembered(t), c=_remembered(c))
    for held in (*lines, *shown):
        for arm in ("t", "c"):
            held["past"][arm] = _remembered(held["past"][arm])
    status, progress = plain.pop("status"), plain.pop("progress")
    at = {"status": status, "stage": plain.pop("stage"), "since_ms": plain.pop("stage_since_ms")}
    plain["courses"] = {name: _course(watch, name, progress, at) for name, watch in plain["variations"].items()}
    # What one variation had come to (killed, completed, on its way back) is not where another one begins.
    plain["joins"] = status if status in _OF_ALL else Status.RUNNING.value
    return _since_7(plain)


def _from_7(raw: bytes) -> Plain:
    """Format 7: new units told apart in a sample, which was thinned; of outcomes only when they last came."""
    return _since_7(msgspec.msgpack.decode(unpack(raw), strict=False))


def _since_7(plain: Plain) -> Plain:
    plain["newcomers"] = _newcomers(*plain["newcomers"])
    for heard in plain["heard"].values():
        finished_ms = heard[1]
        heard += [finished_ms, finished_ms]
    return plain


def _newcomers(shift: int, sample: bytes) -> list[bytes]:
    """Whoever was thinned out of the sample may have been met: nobody counts whose hash ends in fewer zeros."""
    made = Newcomers()
    for unit in array("Q", sample):
        made.meet(unit)
    made.close(shift)
    return made.state()


_OF_ALL = frozenset({Status.PLANNED.value, Status.PAUSED.value, Status.HOLDING.value})


def _course(watch: Plain, name: str, progress: Plain, at: Plain) -> Plain:
    """How far all had come is how far each has."""
    own = {"starts": progress["starts"].get(name, 0), "health": progress["health"].get(name, [])}
    return {**progress, **at, **own, **({"status": Status.KILLED.value} if watch.get("killed") else {})}


def _steps(written: Any, size: int) -> Any:
    (names, rows), steps = written, Steps(size)
    for step, *sums in rows:
        for number, name in enumerate(names):
            exposures, outcomes, errors, first = sums[4 * number :][:4]
            steps.add(step, name, Cell(exposures, outcomes, errors, float(first)))
    return steps.state()


def _remembered(written: Any) -> Any:
    made = Remembered()
    made.add(msgspec.convert(written, Tally))
    return msgspec.to_builtins(made, builtin_types=(bytes,))


OLDER: dict[int, Callable[[bytes], Plain]] = {4: _from_4, 7: _from_7}
"""By format: from what was written to plain values. Formats 5 and 6 were never published."""
