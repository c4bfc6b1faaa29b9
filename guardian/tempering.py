"""
What it costs that events do not say who it was.

Nobody knows then whether five failures are five users' or one's, so each counts as its part of one (``unit_cluster``).
Against control failures and reports are counted so among whole requests, which divides both *rates*; where an amount is
compared, and of scores, the evidence itself is divided. Either way harm takes more requests to find.
"""

from __future__ import annotations

from collections.abc import Iterator

from guardian.conditions import Condition, Kind, Relative
from guardian.numerals import number, percent
from guardian.policy import Policy
from guardian.sequential import information

EXAMPLE_RATE = 0.01
EXAMPLE_RATE_MOST = 0.25
EXAMPLE_HARM = 2.0
EXAMPLE_SHARE = 0.1
"""The harm that is told of: twice what the guardrail allows, at the first stage's share, or at this where there is none."""

RATES: dict[Kind, str] = {"error_rate": "outcomes carry", "report_rate": "feedback carries"}
SCORES: dict[Kind, str] = {
    "csat": "feedback carries",
    "nps": "feedback carries",
    "thumbs_down_rate": "feedback carries",
    "measure": "outcomes carry",
}


def tempered_factor(p_t: float, p_c: float, share: float, cluster: float, margin: float = 1.0) -> float:
    """
    Return how many times as many requests it takes to find a rate of ``p_t`` beside ``p_c`` without unit ids.

    Each failure counts as ``1/cluster`` of one, so the test sees ``p_t/cluster`` and ``p_c/cluster``; samples go with
    the inverse of ``sequential.information``. About ``cluster`` at rates of a few percent, more at high ones. Raises
    ValueError for a cluster below 1, where there is no harm to find, and as ``information`` does.
    """
    if not cluster >= 1.0:
        raise ValueError(f"cluster is {cluster!r}: it must be at least 1")
    tempered = information(p_t / cluster, p_c / cluster, share, margin)
    if tempered <= 0.0:
        raise ValueError(f"p_t is {p_t!r} and p_c is {p_c!r}: there is harm to find only where p_t exceeds {margin!r} p_c")
    return information(p_t, p_c, share, margin) / tempered


def tempering_notes(policy: Policy) -> Iterator[str]:
    """Yield a sentence for each guardrail that finds less, or later, where events carry no unit id."""
    if policy.unit_cluster == 1.0:
        return
    share = next((stage.share for stage in policy.stages if stage.users is None and stage.share < 1.0), EXAMPLE_SHARE)
    for guardrail in policy.guardrails:
        when = guardrail.when
        events = RATES.get(when.signal.kind) or SCORES.get(when.signal.kind)
        if events is not None and guardrail.evaluate != "literal":
            cost = _cost(when, share, policy.unit_cluster)
            yield f"{when.text}: where {events} no unit id, {cost} (unit_cluster: {policy.unit_cluster:g})"


def _cost(when: Condition, share: float, cluster: float) -> str:
    bound = when.bound
    if isinstance(bound, Relative) and when.signal.kind in RATES:
        p_c = min(EXAMPLE_RATE, EXAMPLE_RATE_MOST / bound.factor)
        p_t = EXAMPLE_HARM * bound.factor * p_c
        times = number(tempered_factor(p_t, p_c, share, cluster, bound.factor))
        rates = f"{percent(p_t, exact=True)} beside control's {percent(p_c, exact=True)}"
        return f"finding {rates} at a share of {percent(share, exact=True)} takes {times} times as many requests"
    return f"finding the same harm takes {cluster:g} times as many of them"
