"""What a policy's guardrails cost where nobody says who it was, told before it runs."""

from __future__ import annotations

import math

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.policy import parse_policy
from guardian.tempering import tempered_factor, tempering_notes
from tests.guardian.policy.examples import SIMPLE

clusters = st.floats(1.0, 50.0)


def notes(*conditions: str, **changes: object) -> list[str]:
    guardrails = [{"when": when, "then": "kill"} for when in conditions]
    signals = {
        "quality": {"measure": "quality", "range": [0, 1]},
        "search_errors": {"of": "error_rate", "where": {"operation": "GET /search"}},
    }
    return list(tempering_notes(parse_policy(yaml.safe_load(SIMPLE) | {"guardrails": guardrails, "signals": signals} | changes)))


@given(st.floats(0.0001, 0.3), st.floats(1.01, 3.0), st.floats(0.01, 0.99), clusters)
def test_a_cluster_costs_at_least_itself(p_c: float, harm: float, share: float, cluster: float):
    """
    Finding harm takes at least ``cluster`` times as many requests, and exactly as many where a failure counts as one.
    """
    factor = tempered_factor(harm * p_c, p_c, share, cluster)

    assert factor >= cluster * (1.0 - 1e-6)
    assert 1.0 == tempered_factor(harm * p_c, p_c, share, 1.0)


def test_rare_failures_cost_the_cluster_and_frequent_ones_more():
    """
    Where failures are rare the factor is the cluster; where they are frequent the test loses more than that.
    """
    rare, usual, frequent = (tempered_factor(2.0 * p, p, 0.1, 3.0) for p in (1e-6, 0.01, 0.3))

    assert 3.0 == pytest.approx(rare, rel=1e-3)
    assert rare < usual < frequent


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((0.02, 0.01, 0.1, 0.5), "cluster is 0.5"),
        ((0.02, 0.01, 0.1, math.nan), "cluster is nan"),
        ((0.01, 0.01, 0.1, 2.0), "harm to find only where"),
        ((0.02, 0.01, 0.1, 2.0, 2.0), "exceeds 2.0 p_c"),
        ((0.02, 0.01, 1.0, 2.0), "share"),
    ],
)
def test_what_has_no_factor_is_refused(arguments: tuple[float, ...], said: str):
    """
    A cluster below 1, rates without harm and shares without control have no factor, and that is said.
    """
    with pytest.raises(ValueError, match=said):
        tempered_factor(*arguments)


def test_guardrails_against_control_find_later():
    """
    Against control the note tells how many times as many requests it takes, at the share and margin of the policy.
    """
    factor = tempered_factor(0.024, 0.01, 0.1, 2.0, 1.2)

    said = f"finding 2.4 % beside control's 1 % at a share of 10 % takes {factor:.3g} times as many requests"

    assert [
        f"error_rate > 1.2x control: where outcomes carry no unit id, {said} (unit_cluster: 2)",
    ] == notes("error_rate > 1.2x control")


def test_amounts_take_as_many_times_more_requests():
    """
    A fixed bound and a fixed difference stand as they are, and take ``unit_cluster`` times as many requests.
    """
    said = "no unit id, finding the same harm takes 3 times as many of them (unit_cluster: 3)"

    assert [
        f"error_rate > 5%: where outcomes carry {said}",
        f"search_errors > control + 1%: where outcomes carry {said}",
        f"report_rate > 2%: where feedback carries {said}",
    ] == notes("error_rate > 5%", "search_errors > control + 1%", "report_rate > 2%", unit_cluster=3.0)


def test_scores_take_as_many_times_more_of_them():
    """
    Of scores all are counted as parts, so that amounts stand and ``unit_cluster`` times as many are needed.
    """
    said = "no unit id, finding the same harm takes 2 times as many of them (unit_cluster: 2)"

    assert [
        f"csat < control - 0.3: where feedback carries {said}",
        f"quality < 0.7: where outcomes carry {said}",
    ] == notes("csat < control - 0.3", "quality < 0.7")


def test_there_is_nothing_to_note_where_nothing_is_tempered():
    """
    Latencies, shares, silence and literal rules know no clusters; neither does a policy whose failures count as one each.
    """
    literal = [{"when": "error_rate > 5% for 10m", "then": "kill", "evaluate": "literal"}]
    terms = parse_policy(yaml.safe_load(SIMPLE) | {"guardrails": literal})

    assert [] == list(tempering_notes(terms))
    assert [] == notes("latency_p95 > 300ms", "sample_ratio off", "no_data for 2m")
    assert [] == notes("error_rate > 5%", "error_rate > 1.2x control", unit_cluster=1.0)


@settings(deadline=None)
@given(st.sampled_from(["error_rate > {}x control", "report_rate > {}x control"]), st.floats(1.0, 1e5), clusters)
def test_every_multiple_has_its_note(when: str, factor: float, cluster: float):
    """
    Whatever the multiple, the example is one that can happen: no policy that can be read breaks its note.
    """
    made = notes(when.format(f"{factor:.3f}"), unit_cluster=cluster)

    assert (0 if cluster == 1.0 else 1) == len(made)
