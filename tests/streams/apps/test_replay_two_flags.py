"""
``guardian replay`` over recorded requests that ran under two flags: the same fold and the same engine as live.

The recordings are ones in which an answer came in time. In about one of eight like them none did, and both flags are killed;
how often is measured in ``tests/calibration/test_blame.py``.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streams.apps.replay import main
from tests.support.traffic import T0_MS
from tests.support.two_flags import OURS, THEIRS, Rate, by

POLICY = """
flag: {flag}
environment: production
guardrails:
  - when: error_rate > 1.2x control
    then: kill
"""
SECONDS, RPS = 20, 200


def recorded(rate: Rate, with_it: float, without_it: float, seed: int = 2) -> list[str]:
    """Exposures and outcomes of requests of 20 to 200 ms, in the order of their times, as lines of JSON."""
    rng = np.random.default_rng(seed)
    made: list[tuple[int, str]] = []
    for number, start_s in enumerate(np.sort(rng.uniform(0, SECONDS, SECONDS * RPS)).tolist()):
        ours = "treatment" if rng.random() < 0.5 else "control"
        theirs = "treatment" if rng.random() < (with_it if ours == "treatment" else without_it) else "control"
        start_ms, latency_ms = T0_MS + int(1_000 * start_s), int(rng.uniform(20, 200))
        common = {"source": "/shop", "environment": "production", "context_id": f"u{number}"}
        for flag, variant in ((OURS, ours), (THEIRS, theirs)):
            shown = {"type": "exposure", "id": f"{flag}-{number}", "time": start_ms, "flag_key": flag, "variant": variant}
            made.append((start_ms, json.dumps(shown | common)))
        ended = {
            "type": "outcome", "id": f"o-{number}", "time": start_ms + latency_ms, "latency_ms": latency_ms,
            "flags": {OURS: ours, THEIRS: theirs, "always-on": "on"},
            "outcome": "error" if rng.random() < rate(ours, theirs, start_s) else "ok",
        }  # fmt: skip
        made.append((start_ms + latency_ms, json.dumps(ended | common)))
    return [line for _, line in sorted(made)]


def replayed(folder: Path, lines: list[str], flags: tuple[str, ...] = (OURS, THEIRS)) -> list[dict[str, Any]]:
    events = folder / "events.jsonl"
    events.write_text("\n".join(lines))
    policies = [folder / f"{flag}.yaml" for flag in flags]
    for flag, path in zip(flags, policies, strict=True):
        path.write_text(POLICY.format(flag=flag))
    out, err = io.StringIO(), io.StringIO()
    assert 0 == main([str(events)], policies, as_json=True, out=out, err=err)
    return [json.loads(line) for line in out.getvalue().splitlines()]


def actions(made: list[dict[str, Any]]) -> dict[str, list[str]]:
    return {flag: [one["action"] for one in made if one["flag_key"] == flag] for flag in (OURS, THEIRS)}


def test_the_flag_at_fault_is_killed_and_the_other_one_held(tmp_path: Path) -> None:
    """The record of the hold names the other flag, with the numbers that its sentence tells."""
    made = replayed(tmp_path, recorded(by(theirs=0.2), 0.8, 0.2))
    (held,) = [one for one in made if one["action"] == "hold"]
    (with_flag,) = held["evidence"]["company"]

    assert {OURS: ["hold"], THEIRS: ["kill"]} == actions(made)
    assert (THEIRS, "treatment", "explains") == (with_flag["flag"], with_flag["variation"], with_flag["verdict"])
    errors = with_flag["events"] + with_flag["events_without"]
    assert f"{with_flag['events']} of {errors} errors ran under it" in held["explanation"]
    assert with_flag["log_e"] > 3.0 > with_flag["log_e_own"]


def test_flags_that_are_always_together_are_both_killed(tmp_path: Path) -> None:
    """Nothing could tell them apart, and both decisions say so."""
    made = replayed(tmp_path, recorded(by(theirs=0.2), 1.0, 0.0))

    assert {OURS: ["kill"], THEIRS: ["kill"]} == actions(made)
    assert all("cannot be told apart from flag" in one["explanation"] for one in made)


def test_without_a_policy_of_the_other_nothing_is_known_of_it(tmp_path: Path) -> None:
    """Only flags with a rollout are summed together: of others nothing is sent, and the kill is as it was."""
    made = replayed(tmp_path, recorded(by(theirs=0.2), 0.8, 0.2), flags=(OURS,))

    assert ["kill"] == actions(made)[OURS]
    assert [] == made[0]["evidence"]["company"]


@pytest.mark.parametrize("flag", [OURS, THEIRS])
def test_the_answer_does_not_depend_on_which_flag_it_is(tmp_path: Path, flag: str) -> None:
    """Whichever of two flags breaks, it is the one that is killed."""
    other = THEIRS if flag == OURS else OURS
    harm = {"ours" if flag == OURS else "theirs": 0.2}
    made = actions(replayed(tmp_path, recorded(by(**harm), 0.8, 0.2, seed=6)))

    assert ["kill"] == made[flag]
    assert "kill" not in made[other]
