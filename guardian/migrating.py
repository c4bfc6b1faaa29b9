"""
Reading what older versions wrote: each step from one format of a rollout's state to the present plain values.

A format that is gone from here is refused, and its rollout begins anew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from guardian.history import COARSE_MAX, STEPS_MAX
from guardian.population import Cell
from guardian.remembered import Remembered
from guardian.steps import Steps
from guardian.tally import Tally

Plain = dict[str, Any]


def _from_4(raw: bytes) -> Plain:
    """Format 4: no checksum, a policy in the open, a history by steps, sums of earlier blocks as dictionaries."""
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
    return plain


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


OLDER: dict[int, Callable[[bytes], Plain]] = {4: _from_4}
"""By format: from what was written to plain values. A format 5 was never published."""
