"""``guardian simulate``: one answer for the same question, in words and in JSON; what is wrong is told all at once."""

from __future__ import annotations

import io
import math
from pathlib import Path

import pytest

from guardian.forecast import Forecast
from streams.apps.simulate import main
from streams.apps.simulate_given import Given

ROOT = Path(__file__).parents[3]
POLICY = """
flag: checkout-v2
environment: production
guardrails:
  - {when: error_rate > 1.2x control, then: kill}
  - {when: latency_p95 > 300ms, then: pause}
  - {when: csat < control - 0.3, then: pause}
  - {when: no_data for 2m, then: pause}
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
    numbers: dict[str, object] = {"runs": 20, **{name: options.pop(name) for name in Given.__slots__ if name in options}}
    code = main(list(paths), Given(**numbers), out=out, err=err, **options)  # type: ignore[arg-type]
    return code, out.getvalue(), err.getvalue()


def test_the_example_policy_within_budgeted_work() -> None:
    """At its defaults the policy of the repository takes some ten million steps of accounts: seconds, not minutes."""
    code, out, _ = run(ROOT / "config" / "policies", as_json=True, runs=30)
    found = Forecast.model_validate_json(out)

    assert 0 == code
    assert ["checkout-v2"] == [policy.flag for policy in found.policies]
    assert 0 < found.work * 300 / 30 < 12_000_000


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    """The same seed gives the same JSON, another one gives other times."""
    path = tmp_path / "one.yaml"
    path.write_text("flag: x\nenvironment: p\nguardrails: [{when: error_rate > 5%, then: alert}]\n")
    first, again, other = (run(path, as_json=True, seed=seed)[1] for seed in (7, 7, 8))

    assert first == again
    assert first != other


def test_people_read_tables_and_sentences(policies: Path, tmp_path: Path) -> None:
    """
    Each guardrail has a table, a chart and a sentence, and what was assumed for it; the budget stands at the end.

    --chart writes an SVG with a panel for each guardrail besides. A terminal sees how much is done, then a clean line.
    """
    chart = tmp_path / "power.svg"
    code, out, err = run(policies, err=Terminal(), chart=chart)

    assert 0 == code
    assert "simulating checkout-v2 (1 of 1): 50%" in err
    assert err.endswith("\r\x1b[K")
    assert chart.read_text().startswith("<svg ")
    assert "latency_p95 &gt; 300ms → pause" in chart.read_text()
    assert "error_rate > 1.2x control -> kill\n" in out
    assert "A tripled error rate is found in " in out
    assert "csat < control - 0.3 -> pause\n   assumed: 5% of the requests rated, 4.15 on average\n" in out
    assert "A mean csat 0.1 below what is allowed is found in " in out
    assert "no_data for 2m -> pause\n   a clock, no test: found after 2m in which 10 starts were expected\n" in out
    assert "\n   at this traffic 120 s at 10%, 120 s at 50%\n" in out
    assert "after a day of good traffic" in out
    assert "raised a false alarm" in out
    assert "False kills allowed a year: 0.367 on average, over 1 policy" in out.splitlines()[-1]
    assert all(len(line) <= 100 for line in out.splitlines() if "found in" not in line and "runs of" not in line)


def test_a_chart_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """--chart into a place that is not there ends with 2 and its name, before anything is simulated."""
    code, out, err = run(ROOT / "config" / "policies", chart=tmp_path / "none" / "power.svg", runs=100_000)

    assert (2, "") == (code, out)
    assert "--chart" in err and "power.svg" in err


def test_bad_numbers_are_told_all_at_once(tmp_path: Path) -> None:
    """Each option is named with its value and what would be right, beside the errors of the policies with their lines."""
    bad = tmp_path / "bad.yaml"
    bad.write_text(POLICY.replace("1.2x control", "5ms").replace("latency_p95 > 300ms", "lag > 5"))
    code, out, err = run(
        bad, traffic="fast", share="100%", rate="1", seed=-1, runs=3, csat=5.0, nps="20/30/60", reports="0%", measure="2%",
        spread="0.2",
    )  # fmt: skip
    told = err.splitlines()

    assert (2, "") == (code, out)
    assert [
        "--traffic: 'fast': requests a second, from 0.001/s to 1000000/s; write --traffic 200/s",
        "--share: '100%': the variation's share lies above 0% and below 100%, where a control is left; write --share 10%",
        "--rate: '1': control's error rate lies above 0% and below 100%; write --rate 1%",
        "--reports: '0%': of control's starts, those that are reported; above 0% and below 100%: write --reports 0.05%",
        "--seed: -1: a whole number from 0 on; write --seed 0",
        "--runs: 3: runs of each effect, from 20 to 100,000; write --runs 300",
        "--csat: 5.0: control's mean rating, above 1 and below 5; write --csat 4.15",
        "--nps: '20/30/60': the parts of detractors, passives and promoters, each above 0, 100 in all; write --nps 20/30/50",
        "--measure: '2%': control's mean, as a part of the measure's range, from 5% to 95%; write --measure 80%",
    ] == told[:9]
    assert told[9].startswith("--spread: '0.2': a standard deviation, as a part of the measure's range, from 5% to 50%")
    assert [5, 6] == [int(line.split(":")[1]) for line in told[10:]]


def test_what_is_assumed_of_control_is_heard_and_told(policies: Path) -> None:
    """The numbers of the options are those of the forecast; more ratings find the same fall sooner."""
    few, many = (
        Forecast.model_validate_json(run(policies, as_json=True, rated=rated, csat=4.3, share="50%")[1])
        for rated in ("5%", "50%")
    )
    falls = [
        next(one.median_s or math.inf for one in found.policies[0].guardrails[2].findings if one.effect == "-1")
        for found in (few, many)
    ]

    assert (0.5, 4.3, (0.2, 0.3, 0.5), 0.2) == (
        many.control.rated, many.control.csat, many.control.nps, many.control.spread
    )  # fmt: skip
    assert "50% of the requests rated, 4.3 on average" == many.policies[0].guardrails[2].assumed
    assert falls[1] < 0.5 * falls[0]


def test_an_unknown_flag_is_told_with_those_there_are(policies: Path) -> None:
    """--flag chooses by name; another name is an error that lists the flags."""
    code, _, err = run(policies, flag="chekout")

    assert 2 == code
    assert "--flag: 'chekout': no policy is of this flag; there are: checkout-v2\n" == err
