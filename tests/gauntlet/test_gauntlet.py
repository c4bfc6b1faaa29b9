"""The guardian in nasty worlds: what is harmful is found, soon, and nothing else is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.gauntlet.judging import Verdict, judged
from tests.gauntlet.offline import Known
from tests.gauntlet.rollouts import HARMS, HEALTHY_S, WORLDS, Labelled, harmful, healthy
from tests.gauntlet.scoring import by, scored

LEAST = 0.99
WITHIN = 1.25
"""Starts read, and time, until harm of any kind is found, over what the same tests need offline."""
SHORT = {
    ("50 %", "large"), ("10 %", "tail"), ("ramp", "late"), ("duplicates", "silent"), ("late outcomes", "large"),
    ("slow successes", "mute"), ("heavy and broken users", "large"), ("incidents", "rating"),
}  # fmt: skip
"""World and harm of the short form: each harm but the small one, which takes minutes, in a world of its own."""


SLOW = {("ramp", "late")}
"""Those that take longest, for `make test-long` alone."""


@pytest.mark.parametrize("nasty", WORLDS)
def test_a_healthy_rollout_is_left_alone(nasty: str):
    """
    Without harm nothing is decided, however nasty the world is.
    """
    (rollout,) = (one for one in healthy(range(100, 101)) if one.nasty == nasty)

    assert "" == judged(rollout).said


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("nasty", "harm"), [pytest.param(*one, marks=pytest.mark.long) if one in SLOW else one for one in sorted(SHORT)]
)
def test_harm_is_found_in_a_nasty_world(nasty: str, harm: str):
    """
    Harm is found after it began, and the starts that were read until then are at most twice those needed offline.
    """
    (rollout,) = (one for one in harmful(range(100, 101)) if (one.nasty, one.harm) == (nasty, harm))
    verdict = judged(rollout)

    assert verdict.is_right, verdict
    assert scored([verdict]).in_events <= 2.0, verdict


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_the_gauntlet_long():
    """
    Of some seven hundred labelled rollouts 99 % of the alarms are right, and 99 % of the harmful ones are found; each
    kind of harm is found within 1.25 times the starts, and the time, that the same tests need offline.
    """
    found = [judged(one) for one in (*healthy(range(1, 21)), *harmful(range(1, 6)))]
    whole = scored(found)

    assert whole.precision >= LEAST, whole.false
    assert whole.recall >= LEAST, whole.missed
    harms = by((one for one in found if one.rollout.harm), lambda one: one.rollout.harm)
    assert {} == {name: one.in_events for name, one in harms.items() if one.in_events > WITHIN}
    assert {} == {name: one.in_time for name, one in harms.items() if one.in_time > WITHIN}


def test_a_blind_guardian_and_a_nervous_one_are_told_apart():
    """
    Harm that nobody finds is a miss; an alarm without harm, or before it, is false, and no find.
    """
    sick = Labelled("50 %", "large", replace(WORLDS["50 %"], harm=replace(HARMS["large"], from_s=20.0)))
    well = Labelled("50 %", "", replace(WORLDS["50 %"], seconds=HEALTHY_S))
    right = Verdict(sick, "kill", at_s=24.0, read_s=23.0, offline=Known(22.0, 22.5))
    found = scored([right, replace(right, at_s=19.0), Verdict(sick), Verdict(well, "hold", at_s=3.0), Verdict(well)])

    assert (3, 2, 1, 2, 1) == (found.harmful, found.healthy, found.right, len(found.false), len(found.missed))
    assert (1 / 3, 1 / 3) == (found.precision, found.recall)
    assert (1.5, 2.0, 1.6) == (found.in_events, found.in_time, found.in_arrivals)
