"""
False kills of the error-rate test, peeked after every block: within the nominal level everywhere.

The short form runs in every `make test`; the long form makes 10,000 runs a cell and writes its table.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from tests.calibration.lab import LEVELS, Peeking, Stage, kills, most_kills, ticks
from tests.support.pages import table, write

#: Units a tick, so that the smaller arm gets about ten.
SPLITS = {"50/50": (20, 0.5), "10/90": (100, 0.1), "1/99": (1_000, 0.01), "90/10": (100, 0.9), "99/1": (1_000, 0.99)}


def alike(split: str, base: float, ticks_each: int) -> list[Stage]:
    """
    Equal arms: as many small blocks, where rounding and rare errors matter, as ten times larger ones, for the long run.
    """
    units, share = SPLITS[split]
    return [Stage(ticks_each, units, share, base, base), Stage(ticks_each, 10 * units, share, base, base)]


RAMP = (0.01, 0.05, 0.10, 0.25, 0.50)


def ramp(base: dict[float, float], incident: float | None = None) -> list[Stage]:
    """
    Five stages of 100 ticks of 200 units; with an ``incident`` everybody fails that often for most of the 25 % stage.
    """
    stages = []
    for share in RAMP:
        p = base[share]
        hit = incident if incident is not None and share == 0.25 else p
        stages += [Stage(20, 200, share, p, p), Stage(60, 200, share, hit, hit), Stage(20, 200, share, p, p)]
    return stages


def diurnal() -> list[Stage]:
    """
    The ramp over two days whose error rate swings between 0.3 and 1.7 %.
    """
    waves = [0.01 + 0.007 * math.sin(2.0 * math.pi * 2 * i / 100) for i in range(100)]
    return [Stage(5, 200, RAMP[i // 20], p, p) for i, p in enumerate(waves)]


CONSTANT = dict.fromkeys(RAMP, 0.01)
SCENES = {
    "ramp, errors drift from 0.5 to 2 %": ramp(dict(zip(RAMP, (0.005, 0.007, 0.01, 0.014, 0.02), strict=True))),
    "ramp, errors fall from 2 to 0.5 %": ramp(dict(zip(RAMP, (0.02, 0.014, 0.01, 0.007, 0.005), strict=True))),
    "ramp, 30 % incident at the 25 % stage": ramp(CONSTANT, incident=0.3),
    "ramp, diurnal swing": diurnal(),
}


def false_kills(stages: list[Stage], runs: int, seed: int) -> dict[float, int]:
    """
    Return the kills at each level among ``runs`` runs of equal arms.
    """
    peeking = Peeking(runs, keep=0.99)
    for tick in ticks(np.random.default_rng(seed), runs, stages):
        peeking.read(*tick)
    return kills(peeking.largest)


def check(found: dict[float, int], runs: int) -> None:
    assert {} == {alpha: count for alpha, count in found.items() if count > most_kills(runs, alpha)}
    assert found[0.05] > 0.1 * 0.05 * runs, "a test that never kills would pass the line above"


@pytest.mark.parametrize(("split", "base"), [("50/50", 0.01), ("1/99", 0.001), ("99/1", 0.01)])
def test_equal_arms(split, base):
    """
    With equal arms and a look after every block false kills stay within 5, 1 and 0.1 %.
    """
    check(false_kills(alike(split, base, ticks_each=250), runs=2_000, seed=1), runs=2_000)


@pytest.mark.parametrize("scene", SCENES)
def test_what_moves_both_arms(scene):
    """
    Ramps with drift, incidents and seasons leave false kills within 5, 1 and 0.1 %.
    """
    check(false_kills(SCENES[scene], runs=1_000, seed=2), runs=1_000)


def test_the_limit_catches_pooled_totals_in_every_moving_scene():
    """
    The limits can fail: totals pooled over a ramp with rising errors are off them by far, under the very same looks.
    """
    runs, total, died = 500, np.zeros((4, 500)), np.zeros(500, dtype=bool)
    for tick in ticks(np.random.default_rng(2), runs, SCENES["ramp, errors drift from 0.5 to 2 %"]):
        total += np.array(tick)
        n_t, x_t, n_c, x_c = np.maximum(total, 1e-9)
        spread = np.sqrt(x_t / n_t**2 + x_c / n_c**2)
        # Four standard errors: some 1 in 30,000 at a single look.
        died |= (total[1] > 10) & (x_t / n_t - x_c / n_c > 4.0 * spread)

    assert died.sum() > most_kills(runs, 0.05)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_equal_arms_long():
    """
    10,000 runs in each of ten cells, to 110,000 treated samples or more, stay within every level.
    """
    runs, rows = 10_000, []
    wrong: dict[Any, Any] = {}
    for base in (0.01, 0.001):
        for split in SPLITS:
            found = false_kills(alike(split, base, ticks_each=1_000), runs, seed=11)
            rows.append([f"{base:.1%}", split, *(f"{found[alpha] / runs:.4f}" for alpha in LEVELS)])
            wrong |= {(base, split, a): n for a, n in found.items() if n > most_kills(runs, a)}
    limits = ["", "allowed by the limit", *(f"{most_kills(runs, alpha) / runs:.4f}" for alpha in LEVELS)]
    header = ["errors", "T/C", "nominal 0.05", "nominal 0.01", "nominal 0.001"]
    write("equal arms", table(header, [*rows, limits]))

    assert {} == wrong


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_what_moves_both_arms_long():
    """
    10,000 runs of each moving scene stay within every level.
    """
    runs, rows = 10_000, []
    wrong: dict[Any, Any] = {}
    for scene, stages in SCENES.items():
        found = false_kills(stages, runs, seed=12)
        rows.append([scene, *(f"{found[alpha] / runs:.4f}" for alpha in LEVELS)])
        wrong |= {(scene, a): n for a, n in found.items() if n > most_kills(runs, a)}
    write("moving scenes", table(["scene", "nominal 0.05", "nominal 0.01", "nominal 0.001"], rows))

    assert {} == wrong
