"""``guardian simulate``: what policies would do at given traffic, before anybody is exposed to anything."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO
from zlib import crc32

import numpy as np

from guardian.errors import Problem, shown
from guardian.forecast import Assumed, forecast
from guardian.policy import Policy
from streams.apps.simulate_chart import draw
from streams.apps.simulate_text import lines
from streams.policies import read_policies

_PER_S = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3_600.0}
FEWEST_RUNS, MOST_RUNS = 20, 100_000


def main(
    paths: list[Path],
    *,
    traffic: str = "200/s",
    share: str = "",
    rate: str = "1%",
    flag: str = "",
    seed: int = 0,
    runs: int = 300,
    as_json: bool = False,
    chart: Path | None = None,
    out: TextIO | None = None,
    err: TextIO | None = None,
) -> int:
    """
    Forecast the policies of ``paths`` (of one ``flag``, if named) on ``out``; progress and complaints on ``err``.

    The same policies, numbers and ``seed`` give the same output. Returns the exit code: 0, or 2 when a policy or an
    option cannot be used; then every problem is told and nothing is simulated.
    """
    out, err = out or sys.stdout, err or sys.stderr
    given = _Given(traffic, share, rate, seed, runs)
    # What this version does not run can be forecast all the same, and is said to be so.
    files = read_policies(paths, to_run=False)
    policies = [policy for file in files for policy in file.policies]
    problems = [*given.problems(), *(problem for file in files for problem in file.problems)]
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
        chosen, given.assumed(), lambda policy: np.random.default_rng([seed, crc32(policy.key.encode())]),
        seed=seed, tell=_progress(err, len(chosen)),
    )  # fmt: skip
    if chart is not None:
        chart.write_text(draw(found), encoding="utf-8")
    out.writelines([found.model_dump_json(indent=2), "\n"] if as_json else (f"{line.rstrip()}\n" for line in lines(found)))
    out.flush()
    return 0


class _Given:
    """The numbers of the command line, as they were written."""

    def __init__(self, traffic: str, share: str, rate: str, seed: int, runs: int) -> None:
        self.traffic, self.share, self.rate, self.seed, self.runs = traffic, share, rate, seed, runs

    def problems(self) -> Iterator[Problem]:
        """Yield everything that is wrong with them."""
        if not self._traffic():
            said = "requests a second, from 0.001/s to 1000000/s; write --traffic 200/s"
            yield Problem("--traffic", None, "", shown(self.traffic), said)
        if self.share and not self._percent(self.share):
            said = "the variation's share lies above 0% and below 100%, where a control is left; write --share 10%"
            yield Problem("--share", None, "", shown(self.share), said)
        if not self._percent(self.rate):
            said = "control's error rate lies above 0% and below 100%; write --rate 1%"
            yield Problem("--rate", None, "", shown(self.rate), said)
        if self.seed < 0:
            yield Problem("--seed", None, "", str(self.seed), "a whole number from 0 on; write --seed 0")
        if not FEWEST_RUNS <= self.runs <= MOST_RUNS:
            said = f"runs of each effect, from {FEWEST_RUNS} to {MOST_RUNS:,}; write --runs 300"
            yield Problem("--runs", None, "", str(self.runs), said)

    def assumed(self) -> Assumed:
        """Return what they say, once nothing is wrong with them."""
        share = self._percent(self.share) if self.share else None
        return Assumed(
            requests_per_s=self._traffic() or 0.0, rate=self._percent(self.rate) or 0.0, share=share, runs=self.runs
        )

    def _traffic(self) -> float | None:
        match = re.fullmatch(r"(\d+(?:\.\d+)?|\.\d+)(k)?(?:/(s|m|min|h))?", self.traffic.strip(), re.ASCII)
        if match is None:
            return None
        per_s = float(match[1]) * (1_000.0 if match[2] else 1.0) / _PER_S[match[3] or "s"]
        return per_s if 0.001 <= per_s <= 1e6 else None

    @staticmethod
    def _percent(text: str) -> float | None:
        match = re.fullmatch(r"(\d+(?:\.\d+)?|\.\d+) ?%", text.strip(), re.ASCII)
        value = float(match[1]) / 100.0 if match else 0.0
        return value if 0.0 < value < 1.0 else None


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
