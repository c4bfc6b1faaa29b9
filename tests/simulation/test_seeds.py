"""The whole loop under many seeds: what is promised holds after each step, and in the end."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable

import pytest
from scipy.stats import binom

from tests.simulation.scene import scene
from tests.simulation.world import Broken, Played, World, play

SEEDS, SEEDS_LONG, CHUNK = 200, 20_000, 1_000
UNLIKELY = 1e-4
UNCALM = 1.0 / math.e
"""The chance that a lane which reads no harm holds as much evidence of it as keeps a stage: its expectation is one."""


def play_all(seeds: Iterable[int]) -> list[Played]:
    """Play seeds to the last one, whatever breaks; those that broke are named together, the first with its last steps."""
    began_s, played, broken = time.process_time(), list[Played](), list[str]()
    for seed in seeds:
        try:
            played.append(play(seed))
        except Broken as error:
            broken.append(str(error))
    took_s, steps = time.process_time() - began_s, sum(one.steps for one in played)
    print(f"{len(played)} seeds, {steps} steps in {took_s:.1f} s of one core: {steps / took_s:.0f} steps a second")
    assert not broken, "\n".join([*(said.splitlines()[0] for said in broken), *broken[0].splitlines()[1:]])
    return played


def compare_false_kills(played: list[Played]) -> None:
    """No more false kills than the budgets of all rollouts make likely."""
    budgets = [budget for one in played for budget in one.budgets]
    most = binom.ppf(1.0 - UNLIKELY, len(budgets), sum(budgets) / len(budgets))
    kills = sum(one.false_kills for one in played)
    print(f"{kills} false kills of {len(budgets)} rollouts, {sum(budgets):.2f} expected at most, {most:.0f} likely")
    assert kills <= most


def compare_unlucky(played: list[Played]) -> None:
    """No more healthy variations are kept in their stage by evidence of harm than chance brings."""
    healthy, unlucky = sum(one.healthy for one in played), sum(one.unlucky for one in played)
    most = binom.ppf(1.0 - UNLIKELY, healthy, UNCALM)
    print(f"chance keeps {unlucky} of {healthy} healthy variations in their stage, {most:.0f} are likely")
    assert healthy > 0
    assert unlucky <= most


@pytest.mark.timeout(600)
def test_every_promise_holds_under_200_seeds() -> None:
    """
    Whatever crashes, comes late, is repeated, lost or changed by people: nothing unsafe happens after any step, and
    once it is quiet harm is stopped and what is healthy goes on. A seed that fails is named; ``python -m
    tests.simulation SEED`` plays it again with its trace.
    """
    played = play_all(range(SEEDS))
    compare_false_kills(played)
    compare_unlucky(played)


@pytest.mark.long
@pytest.mark.timeout(2 * 3_600)
@pytest.mark.parametrize("first", range(SEEDS, SEEDS + SEEDS_LONG, CHUNK))
def test_every_promise_holds_under_20_000_seeds(first: int) -> None:
    """The same, for other seeds and many more of them; a thousand are a test, so that all cores have some."""
    played = play_all(range(first, first + CHUNK))
    compare_false_kills(played)
    compare_unlucky(played)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_seed_plays_the_same_again(seed: int) -> None:
    """Two runs of a seed go through the same steps, at the same times."""
    traces: list[list[str]] = [[], []]
    for trace in traces:
        World(scene(seed), trace.append).play()

    assert traces[0] == traces[1]
