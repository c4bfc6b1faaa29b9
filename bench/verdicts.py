"""
Verdicts side by side: ours and six rivals read the same simulated rollouts, second by second.

``python -m bench verdicts`` prints the figures; ``python -m bench.verdicts --chart FILE.svg`` draws them too, and ``--page``
puts them into docs/statistics.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bench.rivals.chart import draw
from bench.rivals.growthbook import GrowthBook
from bench.rivals.kayenta import Kayenta
from bench.rivals.msprt import MixtureSPRT
from bench.rivals.ours import Guardian
from bench.rivals.reading import Floats, Judge, Tick
from bench.rivals.rules import argo, flagger
from bench.rivals.zscore import NaiveZ
from tests.support.pages import write

ALPHA, ROLLOUTS, SECONDS = 0.01, 1_000, 1_200
"""One false kill in a hundred rollouts is what the statistical methods are asked for; each rollout lasts 20 minutes."""

JUDGES: dict[str, Callable[[int, float], Judge]] = {
    "ours": Guardian,
    "GrowthBook": GrowthBook,
    "mSPRT": MixtureSPRT,
    "Kayenta": Kayenta,
    "Flagger": flagger,
    "Argo": argo,
    "naive z": NaiveZ,
}

Course = Callable[[int], float]


class Scene(NamedTuple):
    """Requests a second, treatment's share, and the error rates of control and treatment, by the second."""

    rps: int
    share: Course
    control: Course
    treatment: Course
    bug_at_s: int | None


def healthy(rps: int, share: Course, errors: Course = lambda _: 0.01) -> Scene:
    """Return a scene in which both arms fail equally often."""
    return Scene(rps, share, errors, errors, None)


def sick(share: float, rate: float, bug_at_s: int = 0) -> Scene:
    """Return a scene in which treatment fails at ``rate``, not at 1 %, from ``bug_at_s`` on."""
    return Scene(40, lambda _: share, lambda _: 0.01, lambda s: rate if s >= bug_at_s else 0.01, bug_at_s)


def ramping(second: int) -> float:
    """Return the share of a ramp through 1, 5, 10, 25 and 50 %, four minutes each."""
    return (0.01, 0.05, 0.10, 0.25, 0.50)[second // 240]


HEALTHY = {
    "steady, 50/50": healthy(40, lambda _: 0.5),
    "steady, 10/90": healthy(40, lambda _: 0.1),
    "small control, 95/5": healthy(40, lambda _: 0.95),
    "few requests, 2/s": healthy(2, lambda _: 0.5),
    "ramp, errors double": healthy(40, ramping, lambda s: 0.007 * 2.0 ** (s / 1_200)),
    "ramp, 2 min incident": healthy(40, ramping, lambda s: 0.3 if 800 <= s < 920 else 0.01),
}
SICK = {
    "1 to 2 %, 10/90": sick(0.1, 0.02),
    "1 to 5 %, 10/90": sick(0.1, 0.05),
    "1 to 20 %, 10/90": sick(0.1, 0.2),
    "1 to 5 %, 50/50": sick(0.5, 0.05),
    "1 to 5 % after 15 min, 10/90": sick(0.1, 0.05, bug_at_s=900),
}


def judge(scene: Scene, rollouts: int, seed: int) -> dict[str, Floats]:
    """Return for every judge the second in which it kills each rollout, ``inf`` where it never does."""
    rng = np.random.default_rng(seed)
    judges = {name: make(rollouts, ALPHA) for name, make in JUDGES.items()}
    killed = {name: np.full(rollouts, np.inf) for name in judges}
    for second in range(SECONDS):
        n = rng.poisson(scene.rps, rollouts)
        n_t = rng.binomial(n, scene.share(second))
        x_t, x_c = rng.binomial(n_t, scene.treatment(second)), rng.binomial(n - n_t, scene.control(second))
        tick = Tick(*(a.astype(float) for a in (n_t, x_t, n - n_t, x_c)))
        for name, one in judges.items():
            killed[name] = np.where(one.read(tick) & np.isinf(killed[name]), second + 1.0, killed[name])
    return killed


def measure(rollouts: int = ROLLOUTS) -> dict[str, dict[str, dict[str, float | None]]]:
    """
    Return ``{judge: {what: {scene: figure}}}``.

    ``false kills``: percent of healthy rollouts killed, and of sick ones killed before their bug. ``delay``: mean
    seconds from the bug to the kill, of those that were found. ``missed``: percent of bugs not found in time.
    """
    found: dict[str, dict[str, dict[str, float | None]]] = {
        name: {"false kills, %": {}, "delay, s": {}, "missed, %": {}} for name in JUDGES
    }
    for number, (name, scene) in enumerate({**HEALTHY, **SICK}.items()):
        for judge_name, seconds in judge(scene, rollouts, seed=71 + number).items():
            _note(found[judge_name], name, scene, seconds)
    return found


def _note(of: dict[str, dict[str, float | None]], name: str, scene: Scene, seconds: Floats) -> None:
    if scene.bug_at_s is None:
        of["false kills, %"][name] = 100.0 * float(np.isfinite(seconds).mean())
        return
    early = seconds <= scene.bug_at_s
    if scene.bug_at_s:
        of["false kills, %"][f"before the bug, {name}"] = 100.0 * float(early.mean())
    after = seconds[~early] - scene.bug_at_s
    caught = after[np.isfinite(after)]
    of["delay, s"][name] = float(caught.mean()) if caught.size else None
    of["missed, %"][name] = 100.0 * float(np.isinf(after).mean()) if after.size else None


def run() -> dict[str, Any]:
    """Judge 1,000 rollouts of each of eleven scenes by all seven; nominal false kills are 1 %."""
    found = measure()
    return {"ours": found.pop("ours"), "peers": found, "unit": "percent of rollouts, or seconds"}


def main(arguments: list[str]) -> None:
    """Measure, print, and draw if asked."""
    parser = argparse.ArgumentParser(prog="python -m bench.verdicts", description=__doc__)
    parser.add_argument("--chart", type=Path, help="where to write the chart, an SVG")
    parser.add_argument("--page", action="store_true", help="put the table into docs/statistics.md")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--rollouts", type=int, default=ROLLOUTS, help="rollouts a scene (default: %(default)s)")
    chosen = parser.parse_args(arguments)
    found = measure(chosen.rollouts)
    print(json.dumps(found) if chosen.json else markdown(found))
    if chosen.page:
        write("verdicts", markdown(found))
    if chosen.chart is not None:
        chosen.chart.write_text(draw(found), encoding="utf-8")


def markdown(found: dict[str, dict[str, dict[str, float | None]]]) -> str:
    """Return one table: scenes down, judges across."""
    lines = ["| | " + " | ".join(found) + " |", "| --- " * (len(found) + 1) + "|"]
    for what in next(iter(found.values())):
        lines.append(f"| **{what}** " + "| " * len(found) + "|")
        for scene in found["ours"][what]:
            cells = [found[name][what][scene] for name in found]
            lines.append(f"| {scene} | " + " | ".join("-" if c is None else f"{c:,.1f}" for c in cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main(sys.argv[1:])
