"""
Run a file of reference vectors through the product: ``python -m tests.reference FILE``.

A vector is ``{id, detector, inputs, expected, tol}``; numbers agree if they differ by at most ``tol``, relatively
(absolutely below 1). One line for every vector that differs, then the count. Exits 1 if any differs.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from guardian.sequential import (
    Account,
    ErrorRateStream,
    additive_margin_pair,
    bucket_key,
    count_block,
    e_bh,
    e_lond,
    exceedances,
    mixture_prior,
    ratings_block,
    ratio_grid,
    share_block,
    share_log_bayes_factor,
    threshold_block,
    threshold_mixture,
    two_sample_block,
)
from guardian.sequential.latency import gamma
from tests.comparators import growthbook_lower_bound, howard_ramdas_radius

Inputs = Mapping[str, Any]


def grid(given: Inputs) -> dict[str, Any]:
    return {"g": ratio_grid(given["K"], given["lo"], given["hi"])}


def two_sample(given: Inputs) -> dict[str, Any]:
    counts = (given[name] for name in ("n_T", "x_T", "n_C", "x_C"))
    return {"log_e": two_sample_block(*counts, p_hat=given["p_hat"], margin=given["r"], grid=given["g"])}


def count(given: Inputs) -> dict[str, Any]:
    total = given["exposure_T"] + given["exposure_C"]
    share = given["exposure_T"] / total if total else 0.0
    return {"log_e": count_block(given["x_T"], given["x_C"], share, margin=given["r"], grid=given["g"])}


def additive(given: Inputs) -> dict[str, Any]:
    counts = (given[name] for name in ("n_T", "x_T", "n_C", "x_C"))
    rates = {"theta_t": given["theta_T"], "theta_c": given["theta_C"], "delta": given["delta"]}
    return dict(zip(("q_C", "log_e"), additive_margin_pair(*counts, **rates), strict=True))


def threshold(given: Inputs) -> dict[str, Any]:
    return {"log_e": threshold_block(given["n"], given["x"], p0=given["p0"], grid=given["g"])}


def mixture(given: Inputs) -> dict[str, Any]:
    if "beta_a" in given:
        a, b = given["beta_a"], given["beta_b"]
    else:
        a, b = mixture_prior(given["p0"], given["confseq"]["v_opt"], given["confseq"]["alpha_opt"])
    return {"log_e": threshold_mixture(given["n"], given["x"], p0=given["p0"], a=a, b=b)}


def ratings(given: Inputs) -> dict[str, Any]:
    counts = given["levels"], given["count_T"], given["count_C"]
    return {"log_e": ratings_block(*counts, centre=given["centre"], drop=given["delta"], bets=given["c"])}


def share(given: Inputs) -> dict[str, Any]:
    tolerance = given.get("tolerance", 0.0)
    return {"log_e": share_block(given["n_T"], given["n_C"], given["w0"], tolerance=tolerance, lifts=given["h"])}


def dirichlet(given: Inputs) -> dict[str, Any]:
    return {"log_bf": share_log_bayes_factor(given["counts"], given["theta0"], concentration=given["k"])}


def account(given: Inputs) -> dict[str, Any]:
    paid = Account(len(given["pi"]), given["pi"])
    log_s, first_kill = [], None
    for block, (eta, log_e) in enumerate(zip(given["eta"], given["log_e"], strict=True)):
        paid.deposit(eta)
        paid.update(np.array(log_e, dtype=float))
        log_s.append(paid.log_s())
        first_kill = block if first_kill is None and paid.crossed() else first_kill
    return {"log_S": log_s, "first_kill_block": first_kill}


def error_rate_stream(given: Inputs) -> dict[str, Any]:
    stream = ErrorRateStream(
        margin=given["r"],
        grid=ratio_grid(given["grid"]["K"], given["grid"]["lo"], given["grid"]["hi"]),
        eta_first_block=given["eta_first_block"],
        eta_per_tick=given["eta_per_tick"],
        decay=given["decay"],
        n_t_min=given["close_when"]["n_T_min"],
        n_c_min=given["close_when"]["n_C_min"],
    )
    columns = [given["tick_columns"].index(name) for name in ("n_T", "x_T", "n_C", "x_C")]
    blocks = [block for tick in given["ticks"] if (block := stream.tick(*(tick[i] for i in columns)))]
    return {
        "log_S": [block.log_s for block in blocks],
        "n_blocks": len(blocks),
        "first_kill_block": next((block.block for block in blocks if block.crossed), None),
    }


def false_discovery_rate(given: Inputs) -> dict[str, Any]:
    log_e = [math.log(e) if e > 0 else -math.inf for e in given["e"]]
    return {"e_bh_rejected": e_bh(log_e, given["alpha"]), "e_lond_rejected": e_lond(log_e, given["alpha"])}


def bucket_keys(given: Inputs) -> dict[str, Any]:
    return {"keys": [bucket_key(value, given["relative_accuracy"]) for value in given["values"]]}


def latency_exceedance(given: Inputs) -> dict[str, Any]:
    control, treatment = (
        {int(key): count for key, count in given[name].items()} for name in ("control_buckets", "treatment_buckets")
    )
    accuracy = given["relative_accuracy"]
    found = exceedances(control, treatment, control, tau=given["tau"], margin=given["r"], accuracy=accuracy)
    if found is None:
        raise ValueError("control_buckets is empty")
    return {
        "edge_key": found.edge_key,
        "shift": found.shift,
        "r_effective": gamma(accuracy) ** found.shift,
        "n_T": found.n_t,
        "x_T": found.x_t,
        "n_C": found.n_c,
        "x_C": found.x_c,
    }


def growthbook(given: Inputs) -> dict[str, Any]:
    counts = (given[name] for name in ("n_T", "x_T", "n_C", "x_C"))
    return {"lower": growthbook_lower_bound(*counts, alpha=given["alpha"], tuned_for=given["N_tuning"])}


def howard_ramdas(given: Inputs) -> dict[str, Any]:
    return {"radius": howard_ramdas_radius(given["t"], given["alpha"], given["t_min"], given["A"])}


DETECTORS: dict[str, Callable[[Inputs], dict[str, Any]]] = {
    "ratio_grid": grid,
    "two_sample_bernoulli_block": two_sample,
    "two_sample_count_block": count,
    "two_sample_additive_margin_block": additive,
    "threshold_block": threshold,
    "threshold_truncated_beta_mixture": mixture,
    "ratings_drop_block": ratings,
    "share_block": share,
    "srm_dirichlet_log_bayes_factor": dirichlet,
    "deposit_account": account,
    "error_rate_stream": error_rate_stream,
    "e_bh_and_e_lond": false_discovery_rate,
    "latency_bucket_keys": bucket_keys,
    "latency_exceedance": latency_exceedance,
    "(comparator) growthbook_one_sided_lower_bound": growthbook,
    "(comparator) howard_ramdas_cdf_band": howard_ramdas,
}


def agree(expected: Any, got: Any, tol: float) -> bool:
    """
    Say whether two values agree: containers item by item, numbers to ``tol``, everything else exactly.
    """
    if isinstance(expected, Mapping):
        return isinstance(got, Mapping) and all(
            name in got and agree(value, got[name], tol) for name, value in expected.items()
        )
    if isinstance(expected, list):
        items = got.tolist() if isinstance(got, np.ndarray) else got
        return (
            isinstance(items, list)
            and len(items) == len(expected)
            and all(agree(one, other, tol) for one, other in zip(expected, items, strict=True))
        )
    if expected is None or got is None or isinstance(expected, bool):
        return expected is got
    expected, got = float(expected), float(got)
    if not math.isfinite(expected):
        return expected == got or (math.isnan(expected) and math.isnan(got))
    return abs(got - expected) <= tol * max(1.0, abs(expected))


def difference(case: Mapping[str, Any]) -> str | None:
    """
    Return the line that says how a vector differs, or None where it agrees.
    """
    detector = DETECTORS.get(case["detector"])
    if detector is None:
        return f"{case['id']}: unknown detector {case['detector']!r}, expected {case['expected']!r}, got nothing"
    try:
        got = detector(numbers(case["inputs"]))
    except Exception as error:  # noqa: BLE001 - whatever goes wrong, the vector differs, and the next one is run
        return f"{case['id']}: expected {case['expected']!r}, got {type(error).__name__}: {error}"
    if agree(case["expected"], got, case["tol"]):
        return None
    return f"{case['id']}: expected {case['expected']!r}, got {plain(got)!r}"


def numbers(value: Any) -> Any:
    """
    Return a JSON value with the numbers that JSON has no word for put in: "inf", "-inf" and "nan".
    """
    if isinstance(value, dict):
        return {name: numbers(item) for name, item in value.items()}
    if isinstance(value, list):
        return [numbers(item) for item in value]
    return float(value) if value in {"inf", "-inf", "nan"} else value


def plain(got: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in got.items()}


def main(arguments: list[str] | None = None) -> int:
    """
    Print what differs and the count; return the exit status.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.reference", description=__doc__)
    parser.add_argument("file", type=Path, help="reference vectors, JSON with a list under `cases`")
    document = json.loads(parser.parse_args(arguments).file.read_text())
    cases = document["cases"] if isinstance(document, dict) else document
    differing = [line for case in cases if (line := difference(case)) is not None]
    for line in differing:
        print(line)
    print(f"{len(cases) - len(differing)} agree, {len(differing)} differ")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
