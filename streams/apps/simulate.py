"""``guardian simulate``: what policies would do at given traffic, before anybody is exposed to anything."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TextIO
from zlib import crc32

import numpy as np

from guardian.errors import Problem, shown
from guardian.forecast import forecast
from guardian.policy import Policy
from streams.apps.simulate_chart import draw
from streams.apps.simulate_given import Given
from streams.apps.simulate_numbers import assumed, problems_of
from streams.apps.simulate_text import lines
from streams.policies import read_policies


def main(
    paths: list[Path],
    given: Given,
    *,
    flag: str = "",
    as_json: bool = False,
    chart: Path | None = None,
    out: TextIO | None = None,
    err: TextIO | None = None,
) -> int:
    """
    Forecast the policies of ``paths`` (of one ``flag``, if named) on ``out``; progress and complaints on ``err``.

    The same policies and numbers ``given`` give the same output. Returns the exit code: 0, or 2 when a policy or an
    option cannot be used; then every problem is told and nothing is simulated.
    """
    out, err = out or sys.stdout, err or sys.stderr
    # What this version does not run can be forecast all the same, and is said to be so.
    files = read_policies(paths, to_run=False)
    policies = [policy for file in files for policy in file.policies]
    problems = [*problems_of(given), *(problem for file in files for problem in file.problems)]
    chosen = [policy for policy in policies if flag in ("", policy.flag)]
    if policies and not chosen:
        known = ", ".join(sorted({policy.flag for policy in policies}))
        problems.append(Problem("--flag", None, "", shown(flag), f"no policy is of this flag; there are: {known}"))
    if chart is not None and (chart.is_dir() or not chart.absolute().parent.is_dir()):
        said = "cannot be written there; name a file in a directory that exists, such as power.svg"
        problems.append(Problem("--chart", None, "", shown(str(chart)), said))
    if problems or not chosen:
        err.writelines(f"{problem}\n" for problem in problems)
        return 2
    found = forecast(
        chosen, assumed(given), lambda policy: np.random.default_rng([given.seed, crc32(policy.key.encode())]),
        seed=given.seed, tell=_progress(err, len(chosen)),
    )  # fmt: skip
    if chart is not None:
        chart.write_text(draw(found), encoding="utf-8")
    out.writelines([found.model_dump_json(indent=2), "\n"] if as_json else (f"{line.rstrip()}\n" for line in lines(found)))
    out.flush()
    return 0


def _progress(err: TextIO, policies: int) -> Callable[[Policy, float], None] | None:
    """Return what shows progress; on a terminal only."""
    if not err.isatty():
        return None
    seen: list[str] = []
    told = ""

    def tell(policy: Policy, part: float) -> None:
        nonlocal told
        if policy.key not in seen:
            seen.append(policy.key)
        line = f"simulating {policy.flag} ({len(seen)} of {policies}): {part:.0%}"
        if part >= 1.0 and len(seen) == policies:
            line = ""
        if line != told:
            err.write(f"\r{line}\x1b[K")
            err.flush()
            told = line

    return tell
