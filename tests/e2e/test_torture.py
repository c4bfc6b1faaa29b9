"""Killed at any moment, any of them, again and again: nothing is lost, and nothing is doubled."""

from __future__ import annotations

import os
import random

import pytest

from tests.torture.faults import KILLS, STORM, Fault, schedule
from tests.torture.findings import Found, differences, returns, takeovers
from tests.torture.story import Story
from tests.torture.striking import Struck
from tests.torture.trial import run_trial

SEED = int(os.environ.get("SEED") or random.SystemRandom().randrange(10_000))


def told(found: Found) -> str:
    """What to read when it went wrong."""
    return "\n".join([f"seed {found.seed}", *found.wrong, *(f"{one.at_s:.2f} {one.fault}" for one in found.struck)])


@pytest.mark.timeout(400)
def test_ten_kills(three_brokers, real_kafka, tmp_path):
    """
    Ten kills of observe, judge, act, hosts and brokers under load: every event is counted once, every decision has one
    effect, and the verdicts are those of an undisturbed run on the same events. ``SEED=n`` plays a schedule again. How late
    they are is measured by ``python -m tests.torture``, where nothing else keeps the machine busy.
    """
    found = run_trial(three_brokers, real_kafka, tmp_path, SEED, kills=10, terms=STORM)

    assert [] == found.wrong, told(found)
    assert 10 == found.kills + found.missed


@pytest.mark.long
@pytest.mark.timeout(3_600)
def test_two_hundred_kills(three_brokers, real_kafka, tmp_path):
    """The same for two hundred kills."""
    found = run_trial(three_brokers, real_kafka, tmp_path, SEED, kills=200, terms=STORM)

    assert [] == found.wrong, told(found)
    assert found.kills > 150


def test_a_seed_plays_its_faults_and_its_story_again():
    """The same seed gives the same schedule and the same events, another one others."""
    faults = [list(schedule(seed, 20, 2, 3)) for seed in (1, 1, 2)]
    stories = [[record.value for record in Story(seed, 5.0).tell()] for seed in (1, 1, 2)]

    assert faults[0] == faults[1] != faults[2]
    assert stories[0] == stories[1] != stories[2]
    assert 20 == sum(fault.kind in KILLS for fault in faults[0])


def test_the_ledger_tells_what_is_missing_and_what_is_too_much():
    """One event more in one place and one less in another do not cancel out."""
    story = Story(1, 5.0)
    list(story.tell())
    [first, second, *_] = sorted(story.totals)
    found = story.totals.copy()
    found[first] += 1
    found[second] -= 1

    assert (0, 0, []) == differences(story.totals, story.totals)
    assert (1, 1, 2) == (*differences(story.totals, found)[:2], len(differences(story.totals, found)[2]))


def test_a_takeover_is_told_only_where_it_is_clear_whose_it_was():
    """
    A kill before another one is left out; where nobody was there, it is told how long somebody took who was started again,
    unless another fault came meanwhile.
    """
    first, second = Struck(Fault(1.0, "host", "host", 0, 5.0), 100.0), Struck(Fault(3.0, "host", "host", 1, 9.0), 103.0)
    heard_s = {"0": [99.0, 111.0], "1": [99.0, 100.5, 109.0]}

    assert {100.0: 11.0} == takeovers(heard_s, [first], "judge", 2)
    assert ({}, [6.0]) == (takeovers(heard_s, [first, second], "judge", 2), returns(heard_s, [first, second], 2))
    assert [] == returns(heard_s, [first], 2)
    assert [] == returns(heard_s, [first, second, Struck(Fault(3.0, "broker", "broker", 0, 1.0), 107.0)], 2)
    assert {103.0: 8.0} == takeovers(heard_s, [first, second], "judge", 3)
