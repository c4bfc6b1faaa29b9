"""A world's events as lines of JSON in their bare form, in the order in which they arrive."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np

from streams.apps.recordings import Recorded
from tests.support.recorded.feedback import feedback
from tests.support.recorded.requests import Bools, Ints, Requests, requests
from tests.support.recorded.world import T0_MS, World

FLAG, ENVIRONMENT, SOURCE = "checkout-v2", "production", "/made-up"
VARIATIONS = ("control", "treatment")
DUPLICATE_AFTER_MS = 1_000


class Column(NamedTuple):
    """Events: when each arrives, and its line."""

    arrival_ms: Ints
    lines: list[bytes]


@dataclass(frozen=True, slots=True)
class Recording:
    """
    A recorded rollout. ``lines[i]`` arrived at ``arrival_ms[i]``, which never falls.

    An event arrives when it happened, an outcome at its end; duplicates and late outcomes arrive later than their
    ``time`` says. ``requests`` are those that the lines tell of, ``ended_ms`` when the outcome of each arrives, shape
    ``(n,)``, if it does.
    """

    world: World
    requests: Requests = field(repr=False)
    ended_ms: Ints = field(repr=False)
    arrival_ms: Ints = field(repr=False)
    lines: list[bytes] = field(repr=False)

    def recorded(self) -> Iterator[Recorded]:
        """Yield the lines as replay reads them, each with the time at which it arrived."""
        for number, (at_ms, line) in enumerate(zip(self.arrival_ms.tolist(), self.lines, strict=True), start=1):
            yield Recorded(at_ms, f"made-up:{number}", line)

    def write(self, path: Path) -> None:
        """Write the lines into a file."""
        path.write_bytes(b"\n".join(self.lines) + b"\n")

    def treated_between(self, from_s: float, to_s: float) -> int:
        """Return how many requests of the treatment started in ``[from_s, to_s)``, heard of or not."""
        made = self.requests
        return int((made.is_treated & (made.start_s >= from_s) & (made.start_s < to_s)).sum())


def record(world: World) -> Recording:
    """Return what this world would have recorded; the same world, the same bytes."""
    rng = np.random.default_rng(world.seed)
    made = requests(world, rng)
    ended_ms = _ended_ms(world, made, rng)
    columns = [*([_exposures(world, made)] if world.exposures else []), _outcomes(world, made, ended_ms)]
    columns += _feedback(world, made, rng)
    arrival_ms = np.concatenate([column.arrival_ms for column in columns])
    lines = [line for column in columns for line in column.lines]
    if world.duplicates:
        again = np.flatnonzero(rng.random(arrival_ms.size) < world.duplicates)
        later_ms = arrival_ms[again] + rng.integers(0, DUPLICATE_AFTER_MS, again.size)
        arrival_ms, lines = np.concatenate([arrival_ms, later_ms]), lines + [lines[at] for at in again.tolist()]
    order = np.argsort(arrival_ms, kind="stable")
    return Recording(world, made, ended_ms, arrival_ms[order], [lines[at] for at in order.tolist()])


def _exposures(world: World, made: Requests) -> Column:
    time_ms = _start_ms(made)
    at = np.flatnonzero(made.is_heard & _arrives(world, time_ms, of_outcomes=False))
    heads = [f'"flag_key":"{FLAG}","variant":"{name}","environment":"{ENVIRONMENT}"' for name in VARIATIONS]
    return _column("exposure", "e", time_ms[at], made.is_treated[at], heads, _who(world, made, at))


def _ended_ms(world: World, made: Requests, rng: np.random.Generator) -> Ints:
    late_ms = np.where(rng.random(made.user.size) < world.late, round(1_000 * world.late_s), 0)
    return np.asarray(_time_ms(made) + late_ms)


def _time_ms(made: Requests) -> Ints:
    return np.asarray(_start_ms(made) + np.ceil(np.round(made.latency_ms, 3)).astype(np.int64))


def _outcomes(world: World, made: Requests, ended_ms: Ints) -> Column:
    latency_ms, time_ms = np.round(made.latency_ms, 3), _time_ms(made)
    at = np.flatnonzero(made.is_ended & _arrives(world, ended_ms, of_outcomes=True))
    codes, heads = _heads(world, made)
    ends = _who(world, made, at)
    ends = [f'"latency_ms":{ms},{end}' for ms, end in zip(latency_ms[at].tolist(), ends, strict=True)]
    ends = [f"{measures}{end}" for measures, end in zip(_measures(world, made, at), ends, strict=True)]
    told = _column("outcome", "o", time_ms[at], codes[at], heads, ends)
    return Column(ended_ms[at], told.lines)


def _feedback(world: World, made: Requests, rng: np.random.Generator) -> Iterator[Column]:
    flags = [f'"flags":{{"{FLAG}":"{name}"}},"environment":"{ENVIRONMENT}"' for name in VARIATIONS]
    for said in feedback(world, made, rng):
        time_ms = T0_MS + np.ceil(1_000 * said.time_s).astype(np.int64)
        arrives = _arrives(world, time_ms, of_outcomes=False)
        at = said.at[arrives]
        ends = [f'"kind":"{said.kind}",{end}' for end in _who(world, made, at)]
        if said.scores is not None:
            ends = [f'"score":{score},{end}' for score, end in zip(said.scores[arrives].tolist(), ends, strict=True)]
        yield _column("feedback", said.kind, time_ms[arrives], made.is_treated[at], flags, ends)


def _column(kind: str, ids: str, time_ms: Ints, codes: Ints | Bools, heads: list[str], ends: list[str]) -> Column:
    lines = [
        f'{{"type":"{kind}","id":"{ids}-{number}","source":"{SOURCE}","time":{at_ms},{heads[code]},{end}}}'.encode()
        for number, (at_ms, code, end) in enumerate(zip(time_ms.tolist(), codes.tolist(), ends, strict=True))
    ]
    return Column(time_ms, lines)


def _heads(world: World, made: Requests) -> tuple[Ints, list[str]]:
    """The number of each outcome's kind, and what all of one kind have in common: made once, not once an event."""
    names = list(world.attributes)
    parts = [VARIATIONS, ("ok", "error"), tuple(world.operations), *(tuple(world.attributes[name]) for name in names)]
    positions = [made.is_treated, made.is_failed, made.operation, *(made.attributes[name] for name in names)]
    codes = np.ravel_multi_index([np.asarray(column, dtype=np.int64) for column in positions], [len(p) for p in parts])
    heads = []
    for variation, outcome, operation, *values in product(*parts):
        attributes = {"attributes": dict(zip(names, values, strict=True))} if names else {}
        head = {"flags": {FLAG: variation}, "environment": ENVIRONMENT, "outcome": outcome, "operation": operation}
        heads.append(json.dumps(head | attributes, separators=(",", ":"))[1:-1])
    return codes, heads


def _measures(world: World, made: Requests, at: Ints) -> list[str]:
    columns = []
    if world.quality is not None:
        columns.append([f'"quality":{value}' for value in np.round(made.quality[at], 3).tolist()])
    if world.conversion is not None:
        columns.append([f'"converted":{value}' for value in made.converted[at].astype(int).tolist()])
    if not columns:
        return [""] * at.size
    return [f'"measures":{{{",".join(values)}}},' for values in zip(*columns, strict=True)]


def _who(world: World, made: Requests, at: Ints) -> list[str]:
    if not world.names_units:
        return ['"service_name":"made-up"'] * at.size
    return [f'"service_name":"made-up","context_id":"u-{user}"' for user in made.user[at].tolist()]


def _start_ms(made: Requests) -> Ints:
    return T0_MS + np.floor(1_000 * made.start_s).astype(np.int64)


def _arrives(world: World, arrival_ms: Ints, *, of_outcomes: bool) -> Bools:
    arrives = np.ones(arrival_ms.size, dtype=bool)
    for outage in world.outages:
        if of_outcomes or not outage.of_outcomes_alone:
            from_ms, to_ms = (T0_MS + round(1_000 * at_s) for at_s in (outage.from_s, outage.to_s))
            arrives &= (arrival_ms < from_ms) | (arrival_ms >= to_ms)
    return arrives
