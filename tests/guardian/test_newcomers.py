"""Who counts as new: each unit once, of few users all, of very many still some; read as soon as exposures have come."""

from __future__ import annotations

import math
import random
from array import array
from collections.abc import Iterable
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.arrivals import Arrivals
from guardian.events import parse_time
from guardian.journal import Entry, Summary
from guardian.lag import delay_bucket
from guardian.migrating import OLDER
from guardian.newcomers import LAST, PLACES, Newcomers
from guardian.packing import pack
from guardian.summaries import TICK_MS, Arm, FlagSums, Tick
from tests.support.sums import World
from tests.support.traffic import T0_MS, judged, policy

UNIT_BITS = 52
STAGES = [{"share": "10%", "for": "1h"}, {"share": "100%"}]
GONE_S = 30.0


def gone(variation: str, at_s: float) -> float:
    return float(variation == "treatment" and at_s >= GONE_S)


def found_s(given_entries: Iterable[Entry]) -> list[float]:
    """When it was said that the shares are off, in seconds since the traffic began."""
    terms = policy(guardrails=[{"when": "sample_ratio off", "then": "pause"}], stages=STAGES)
    return [(parse_time(one.decided_at) - T0_MS) / 1_000 for one in judged(given_entries, terms=terms)]


def hashes(dice: random.Random, many: int) -> list[int]:
    return [dice.getrandbits(UNIT_BITS) for _ in range(many)]


@given(st.lists(st.integers(0, 1 << UNIT_BITS), max_size=60), st.lists(st.integers(0, 40), max_size=40))
def test_nobody_counts_twice(large: list[int], small: list[int]) -> None:
    """Whoever is met again does not count, also after what is remembered was written down and read."""
    newcomers, seen = Newcomers(), set[int]()
    for unit in [*large, *small, *large, *small]:
        again = Newcomers()
        again.restore(newcomers.state())
        newcomers = again
        assert not (newcomers.meet(unit) and unit in seen)
        seen.add(unit)


@pytest.mark.parametrize(("met", "least"), [(4_000, 0.9), (12_000, 0.85), (200_000, 0.2), (2_000_000, 0.004)])
def test_of_ever_more_users_ever_fewer_count(dice: random.Random, met: int, least: float) -> None:
    """Of ten thousand who come when so many were met at least this part counts, in 32 kB."""
    newcomers = Newcomers()
    for unit in hashes(dice, met):
        newcomers.meet(unit)
    counted = sum(newcomers.meet(unit) for unit in hashes(dice, 10_000))

    assert counted >= 10_000 * least
    assert sum(map(len, newcomers.state())) <= 32_768


def test_whoever_counts_is_drawn_from_all(dice: random.Random) -> None:
    """Among those who count of very many users, the treatment has its share of all."""
    newcomers, counted = Newcomers(), [0, 0]
    for unit in hashes(dice, 500_000):
        counted[dice.random() < 0.1] += newcomers.meet(unit)
    n = sum(counted)

    assert 100_000 < n < 400_000
    assert abs(counted[1] / n - 0.1) < 5.0 * math.sqrt(0.1 * 0.9 / n)


def test_who_was_thinned_out_before_does_not_count() -> None:
    """Of an older version's sample, those it knew are known, and of those it had thinned out nobody counts."""
    known = [8 * one for one in range(1, 200, 2)]
    body = {"newcomers": [3, array("Q", known).tobytes()], "heard": {"control": [5, 7]}}
    plain = OLDER[7](pack(7, msgspec.msgpack.encode(body)))
    newcomers = Newcomers()
    newcomers.restore(plain["newcomers"])

    assert [] == [unit for unit in [*known, *range(1, 4_000, 2), *range(4, 4_000, 8)] if newcomers.meet(unit)]
    assert newcomers.meet(16)
    assert {"control": [5, 7, 7, 7]} == plain["heard"]


def test_levels_of_another_size_are_refused() -> None:
    """What does not have the levels of this version is refused, not read as something else."""
    for wrong in ([b""] * LAST, [b"\0", *[b""] * LAST]):
        with pytest.raises(ValueError, match="fit|shorter|longer"):
            Newcomers().restore(wrong)
    assert len(PLACES) == LAST + 1


def test_new_units_wait_for_exposures_alone() -> None:
    """A tick is read once exposures are as old as they use to come late, by the slowest variation."""
    arrivals, at_ms = Arrivals(), T0_MS
    for _ in range(20):
        ticks = [
            Tick(start_ms=at_ms - late_ms - TICK_MS, arms={name: Arm(exposures=9)})
            for name, late_ms in (("control", 50), ("treatment", 2_000))
        ]
        arrivals.learn(ticks, at_ms, 15_000)
        at_ms += TICK_MS

    assert 2_000 <= arrivals.lag.value_ms(100, 15_000) <= 2_400


def held_back(world: World, entries_late: int) -> list[Entry]:
    """The world's entries, of which what they say of the treatment comes so many entries later."""
    told = list(world.entries())
    moved: list[Entry] = []
    for at, entry in enumerate(told):
        parts = [(entry, "control"), *([(told[at - entries_late], "treatment")] if at >= entries_late else [])]
        flags = [part for one, name in parts if isinstance(one, Summary) for part in only(one, name)]
        moved.append(Summary(source="w/0", at_ms=entry.at_ms, passed_ms=entry.at_ms, flags=flags))
    return moved


def only(entry: Summary, name: str) -> list[FlagSums]:
    ticks = [msgspec.structs.replace(tick, arms={name: tick.arms[name]}) for tick in entry.flags[0].ticks if name in tick.arms]
    return [FlagSums(key=entry.flags[0].key, ticks=ticks)] if ticks else []


def test_a_variation_whose_exposures_come_late_is_not_silent() -> None:
    """Where all of the treatment comes two seconds later its share is as configured; where it stops, that is found."""
    world = World(share=lambda s: 0.1, timed=False)

    assert [] == found_s(held_back(world, 10))
    assert GONE_S < found_s(held_back(replace(world, lost=gone), 10))[0] < GONE_S + 10.0


def test_slow_outcomes_keep_nobody_from_seeing_who_is_new() -> None:
    """A treatment that falls silent is found as soon where outcomes are known to take ten seconds."""
    world = World(share=lambda s: 0.1, timed=False, lost=gone)
    slow = list(world.entries())
    for entry in slow:
        if isinstance(entry, Summary):
            entry.flags[0].delays = {name: {delay_bucket(10_000): 9} for name in ("control", "treatment")}

    assert GONE_S < found_s(slow)[0] < GONE_S + 5.0
    assert found_s(world.entries())[:1] == found_s(slow)[:1]
