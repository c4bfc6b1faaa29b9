"""``guardian replay --against``: two sets of policies over the same events."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from streams.apps.cli import app
from streams.apps.compare import main
from tests.streams.apps.test_replay import BUG, POLICY, lines, run
from tests.support.traffic import Request

BLUNT = POLICY.replace("error_rate > 1.2x control", "error_rate > 90%")
LATER = POLICY.replace("error_rate > 1.2x control", "error_rate > 5x control")


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    path = tmp_path / "events.jsonl"
    path.write_text("\n".join(lines(BUG.requests())))
    return path


def policies(folder: Path, text: str, name: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def compared(recorded: Path, ours: str, theirs: str, **options: object) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    paths = [policies(recorded.parent, text, name) for text, name in ((ours, "ours.yaml"), (theirs, "theirs.yaml"))]
    code = main([str(recorded)], paths[:1], paths[1:], out=out, err=err, **options)  # type: ignore[arg-type]
    return code, out.getvalue(), err.getvalue()


def units_until(requests: list[Request], at_ms: int) -> int:
    """By hand: the distinct units of the treatment that had been exposed, or had ended, before a time."""
    return len({r.unit for r in requests if r.variation == "treatment" and r.start_ms < at_ms})


def test_a_kill_that_only_one_of_them_takes_is_gained_or_lost(recorded: Path):
    """What the policies kill and those against them do not is gained, and lost the other way round."""
    gained = json.loads(compared(recorded, POLICY, BLUNT, as_json=True)[1])
    lost = json.loads(compared(recorded, BLUNT, POLICY, as_json=True)[1])
    neither = json.loads(compared(recorded, BLUNT, BLUNT, as_json=True)[1])

    assert [(1, 0), (0, 1), (0, 0)] == [(one["gained"], one["lost"]) for one in (gained, lost, neither)]
    assert ["gained", "lost", "neither"] == [one["rows"][0]["verdict"] for one in (gained, lost, neither)]
    assert gained["rows"][0]["kill"] == lost["rows"][0]["kill_against"]
    assert (1, None) == (neither["neither"], neither["rows"][0]["kill"])


def test_times_and_units_are_those_of_the_events(recorded: Path):
    """A kill is told with its time after the first unit and the distinct units until then; without one, all there were."""
    requests = BUG.requests()
    [row] = json.loads(compared(recorded, POLICY, BLUNT, as_json=True)[1])["rows"]
    [kill] = [json.loads(line) for line in run(recorded.parent / "ours.yaml", recorded, as_json=True)[1]]
    first_ms = min(r.start_ms for r in requests if r.variation == "treatment")
    killed_ms = first_ms + row["kill"]["after_ms"]

    assert 8_000 < row["kill"]["after_ms"] < 14_000
    assert kill["guardrail"] == row["kill"]["guardrail"]
    assert units_until(requests, killed_ms - 200) <= row["exposed"] <= units_until(requests, killed_ms + 200)
    assert units_until(requests, killed_ms + 60_000) == row["exposed_against"]


def test_a_kill_that_comes_later_exposes_more(recorded: Path):
    """Where both kill, the stricter policy needs less time and fewer units."""
    [row] = json.loads(compared(recorded, POLICY, LATER, as_json=True)[1])["rows"]

    assert "both" == row["verdict"]
    assert row["kill"]["after_ms"] < row["kill_against"]["after_ms"]
    assert row["exposed"] < row["exposed_against"]


def test_a_gate_fails_on_what_it_is_for(recorded: Path):
    """``--fail-on lost`` exits with 3 where a kill is lost and with 0 where one is gained; and the other way round."""
    gained, lost = (POLICY, BLUNT), (BLUNT, POLICY)
    codes = [compared(recorded, *pair, fail_on=what)[0] for pair in (gained, lost) for what in ("gained", "lost", "")]

    assert [3, 0, 0, 0, 3, 0] == codes


def test_the_table_has_a_line_a_variation(recorded: Path):
    """People read a table: who gained or lost, after how long, and how many were exposed."""
    _, out, err = compared(recorded, POLICY, BLUNT)
    head, row, counts = out.splitlines()

    assert "rollout variation kill killed after against exposed against" == " ".join(head.split())
    assert ["production|checkout-v2", "treatment", "gained"] == row.split()[:3]
    assert "kills: 1 gained, 0 lost, 0 both, 0 neither" == counts
    assert "0 unreadable" in err


def test_what_cannot_be_compared_is_said(recorded: Path):
    """Standard input, an unknown word and a broken policy end with 2 and what would be right."""
    broken = POLICY.replace("kill", "klil")
    ours = policies(recorded.parent, POLICY, "ours.yaml")
    stdin = CliRunner().invoke(app, ["replay", "-", "--policies", str(ours), "--against", str(ours)])

    assert (2, True) == (stdin.exit_code, "write them into a file" in stdin.stderr)
    code, _, err = compared(recorded, POLICY, POLICY, fail_on="kill")
    assert (2, True) == (code, "with --against write gained or lost" in err)
    code, _, err = compared(recorded, POLICY, broken)
    assert (2, True) == (code, "'klil': did you mean kill?" in err)
