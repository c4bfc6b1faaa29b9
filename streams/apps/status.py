"""``guardian status`` and ``guardian watch``: a line a rollout, or all of one."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TextIO

from guardian.decisions import GuardrailView
from guardian.errors import GuardianError
from guardian.events import parse_time
from guardian.explain import clean, quoted
from guardian.numerals import among, percent, times
from guardian.retelling import counted
from guardian.rollout import Status
from guardian.why_not import nearest
from streams.apps import known
from streams.apps.board import RolloutNow
from streams.apps.client import DONE, Client, path_of

DECISIONS_SHOWN = 5
BEHIND_S = 5.0
"""Reading is told to be behind from here on; the longest lag of outcomes that is usual is below it."""
CLEARED = "\x1b[H\x1b[J"
"""What makes a terminal empty."""


NO_DRIFT: Mapping[str, str] = MappingProxyType({})


def status(
    client: Client, name: str, out: TextIO, *, as_json: bool, drift: Callable[[], Mapping[str, str]] = lambda: NO_DRIFT
) -> int:
    """
    Print a line a rollout, or the details of the one that is named; return the exit code.

    *drift* says by rollout in what its stores differ, as far as somebody here knows.
    """
    if not name:
        if as_json:
            _print_json(client.get("/rollouts"), out)
        else:
            refused = [f"not in force: {problem}" for problem in client.get("/policies")["problems"]]
            reached = [row.text for row in known.propagation(client) if row.service is None]
            differ = [f"stores differ: {key}: {said}" for key, said in sorted(drift().items())]
            out.writelines(f"{line}\n" for line in [*lines(known.rollouts(client)), *differ, *reached, *refused])
        return DONE
    one = known.rollout(client, name)
    if as_json:
        _print_json(client.get(path_of("rollouts", one.key)), out)
    else:
        told = [made.explanation for made in known.decisions(client, one.key, DECISIONS_SHOWN)]
        out.writelines(f"{line}\n" for line in details(one, told))
        if said := drift().get(one.key):
            out.write(f"stores differ: {said}\n")
    return DONE


def watch(client: Client, name: str, out: TextIO, *, every_s: float, alive: Callable[[], bool] = lambda: True) -> int:
    """
    Print the status again and again while *alive*; where *out* is no terminal, a line for each rollout that changed.

    An API that is away after the first answer is waited for, and said to be away.
    """
    show = _Screen(out) if out.isatty() else _Log(out)
    found = list(lines(_chosen(client, name)))
    while alive():
        show(found)
        time.sleep(every_s)
        try:
            found = list(lines(_chosen(client, name)))
        except GuardianError as error:
            found = [str(error)]
    return DONE


def lines(rollouts: Iterable[RolloutNow]) -> Iterator[str]:
    """Yield a line for each rollout: key, status, share, evidence of the nearest guardrail, what it waits for."""
    rows = [(one.key, one.status, _share(one), _evidence(one), f"waits for {waits_for(one)}") for one in rollouts]
    widths = [max((len(row[at]) for row in rows), default=0) for at in range(4)]
    for row in rows:
        yield "  ".join([*(text.ljust(width) for text, width in zip(row, widths, strict=False)), row[-1]])
    if not rows:
        yield "no rollout yet: guardian run publishes the policies that the settings name"


def waits_for(view: RolloutNow) -> str:
    """Return what a rollout waits for, in a few words."""
    if view.status in (Status.KILLED, Status.PAUSED, Status.HOLDING):
        return "a person: guardian resume"
    if view.status == Status.COMPLETED:
        return "nothing"
    if view.telemetry != "fresh":
        return f"telemetry, which is {view.telemetry}"
    if not view.passed_ms:
        return "observe, which reads far behind, or does not run"
    if (behind_s := (parse_time(view.at) - view.passed_ms) / 1_000) > BEHIND_S:
        return f"observe, which reads {behind_s:.0f} s behind"
    if view.stage + 1 < view.stages:
        return f"stage {view.stage + 2} of {view.stages}"
    return "harm, if there is any"


def details(view: RolloutNow, told: Iterable[str]) -> Iterator[str]:
    """Yield all that a person at night wants to know of one rollout; *told* are its newest decisions' sentences."""
    yield from lines([view])
    yield view.why
    if view.mixed:
        yield view.mixed
    yield from (proof.text for proof in view.proofs)
    yield from (row.text for row in view.propagation)
    if view.note:
        yield f"note: {clean(view.note)}"
    owner = f", owned by {view.owner}" if view.owner else ""
    yield f"stage {view.stage + 1} of {view.stages}, {view.mode}{owner}, as of {view.at}, policy {view.policy_hash[:15]}"
    for arm in view.arms:
        failed = f"{arm.errors:,} failed" if arm.rate is None else f"{arm.errors:,} failed ({percent(arm.rate)})"
        came = f", {arm.status} in stage {arm.stage + 1}" if arm.stage is not None and len(view.arms) > 2 else ""
        yield f"  {arm.variation}: {among(arm.n, 'request')}, {failed}{came}"
    for row in view.guardrails:
        said = "; ".join(part for part in (_numbers(row), row.values, row.differs, row.why) if part)
        yield f"  {quoted(row.guardrail, row.segment)} on {row.variation}, then {row.action}: {said or 'nothing read yet'}"
    if view.hindsight:
        yield f"  kills that were not carried out: {counted(view.hindsight)}"
    for one in view.hindsight:
        yield f"  {one.text}"
    for sentence in told:
        yield f"  {sentence}"


def _chosen(client: Client, name: str) -> list[RolloutNow]:
    return [known.rollout(client, name)] if name else known.rollouts(client)


def _share(view: RolloutNow) -> str:
    return "-" if view.share is None else f"{percent(view.share, exact=True)}{f' of {view.ring}' if view.ring else ''}"


def _evidence(view: RolloutNow) -> str:
    row = nearest(view)
    if row is None:
        return "no evidence yet"
    return f"{quoted(row.guardrail, row.segment)} on {row.variation} {_numbers(row)}"


def _numbers(row: GuardrailView) -> str:
    if row.log_e is None:
        return ""
    needed = times(row.log_threshold) if row.log_threshold > 0.0 else "no budget yet"
    return f"{times(max(row.log_e, 0.0))} of {needed}"


def _print_json(content: object, out: TextIO) -> None:
    out.write(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


class _Screen:
    """The newest lines, in place of those before."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def __call__(self, found: list[str]) -> None:
        self._out.write(f"{CLEARED}{datetime.now(UTC):%H:%M:%S} UTC\n")
        self._out.writelines(f"{line}\n" for line in found)
        self._out.flush()


class _Log:
    """Lines that were not there a moment ago, with their time."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._before: list[str] = []

    def __call__(self, found: list[str]) -> None:
        at = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        self._out.writelines(f"{at} {line}\n" for line in found if line not in self._before)
        self._out.flush()
        self._before = found
