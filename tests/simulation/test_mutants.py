"""The simulation bites: an engine with one rule broken does not get through."""

from __future__ import annotations

import pytest

from tests.simulation.mutants import (
    MUTANTS,
    Mutant,
    aborted_events_are_lost,
    caught_by,
    entries_count_again_after_a_restart,
    nothing_is_read,
)

SEEDS = 1_000
QUICKLY = (aborted_events_are_lost, entries_count_again_after_a_restart, nothing_is_read)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("mutant", QUICKLY, ids=lambda mutant: mutant.__name__)
def test_a_plain_mutant_is_caught(mutant: Mutant) -> None:
    """A rule whose breach shows often is missed by few seeds."""
    assert caught_by(mutant, range(30))


@pytest.mark.long
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_every_mutant_is_caught(mutant: Mutant) -> None:
    """Each of the rules is missed by some seed of a thousand; all but one by some of the 200 that every run plays."""
    said = caught_by(mutant, range(SEEDS))
    print(f"{mutant.__name__}: {said}")
    assert said
