"""
What people are told after an alarm.
"""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.sequential import Onset, attribute, pooled_log_s, two_sample_block

log_ses = st.one_of(st.just(-math.inf), st.floats(-5000.0, 5000.0))


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=5), log_ses, min_size=1, max_size=8))
def test_shares_are_parts_of_the_sum(log_s):
    """
    The shares of all accounts add up to 1, or to 0 if all are empty, and the largest account comes first.
    """
    parts = attribute(log_s)

    assert (0.0 if pooled_log_s(list(log_s.values())) == -math.inf else 1.0) == pytest.approx(
        sum(part.share for part in parts)
    )
    assert sorted(log_s) == sorted(part.name for part in parts)
    assert sorted((part.log_s for part in parts), reverse=True) == [part.log_s for part in parts]


def test_a_claim_about_one_guardrail_needs_its_own_account():
    """
    Two accounts that only together reach 1 kill, but neither may be blamed alone.
    """
    together = attribute({"errors": math.log(0.7), "latency": math.log(0.6)})
    alone = attribute({"errors": math.log(1.5), "latency": math.log(0.01)})

    assert pooled_log_s([part.log_s for part in together]) >= 0.0
    assert [("errors", False), ("latency", False)] == [(part.name, part.on_its_own) for part in together]
    assert [("errors", True), ("latency", False)] == [(part.name, part.on_its_own) for part in alone]
    assert [0.7 / 1.3, 0.6 / 1.3] == pytest.approx([part.share for part in together])


def test_renaming_changes_names_only():
    """
    Attribution under other names is the same attribution.
    """
    values = {"a": -1.0, "b": 2.0, "c": -math.inf}
    renamed = attribute({f"checkout {name}": value for name, value in values.items()})

    assert [(f"checkout {part.name}", part.share) for part in attribute(values)] == [
        (part.name, part.share) for part in renamed
    ]


def blocks(seed: int, good: int, bad: int):
    """
    Yield the start, in ms, and the evidence of 250 ms blocks: treatment fails at 1 %, then at 8 %.
    """
    rng = np.random.default_rng(seed)
    for number in range(good + bad):
        x_t = rng.binomial(20, 0.01 if number < good else 0.08)
        yield 250 * number, two_sample_block(20, x_t, 180, rng.binomial(180, 0.01), p_hat=0.01)


def test_the_onset_is_near_the_start_of_the_harm():
    """
    Half of the estimates lie within three seconds of the true start, and none is after the kill; history is no burden.
    """
    off_s = []
    for seed in range(40):
        onset = Onset()
        for began, log_e in blocks(seed, good=400, bad=60):
            onset.update(began, log_e)
        since = onset.since()
        assert since is not None
        off_s.append(abs(since - 100_000) / 1_000.0)

    assert np.median(off_s) <= 3.0
    assert 15.0 >= max(off_s)


def test_no_harm_has_no_onset():
    """
    While everything points at health there is no start to tell.
    """
    onset = Onset()
    assert onset.since() is None
    for began in range(0, 5_000, 250):
        onset.update(began, two_sample_block(100, 0, 900, 20, p_hat=0.01))

    assert onset.since() is None


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(st.floats(-20.0, 20.0), min_size=2, max_size=2), min_size=1, max_size=12))
def test_the_onset_is_the_start_with_the_largest_product(history):
    """
    Among all starts and components none has a larger product of e-values up to now than the one told.
    """
    onset = Onset(2)
    for number, log_e in enumerate(history):
        onset.update(number, np.array(log_e))
    products = {
        (start, k): math.fsum(block[k] for block in history[start:]) for start in range(len(history)) for k in range(2)
    }
    since = onset.since()

    if since is None:
        assert max(products.values()) <= 1e-9
    else:
        assert max(products.values()) == pytest.approx(max(products[since, k] for k in range(2)), abs=1e-9)


def test_onset_state_goes_through_json():
    """
    Written as JSON and read back, the estimate goes on as before.
    """
    whole, first = Onset(), Onset()
    history = list(blocks(3, good=20, bad=20))
    for began, log_e in history[:25]:
        whole.update(began, log_e)
        first.update(began, log_e)
    second = Onset.from_state(json.loads(json.dumps(first.to_state())))
    for began, log_e in history[25:]:
        whole.update(began, log_e)
        second.update(began, log_e)

    assert whole.to_state() == second.to_state()
    assert whole.since() == second.since()


@pytest.mark.parametrize(
    ("wrong", "names", "value"),
    [
        (lambda: attribute({"errors": math.nan}), "log_s['errors']", "nan"),
        (lambda: attribute({"errors": math.inf}), "log_s['errors']", "inf"),
        (lambda: Onset(0), "k", "0"),
        (lambda: Onset(2).update(0, [1.0]), "log_e", "(1,)"),
        (lambda: Onset(1).update(0, [math.nan]), "log_e", "nan"),
        (lambda: Onset(1).update(-5, [1.0]), "began", "-5"),
        (lambda: Onset.from_state([1.0]), "state", "1"),
    ],
)
def test_bad_input_is_named(wrong, names, value):
    """
    A ValueError names the argument and what is wrong with it.
    """
    with pytest.raises(ValueError) as refused:
        wrong()

    assert names in str(refused.value)
    assert value in str(refused.value)
