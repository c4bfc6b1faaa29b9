"""The numbers of ``guardian simulate``, read as they were written."""

from __future__ import annotations

import re
from collections.abc import Iterator

from guardian.errors import Problem, shown
from guardian.forecast import Assumed
from streams.apps.simulate_given import Given

_PER_S = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3_600.0}
FEWEST_RUNS, MOST_RUNS = 20, 100_000
_RATES = {
    "rate": "control's error rate lies above 0% and below 100%; write --rate 1%",
    "thumbs_down": "of control's thumbs, those that point down; above 0% and below 100%: write --thumbs-down 10%",
    "reports": "of control's starts, those that are reported; above 0% and below 100%: write --reports 0.05%",
    "rated": "the part of the requests that is rated, above 0% and below 100%; write --rated 5%",
    "narrowed": "the part of the outcomes that a narrowed signal is about, above 0% and below 100%; write --narrowed 20%",
}
_MEASURE = "control's mean, as a part of the measure's range, from 5% to 95%; write --measure 80%"
_SPREAD = "a standard deviation, as a part of the measure's range, from 5% to 50%; 50% is all or nothing; write --spread 20%"
_NPS = "the parts of detractors, passives and promoters, each above 0, 100 in all; write --nps 20/30/50"


def problems_of(given: Given) -> Iterator[Problem]:
    """Yield everything that is wrong with them."""
    if not _traffic(given):
        said = "requests a second, from 0.001/s to 1000000/s; write --traffic 200/s"
        yield _problem("traffic", given.traffic, said)
    if given.share and not percent(given.share):
        said = "the variation's share lies above 0% and below 100%, where a control is left; write --share 10%"
        yield _problem("share", given.share, said)
    for name, said in _RATES.items():
        if not percent(getattr(given, name)):
            yield _problem(name, getattr(given, name), said)
    if given.seed < 0:
        yield Problem("--seed", None, "", str(given.seed), "a whole number from 0 on; write --seed 0")
    if given.runs is not None and not FEWEST_RUNS <= given.runs <= MOST_RUNS:
        said = f"runs of each effect, from {FEWEST_RUNS} to {MOST_RUNS:,}; write --runs 300"
        yield Problem("--runs", None, "", str(given.runs), said)
    yield from _score_problems(given)


def _score_problems(given: Given) -> Iterator[Problem]:
    if not 1.0 < given.csat < 5.0:
        yield Problem("--csat", None, "", str(given.csat), "control's mean rating, above 1 and below 5; write --csat 4.15")
    if not _nps(given):
        yield _problem("nps", given.nps, _NPS)
    if not 0.05 <= percent(given.measure) <= 0.95:
        yield _problem("measure", given.measure, _MEASURE)
    if not 0.05 <= percent(given.spread) <= 0.5:
        yield _problem("spread", given.spread, _SPREAD)


def assumed(given: Given) -> Assumed:
    """Return what they say, once nothing is wrong with them."""
    nps = _nps(given)
    assert nps is not None
    return Assumed(
        requests_per_s=_traffic(given), rate=percent(given.rate), share=percent(given.share) if given.share else None,
        runs=given.runs, rated=percent(given.rated), csat=given.csat, nps=nps, thumbs_down=percent(given.thumbs_down),
        reports=percent(given.reports), measure=percent(given.measure), spread=percent(given.spread),
        narrowed=percent(given.narrowed),
    )  # fmt: skip


def _traffic(given: Given) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?|\.\d+)(k)?(?:/(s|m|min|h))?", given.traffic.strip(), re.ASCII)
    if match is None:
        return 0.0
    per_s = float(match[1]) * (1_000.0 if match[2] else 1.0) / _PER_S[match[3] or "s"]
    return per_s if 0.001 <= per_s <= 1e6 else 0.0


def _nps(given: Given) -> tuple[float, float, float] | None:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)/(\d+(?:\.\d+)?)/(\d+(?:\.\d+)?)", given.nps.strip(), re.ASCII)
    if match is None:
        return None
    low, middle, high = (float(part) / 100.0 for part in match.groups())
    return (low, middle, high) if min(low, middle, high) > 0.0 and abs(low + middle + high - 1.0) < 1e-9 else None


def percent(text: str) -> float:
    """Return ``1%`` as 0.01; 0 for anything that is not above 0% and below 100%."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?|\.\d+) ?%", text.strip(), re.ASCII)
    value = float(match[1]) / 100.0 if match else 0.0
    return value if 0.0 < value < 1.0 else 0.0


def _problem(name: str, value: str, said: str) -> Problem:
    return Problem(f"--{name.replace('_', '-')}", None, "", shown(value), said)
