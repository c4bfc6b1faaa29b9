"""Half an hour under load and kills: nothing grows."""

from __future__ import annotations

import pytest

from bench import soak


@pytest.mark.long
@pytest.mark.kafka
@pytest.mark.timeout(soak.SECONDS + 900)
def test_half_an_hour_under_load_leaves_nothing_behind(own_kafka):
    """
    At 60 % of what the installation keeps up with, and with rollouts killed all the while, no worker's memory, open files,
    tasks or threads grow after the first third; none is started again, and every kill comes. ``SOAK_S`` shortens it.
    """
    found = soak.run()
    print(found)

    assert "nothing" == found["grown"]
    assert (0, 0) == (found["restarts"], found["missed"])
