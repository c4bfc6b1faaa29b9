"""From when on new units are counted: shares take a moment to arrive where they were changed, and none where they were not."""

from __future__ import annotations

from tests.support.courses import Course, told
from tests.support.sums import World
from tests.support.traffic import policy

SHARES = {"guardrails": [{"when": "sample_ratio off", "then": "pause"}]}


def test_a_variation_that_falls_silent_is_missed_at_once():
    """
    Nobody changed the shares, and they moved: half of a second of new units is enough, and nothing is waited for.
    """
    world = World(seconds=30.0, lost=lambda v, s: 1.0 if v == "treatment" and s >= 20.0 else 0.0, timed=False)
    made = Course().play([told(policy(**SHARES, stages=[{"share": "50%"}])), *world.entries()])

    assert ["pause"] == [one.action for one in made.made if one.action != "complete"]
    assert 20.0 < made.when("pause") < 22.5


def test_clients_that_see_a_told_change_late_are_waited_for():
    """
    Clients that follow a new stage two seconds late, all at once, are no sign of harm.
    """
    world = World(seconds=60.0, share=lambda s: 0.1 if s < 22.0 else 0.5, timed=False)
    stages = [{"share": "10%", "for": "20s"}, {"share": "50%"}]
    made = Course().play([told(policy(**SHARES, stages=stages)), *world.entries()])

    assert 19.0 < made.when("advance") < 21.5
    assert "pause" not in {one.action for one in made.made}
