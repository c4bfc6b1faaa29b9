"""What a rollout remembers: units, sources, lag, history, failures, moved shares."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.failures import Failures
from guardian.history import COARSE, COARSE_MAX, STEPS_MAX, History
from guardian.lag import UNKNOWN_MS, Lag, delay_bucket
from guardian.mixing import Mixing
from guardian.moved import look
from guardian.population import Cell, Population, cell_of
from guardian.rollout import TRANSITIONS, Event, Status, after
from guardian.summaries import SIGHT_MS, Arm, MixedUnit, Sight, Tick, add_ticks
from guardian.units import FailedUnits

T0_MS = 1_790_000_000_000


@given(st.lists(st.integers(0, 30), max_size=80))
def test_a_unit_fails_for_the_first_time_once(units: list[int]) -> None:
    """Only the first failure of each unit is new, also after the set was written down and read again."""
    failed, seen = FailedUnits(), set()
    for unit in units:
        again = FailedUnits()
        again.restore(failed.state())
        failed = again
        assert (unit not in seen) == failed.add(unit, T0_MS)
        seen.add(unit)


def test_failed_units_are_bounded() -> None:
    """However many units fail, at most the capacity is remembered, and the newest half always is."""
    failed = FailedUnits(capacity=100)
    for unit in range(1_000):
        failed.add(unit, T0_MS)

    assert len(failed) <= 100
    assert not any(failed.add(unit, T0_MS) for unit in range(950, 1_000))


def test_a_unit_that_failed_long_ago_may_fail_again() -> None:
    """After twice the time to live a unit is at risk again."""
    failed = FailedUnits(ttl_ms=1_000)
    failed.add(1, T0_MS)
    failed.add(2, T0_MS + 1_500)
    failed.add(3, T0_MS + 3_000)

    assert failed.add(1, T0_MS + 3_100)


def report(unit: int = 7, from_ms: int = T0_MS) -> MixedUnit:
    return MixedUnit(unit=unit, from_ms=from_ms, variations=["control", "treatment"], services=["a", "b"])


def test_a_unit_shown_two_variations_is_mixed() -> None:
    """A unit seen under two variations in a minute without a change of shares is mixed, and services are named."""
    mixing = Mixing()
    mixing.hear([report()], [])
    mixing.settle([T0_MS - 100_000], T0_MS + 60_000)

    assert {} == mixing.units
    mixing.settle([T0_MS - 100_000], T0_MS + 65_000)
    assert {7: True} == mixing.units
    assert ["a", "b"] == mixing.services


@given(st.integers(-4_999, 60_000))
def test_a_change_of_shares_explains_who_changed(at_ms: int) -> None:
    """A unit that changed its variation in a minute in which, or shortly before which, shares changed is not mixed."""
    mixing = Mixing()
    mixing.hear([report()], [])
    mixing.settle([T0_MS + at_ms], T0_MS + 65_000)

    assert {} == mixing.units
    assert [] == mixing.waiting


def test_two_sources_that_disagree_are_found() -> None:
    """A sampled unit that two partitions saw under two variations in one minute is reported as mixed."""
    mixing = Mixing()
    mixing.hear([], [Sight(7, T0_MS, "control", "a"), Sight(8, T0_MS, "control", "a")])
    mixing.hear([], [Sight(7, T0_MS, "treatment", "b"), Sight(8, T0_MS + SIGHT_MS, "treatment", "b")])
    mixing.settle([], T0_MS + 65_000)

    assert {7: True} == mixing.units


def test_sights_are_kept_as_long_as_they_may_be_compared() -> None:
    """Of the sampled sights those of the newest minute and of the one before are kept, so that memory does not grow."""
    mixing = Mixing()
    for minute in range(30):
        mixing.hear([], [Sight(100 * minute + one, T0_MS + minute * SIGHT_MS, "control", "api") for one in range(20)])

        assert len(mixing.cohort) <= 40
    assert {T0_MS + 28 * SIGHT_MS, T0_MS + 29 * SIGHT_MS} == {sight.from_ms for sight in mixing.cohort.values()}


def test_the_lag_follows_the_slower_variation() -> None:
    """The lag in force is the 99 % delay of the slowest variation, clamped, and a second until delays are known."""
    lag = Lag()

    assert UNKNOWN_MS == lag.value_ms(100, 15_000)
    lag.learn({"control": {delay_bucket(80): 1_000}, "treatment": {delay_bucket(900): 1_000}}, T0_MS, 15_000)
    lag.learn({}, T0_MS + 1_000, 15_000)
    assert 900 <= lag.value_ms(100, 15_000) <= 900 * 1.2 + 1
    assert 500 == lag.value_ms(100, 500)


@pytest.mark.parametrize(("soon", "late", "least_ms", "most_ms"), [(950, 50, 200, 300), (10, 990, 1_000, 1_000)])
def test_nothing_is_waited_for_that_does_not_come_in_time(soon: int, late: int, least_ms: int, most_ms: int) -> None:
    """
    Where some outcomes come later than the longest wait, the lag is that of all others; where nearly all do, the longest.
    """
    lag = Lag()
    lag.learn({"control": {delay_bucket(200): soon, delay_bucket(9_000): late}}, T0_MS, 1_000)
    lag.learn({}, T0_MS + 1_000, 1_000)

    assert least_ms <= lag.value_ms(100, 1_000) <= most_ms


@given(st.integers(1, 3_600_000))
def test_a_delay_lies_in_its_bucket(delay_ms: int) -> None:
    """Bucket k holds the delays in (1.2^(k-1), 1.2^k]."""
    bucket = delay_bucket(delay_ms)

    assert 1.2 ** (bucket - 1) <= delay_ms * (1 + 1e-9)
    assert delay_ms <= 1.2**bucket * (1 + 1e-9)


def test_the_onset_is_where_the_harm_began() -> None:
    """After a long good time the stretch that is shown begins within two seconds of the change."""
    history = History()
    for second in range(300):
        bad = second >= 280
        history.add(T0_MS + second * 1_000, "treatment", Cell(0, 20, 4 if bad else 0, 4.0 if bad else 0.0))
        history.add(T0_MS + second * 1_000, "control", Cell(0, 180, 1, 1.0))
    stretch = history.onset("treatment", "control", None)

    assert abs(stretch.from_ms - (T0_MS + 280_000)) <= 2_000
    assert 80 == stretch.arm.errors


def test_history_is_bounded_and_loses_nothing_recent() -> None:
    """A quarter of an hour is kept in few steps; what is kept adds up."""
    history = History()
    for second in range(3_000):
        history.add(T0_MS + second * 1_000, "control", Cell(1, 1, 0, 0.0))

    assert len(history.fine.numbers()) <= STEPS_MAX
    assert len(history.coarse.numbers()) <= COARSE_MAX
    half_minute_ms = COARSE * 1_000
    from_ms = (T0_MS + 2_400_000) // half_minute_ms * half_minute_ms
    assert (T0_MS + 3_000_000 - from_ms) / 1_000 == history.since(from_ms, "control", "control").arm.outcomes


def test_a_failure_is_compared_with_those_who_started_beside_it() -> None:
    """The share at risk is that of the failure's own second, whatever shares were before and after."""
    history, failures = History(), Failures()
    for second, treated in ((0, 10), (1, 50), (2, 90)):
        history.add(T0_MS + second * 1_000, "treatment", Cell(treated, 0, 0, 0.0))
        history.add(T0_MS + second * 1_000, "control", Cell(100 - treated, 0, 0, 0.0))
    history.add(T0_MS + 1_000, "treatment", Cell(0, 1, 1, 1.0))
    failures.add(T0_MS + 1_000, "treatment", 1.0, "control", ["treatment"])

    assert [("treatment", 1.0, 0.0, 0.5)] == failures.take_readable(history, "control", True, T0_MS)
    assert [] == failures.take_readable(history, "control", True, T0_MS)


def test_a_failure_waits_for_its_exposures_but_not_for_ever() -> None:
    """A failure whose exposures are still on their way stays; ten seconds after the watermark it is given up."""
    history, failures = History(), Failures()
    history.add(T0_MS, "treatment", Cell(0, 1, 1, 1.0))
    failures.add(T0_MS, "treatment", 1.0, "control", ["treatment"])

    assert [] == failures.take_readable(history, "control", True, T0_MS + 5_000)
    assert failures.fresh
    assert [] == failures.take_readable(history, "control", True, T0_MS + 20_000)
    assert not failures.fresh


def exposed(shares: list[float], rps: int = 200, seed: int = 3) -> tuple[Population, History]:
    rng = np.random.default_rng(seed)
    population, history = Population(by_exposures=True), History()
    epoch = population.open(T0_MS, "treatment began")
    for second, share in enumerate(shares):
        treated = int(rng.binomial(rps, share))
        for variation, n in (("treatment", treated), ("control", rps - treated)):
            cell = Cell(n, 0, 0, 0.0)
            cell_of(epoch.arms if population.now is epoch else population.now.arms, variation).add(cell)  # type: ignore[union-attr]
            history.add(T0_MS + second * 1_000, variation, cell)
        look(population, history, ["treatment"], "control", T0_MS + (second + 1) * 1_000)
    return population, history


def test_a_moved_share_opens_an_epoch_where_it_moved() -> None:
    """A share that goes from 10 % to 30 % without a word opens an epoch within two seconds of the change."""
    population, _ = exposed([0.1] * 20 + [0.3] * 10)

    assert ["treatment began", "the share moved"] == [e.why for e in population.epochs]
    assert abs(population.epochs[1].start_ms - (T0_MS + 20_000)) <= 2_000


def test_a_constant_share_opens_no_epoch() -> None:
    """Chance alone opens an epoch in fewer than one of a hundred minutes."""
    opened = sum(len(exposed([0.1] * 60, seed=seed)[0].epochs) - 1 for seed in range(100))

    assert opened <= 3


def test_starts_move_with_their_epoch() -> None:
    """What started since the change belongs to the new epoch, and to it alone."""
    population, history = exposed([0.1] * 20 + [0.3] * 10)
    total = sum(e.arms[v].exposures for e in population.epochs for v in ("treatment", "control"))

    assert 30 * 200 == total
    assert population.epochs[1].shown_share("treatment", True) == pytest.approx(0.3, abs=0.05)
    assert history.since(T0_MS, "treatment", "control").arm.exposures > 0


def test_no_transition_brings_a_killed_rollout_back_but_a_resume() -> None:
    """Killed stays killed under every event except the one that only people cause."""
    leaving = {event for (status, event), to in TRANSITIONS.items() if status is Status.KILLED and to is not status}

    assert {Event.RESUMED} == leaving
    assert Status.KILLED is after(Status.KILLED, Event.ADVANCED)


@given(st.integers(0, 50), st.integers(0, 50), st.lists(st.integers(0, 9), max_size=5))
def test_sums_of_ticks_do_not_depend_on_their_order(first: int, second: int, units: list[int]) -> None:
    """Adding the same tick of two sources gives the same sums in either order."""
    a = Tick(start_ms=T0_MS, arms={"x": Arm(exposures=first, units=sorted(set(units)), latency={3: 1})})
    b = Tick(start_ms=T0_MS, arms={"x": Arm(outcomes=second, latency={3: 2, 4: 1}), "y": Arm(errors=1)})
    one, other = add_ticks(a, b), add_ticks(b, a)

    assert one.arms == other.arms
    assert first == one.arms["x"].exposures
    assert {3: 3, 4: 1} == one.arms["x"].latency


def test_ticks_of_different_starts_do_not_add() -> None:
    """Adding ticks that cover different starts is refused with both named."""
    with pytest.raises(ValueError, match="ticks differ"):
        add_ticks(Tick(start_ms=0), Tick(start_ms=200))
