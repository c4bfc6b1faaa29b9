"""``guardian simulate``: one answer for the same question, in words and in JSON; what is wrong is told all at once."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from guardian.forecast import Forecast
from streams.apps.simulate import main

ROOT = Path(__file__).parents[3]
POLICY = """
flag: checkout-v2
environment: production
guardrails:
  - {when: error_rate > 1.2x control, then: kill}
  - {when: latency_p95 > 300ms, then: pause}
stages:
  - {share: 10%, for: 1h}
  - {share: 50%}
"""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY)
    return path


def run(*paths: Path, err: io.StringIO | None = None, **options: object) -> tuple[int, str, str]:
    out, err = io.StringIO(), err or io.StringIO()
    given: dict[str, object] = {"runs": 20} | options
    code = main(list(paths), out=out, err=err, **given)  # type: ignore[arg-type]
    return code, out.getvalue(), err.getvalue()


def test_the_example_policy_within_budgeted_work() -> None:
    """At its defaults the policy of the repository takes some ten million steps of accounts: seconds, not minutes."""
    code, out, _ = run(ROOT / "config" / "policies", as_json=True, runs=30)
    found = Forecast.model_validate_json(out)

    assert 0 == code
    assert ["checkout-v2"] == [policy.flag for policy in found.policies]
    assert 0 < found.work * 300 / 30 < 12_000_000


def test_the_same_seed_gives_the_same_bytes(policies: Path) -> None:
    """The same seed gives the same JSON, another one gives other times."""
    first, again, other = (run(policies, as_json=True, seed=seed)[1] for seed in (7, 7, 8))

    assert first == again
    assert first != other


def test_people_read_tables_and_sentences(policies: Path) -> None:
    """Each guardrail has a table, a chart and a sentence; what is not live says so; the budget stands at the end."""
    code, out, err = run(policies)

    assert (0, "") == (code, err)
    assert "error_rate > 1.2x control -> kill\n" in out
    assert "A tripled error rate is found in " in out
    assert "latency_p95 > 300ms -> pause (not tested live yet)" in out
    assert "after a day of good traffic" in out
    assert "raised a false alarm" in out
    assert "False kills allowed a year: 0.367 on average, over 1 policy" in out.splitlines()[-1]
    assert all(len(line) <= 100 for line in out.splitlines() if "found in" not in line and "runs of" not in line)


def test_progress_is_for_terminals(policies: Path) -> None:
    """A terminal sees how much is done, and a clean line at the end."""
    _, _, err = run(policies, err=Terminal())

    assert "simulating checkout-v2 (1 of 1): 50%" in err
    assert err.endswith("\r\x1b[K")


def test_a_chart_is_written(policies: Path, tmp_path: Path) -> None:
    """--chart writes an SVG with a panel for each guardrail; a place that cannot be written is named."""
    chart = tmp_path / "power.svg"

    assert 0 == run(policies, chart=chart)[0]
    assert chart.read_text().startswith("<svg ")
    assert "latency_p95 &gt; 300ms → pause" in chart.read_text()
    code, _, err = run(policies, chart=tmp_path / "none" / "power.svg")
    assert 2 == code
    assert "--chart" in err and "cannot be written" in err


def test_bad_numbers_are_told_all_at_once(tmp_path: Path) -> None:
    """Each option is named with its value and what would be right, beside the errors of the policies with their lines."""
    bad = tmp_path / "bad.yaml"
    bad.write_text("flag: x\nenvironment: p\nguardrails:\n  - {when: error_rate > 5ms, then: kill}\n  - {when: lag > 5, then: kill}\n")
    code, out, err = run(bad, traffic="fast", share="100%", rate="1", seed=-1, runs=3)
    told = err.splitlines()

    assert (2, "") == (code, out)
    assert [
        "--traffic: 'fast': requests a second, from 0.001/s to 1000000/s; write --traffic 200/s",
        "--share: '100%': the variation's share lies above 0% and below 100%, where a control is left; write --share 10%",
        "--rate: '1': control's error rate lies above 0% and below 100%; write --rate 1%",
        "--seed: -1: a whole number from 0 on; write --seed 0",
        "--runs: 3: runs of each effect, from 20 to 100,000; write --runs 300",
    ] == told[:5]
    assert [4, 5] == [int(line.split(":")[1]) for line in told[5:]]


def test_an_unknown_flag_is_told_with_those_there_are(policies: Path) -> None:
    """--flag chooses by name; another name is an error that lists the flags."""
    code, _, err = run(policies, flag="chekout")

    assert 2 == code
    assert "--flag: 'chekout': no policy is of this flag; there are: checkout-v2\n" == err
