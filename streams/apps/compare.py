"""
``guardian replay --against``: what other policies would have done on the same events.

Each set of policies is replayed on its own, in one pass over the events. Units count as exposed once an exposure or an
outcome shows them under a variation; the time until a kill counts from the first of them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, TextIO

import msgspec

from guardian.decisions import Decision
from guardian.errors import GuardianError
from guardian.names import Millis, rollout_key
from guardian.numerals import count
from guardian.policy import Policy
from streams.apps.recordings import Recorded, read
from streams.apps.replay import REPLAYED, Observer, Replay, Report, entries, patience_ms
from streams.policies import load_policies

Arm = tuple[str, str]
"""Flag key and variation."""
Verdict = Literal["gained", "lost", "both", "neither"]
KILLS = ("kill", "kill_flag")
COLUMNS = ("rollout", "variation", "kill", "killed after", "against", "exposed", "against")


@dataclass(frozen=True, slots=True)
class Kill:
    """The first kill of a variation: by which guardrail, how long after its first unit, and how many units until then."""

    guardrail: str
    after_ms: int
    exposed: int


class Run:
    """One set of policies over the events."""

    def __init__(self, policies: list[Policy]) -> None:
        self.policies = policies
        self.report = Report()
        self.kills: dict[Arm, Kill] = {}
        self._units: dict[Arm, set[int]] = {}
        self._began_ms: dict[Arm, Millis] = {}

    def over(self, events: Iterable[Recorded]) -> None:
        """Replay the events; raises what reading them raises."""
        config = REPLAYED
        observer = Observer(self.report, self.policies, self._show)
        given = entries(events, observer, patience_ms(self.policies, config))
        for made in Replay(self.policies, self.report, config).decisions(given):
            self._take(made)

    def exposed(self, arm: Arm) -> int:
        """How many units were exposed until the kill; to the end where there was none."""
        killed = self.kills.get(arm)
        return len(self._units.get(arm, ())) if killed is None else killed.exposed

    def arms(self) -> set[Arm]:
        """The variations under test that were seen, of the rollouts that have a policy."""
        controls = {str(policy.key): policy.control for policy in self.policies}
        seen = {(key, variation) for key, variation in self._units if key in controls and variation != controls[key]}
        return seen | self.kills.keys()

    def _show(self, shown: dict[Arm, set[int]], at_ms: Millis) -> None:
        for arm, units in shown.items():
            self._began_ms.setdefault(arm, at_ms)
            self._units.setdefault(arm, set()).update(units)

    def _take(self, made: Decision) -> None:
        arm = (str(rollout_key(made.environment, made.flag_key)), made.variant)
        if made.action not in KILLS or arm in self.kills:
            return
        at_ms = round(datetime.fromisoformat(made.decided_at).timestamp() * 1_000)
        after_ms = at_ms - self._began_ms.get(arm, at_ms)
        self.kills[arm] = Kill(made.guardrail, after_ms, len(self._units.get(arm, ())))


@dataclass(frozen=True, slots=True)
class Row:
    """One variation of one rollout under both: ``verdict`` says which of them kill it."""

    rollout: str
    variation: str
    verdict: Verdict
    kill: Kill | None
    kill_against: Kill | None
    exposed: int
    exposed_against: int


def compare(events: Callable[[], Iterable[Recorded]], policies: list[Policy], against: list[Policy]) -> tuple[list[Row], Run]:
    """Return a row for each variation under test, by rollout, and the run of *policies*; *events* is asked twice."""
    ours, theirs = Run(policies), Run(against)
    for run in (ours, theirs):
        run.over(events())
    return [_row(arm, ours, theirs) for arm in sorted(ours.arms() | theirs.arms())], ours


def _row(arm: Arm, ours: Run, theirs: Run) -> Row:
    kill, other = ours.kills.get(arm), theirs.kills.get(arm)
    verdicts: dict[tuple[bool, bool], Verdict] = {
        (True, True): "both", (True, False): "gained", (False, True): "lost", (False, False): "neither",
    }  # fmt: skip
    verdict = verdicts[kill is not None, other is not None]
    return Row(*arm, verdict, kill, other, ours.exposed(arm), theirs.exposed(arm))


def main(
    files: list[str],
    policy_paths: list[Path],
    against_paths: list[Path],
    *,
    as_json: bool = False,
    fail_on: str = "",
    recorded: Iterable[Recorded] | None = None,
    out: TextIO | None = None,
    err: TextIO | None = None,
) -> int:
    """
    Print what *policy_paths* kill that *against_paths* do not, and the other way round, over the same events.

    Returns the exit code: 0; 2 for input that is of no use; 3 where a kill was gained, or lost, and ``fail_on`` says so.
    """
    out, err = out or sys.stdout, err or sys.stderr
    try:
        _check(files, fail_on)
        policies, against = load_policies(policy_paths), load_policies(against_paths)
        held = None if recorded is None else list(recorded)
        rows, run = compare(lambda: read(files, ()) if held is None else held, policies, against)
    except (GuardianError, OSError, EOFError) as error:
        err.write(f"{error}\n")
        return 2
    if as_json:
        counts = {verdict: _number(rows, verdict) for verdict in ("gained", "lost", "both", "neither")}
        out.write(msgspec.json.encode({**counts, "rows": [asdict(row) for row in rows]}).decode() + "\n")
    else:
        out.writelines(f"{line}\n" for line in table(rows))
    report = run.report
    err.write(f"{report.lines:,} lines: {report.events:,} events, {report.unreadable:,} unreadable\n")
    return 3 if fail_on and _number(rows, fail_on) else 0


def table(rows: list[Row]) -> Iterator[str]:
    """Yield the comparison for people: a line a variation, and the counts."""
    cells = [COLUMNS, *(_cells(row) for row in rows)]
    widths = [max(len(line[at]) for line in cells) for at in range(len(COLUMNS))]
    for line in cells:
        yield "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
    said = ", ".join(f"{_number(rows, verdict)} {verdict}" for verdict in ("gained", "lost", "both", "neither"))
    yield f"kills: {said}"


def _cells(row: Row) -> tuple[str, ...]:
    times = [f"{kill.after_ms / 1_000:,.1f} s" if kill is not None else "-" for kill in (row.kill, row.kill_against)]
    return (row.rollout, row.variation, row.verdict, *times, count(row.exposed), count(row.exposed_against))


def _number(rows: Iterable[Row], verdict: str) -> int:
    return sum(row.verdict == verdict for row in rows)


class WrongComparison(GuardianError):
    """What cannot be compared; the text says what would be right."""


def _check(files: list[str], fail_on: str) -> None:
    if "-" in files:
        raise WrongComparison("-: the events are read twice, standard input but once; write them into a file")
    if fail_on not in ("", "gained", "lost"):
        raise WrongComparison(f"--fail-on {fail_on!r}: with --against write gained or lost")
