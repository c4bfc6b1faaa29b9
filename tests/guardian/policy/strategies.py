"""Valid policies by the thousand, as documents: spelt the way that ``to_document`` spells them."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

from guardian.conditions import Declaration, parse_condition

unhurried = settings(deadline=None)
"""How long one example takes says nothing on a busy machine."""
few = settings(deadline=None, max_examples=40)
"""For what is slow: a file is written and read for each example."""

DECLARED: dict[str, dict[str, Any]] = {
    "quality": {"measure": "search_quality", "range": [-1.0, 1.0]},
    "search_latency": {"of": "latency_p99", "where": {"operation": "GET /search", "country": "DE"}},
    "many_reports": {"means": "report_rate > 0.25%"},
}
SIGNALS = {name: Declaration.model_validate(given) for name, given in DECLARED.items()}

names = st.from_regex(r"[a-z][a-z0-9._/-]{0,20}", fullmatch=True)
durations = st.sampled_from(["90s", "0.5s", "10m", "1h", "36h", "3d", "14d", "366d"])
percents = st.decimals("0.01", "99.99", places=2).map(lambda p: f"{p.normalize():f}%")
factors = st.decimals("1", "60", places=1).map(lambda f: f"{f.normalize():f}x")
highs = st.sampled_from([">", ">="])
lows = st.sampled_from(["<", "<="])
arms = st.sampled_from(["control", "baseline"])
rates = st.sampled_from(["error_rate", "thumbs_down_rate", "report_rate"])
latencies = st.sampled_from(["latency_p50", "latency_p95", "latency_p999", "search_latency"])
budgets = st.floats(1e-9, 0.5, allow_nan=False)


def _written(*parts: str | st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    given = [st.just(part) if isinstance(part, str) else part for part in parts]
    return st.tuples(*given).map(" ".join)


compared = st.one_of(
    _written(rates, highs, percents),
    _written(rates, highs, arms, "+", percents),
    _written(st.one_of(rates, latencies), highs, st.one_of(arms, _written(factors, arms))),
    _written(latencies, highs, st.integers(1, 90_000).map(lambda ms: f"{ms}ms")),
    _written(latencies, highs, arms, "+", st.integers(1, 90).map(lambda s: f"{s}s")),
    _written("csat", lows, st.decimals("0.1", "10", places=1).map(str)),
    _written("nps", lows, arms, "-", st.integers(0, 199).map(str)),
    _written("quality", st.one_of(highs, lows), st.decimals("-0.99", "0.99", places=2).map(str)),
)
harms = st.one_of(
    compared,
    _written(compared, "for", durations),
    st.sampled_from(["sample_ratio off", "many_reports"]),
    _written("no_data for", durations),
)
healths = st.one_of(
    _written(rates, lows, percents),
    _written(rates, lows, arms, "+", percents),
    _written("nps", highs, arms),
    _written("quality > 0.5"),
    _written(latencies, lows, factors, arms),
)


@st.composite
def stages(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Stages that rise, each of which can be left."""
    shares = sorted(draw(st.sets(st.integers(1, 1000), min_size=1, max_size=6)))
    made = []
    for day, share in enumerate(shares, start=15):
        stage: dict[str, Any] = {"share": f"{share / 10:g}%", "for": draw(durations)}
        stage |= draw(
            st.fixed_dictionaries(
                {},
                optional={
                    "until": st.one_of(healths, st.lists(healths, min_size=2, max_size=3)),
                    "approval": st.lists(names, min_size=1, max_size=3),
                    "name": names,
                    "size": st.integers(1, 10**9),
                    "start": st.just(f"2024-11-{day}T09:00:00Z"),
                },
            )
        )
        made.append(stage)
    made[-1].pop("for") if draw(st.booleans()) else None
    return made


def _asks(guardrail: dict[str, Any]) -> object:
    """What it compares: two with bounds of one kind may contradict each other."""
    when = parse_condition(guardrail["when"], SIGNALS)
    return when.signal, when.op and when.op[0], type(when.bound)


guardrails = st.lists(
    st.fixed_dictionaries(
        {
            "when": harms,
            "then": st.sampled_from(["alert", "hold", "pause", "step_back", "kill", "kill_flag"]),
            "evaluate": st.sampled_from(["evidence", "either", "both"]),
        }
    ),
    min_size=1,
    max_size=6,
    unique_by=_asks,
)


def _without_empty_steps(document: dict[str, Any]) -> dict[str, Any]:
    """Whoever has no stage before the last one has none to step back to."""
    if len(document.get("stages", [])) > 1:
        return document
    given = document["guardrails"]
    milder = [{**one, "then": "pause"} if one["then"] == "step_back" else one for one in given]
    return {**document, "guardrails": milder}


documents: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "flag": names,
        "environment": names,
        "control": st.just("control"),
        "owner": names,
        "mode": st.sampled_from(["enforce", "shadow"]),
        "false_kills": st.fixed_dictionaries(
            {"per_rollout": budgets, "per_day": budgets, "per_step": budgets}
        ),
        "guardrails": guardrails,
        "signals": st.just(DECLARED),
        "min_units": st.integers(1, 1000),
        "unit_cluster": st.floats(1, 1000, allow_nan=False),
    },
    optional={
        "variations": st.lists(
            names.filter(lambda name: name != "control"), min_size=1, max_size=3, unique=True
        ),
        "stages": stages(),
        "cooldown": durations,
        "min_starts": st.integers(51, 10**6),
        "false_advances": budgets.filter(lambda budget: budget != 0.05),
        "accelerate": st.just(True),
        "freeze": st.just([{"from": "2026-12-20T00:00:00Z", "to": "2027-01-02T00:00:00Z"}]),
        "hours": st.just({"days": "mon, tue, sat", "from": "09:00", "to": "17:30", "zone": "Europe/Berlin"}),
    },
).map(_without_empty_steps)
