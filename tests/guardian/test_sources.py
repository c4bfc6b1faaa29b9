"""How far the event topics have been read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from guardian.journal import Beat, Entry, Summary
from guardian.sources import APART_MS, CATCH_UP_MS, Sources
from guardian.summaries import Arm, FlagSums, Tick
from tests.support.traffic import T0_MS, Traffic, entries, judged

IDLE_MS = 5_000
MINUTE_MS = 60_000


AWAY_S, BACK_S = 10, 70
BUG = Traffic(
    seconds=90, rps=60, share=lambda s: 0.5, error=lambda v, s: 0.3 if v == "treatment" and 15 < s < 45 else 0.01, seed=3
)


class Heard:
    """Sources that say, at so many milliseconds, that they are behind by so many."""

    def __init__(self) -> None:
        self.sources = Sources()

    def at(self, at_ms: int, **behind_ms: int) -> int:
        """Hear them; return what is passed then, from the beginning on."""
        for name, ms in behind_ms.items():
            self.sources.hear(name, T0_MS + at_ms, T0_MS + at_ms - ms, IDLE_MS)
        return self.sources.passed_ms(IDLE_MS) - T0_MS

    def while_all_was_well(self) -> int:
        """Two of them speak for ten seconds."""
        for at_ms in range(0, 10_001, 1_000):
            self.at(at_ms, a=0, b=0)
        return 10_000


def test_the_watermark_waits_for_live_sources_only() -> None:
    """The slowest live source holds the watermark; one that fell silent or far behind does not."""
    heard = Heard()

    assert 400 == heard.at(1_000, a=0, b=600)
    assert 400 == heard.at(5_000, a=0)
    assert 9_000 == heard.at(9_000, a=0)
    assert ["b"] == heard.sources.left_out(IDLE_MS)
    assert 9_500 == heard.at(9_500, a=0, b=8_000)
    assert ["b"] == heard.sources.left_out(IDLE_MS)


def test_after_a_silence_of_all_nobody_is_left_behind() -> None:
    """Whoever comes back first does not close the ticks of the others: they are waited for until they keep up, too."""
    heard = Heard()
    end_ms = heard.while_all_was_well()
    back_ms = end_ms + MINUTE_MS

    assert end_ms == heard.at(back_ms, a=0)
    assert end_ms + 3_000 == heard.at(back_ms + 3_000, a=0, b=MINUTE_MS)
    assert end_ms + 40_000 == heard.at(back_ms + 4_000, a=0, b=24_000)
    assert back_ms + 4_500 == heard.at(back_ms + 5_000, a=0, b=500)
    # Who kept up once is left out as before.
    heard.at(back_ms + 8_000, a=0)
    assert back_ms + 12_000 == heard.at(back_ms + 12_000, a=0)


def test_who_does_not_come_back_is_not_waited_for_long() -> None:
    """After a silence of all, one that stays away or behind holds the others for so long and no longer."""
    heard = Heard()
    end_ms = heard.while_all_was_well()
    back_ms = end_ms + MINUTE_MS

    for late_ms in range(0, CATCH_UP_MS + 1, 1_000):
        assert end_ms == heard.at(back_ms + late_ms, a=0)
    late_ms = CATCH_UP_MS + 1_000
    assert back_ms + late_ms == heard.at(back_ms + late_ms, a=0)
    assert ["b"] == heard.sources.left_out(IDLE_MS)


def test_who_is_gone_is_not_waited_for_again_and_again() -> None:
    """However often all are silent, one that is gone holds the others for so long in all; silences do not count."""
    heard = Heard()
    at_ms, held_ms = heard.while_all_was_well(), 0
    for _ in range(10):
        at_ms += MINUTE_MS
        for nth in range(4):
            at_ms += 1_000
            is_held = heard.at(at_ms, a=0) < at_ms
            held_ms += 1_000 if nth and is_held else 0

    assert held_ms == 15_000 == CATCH_UP_MS


def test_who_was_away_before_is_not_waited_for() -> None:
    """A silence of all is no reason to wait for one that had been given up before it."""
    heard = Heard()
    heard.at(0, a=0, b=0)
    for at_ms in range(1_000, 10_001, 1_000):
        heard.at(at_ms, a=0)

    assert 70_000 == heard.at(70_000, a=0)


def test_what_waits_for_the_slowest_is_bounded() -> None:
    """After a silence of hours the fastest is held by the others for two minutes of its events, not for hours of them."""
    heard = Heard()
    back_ms = heard.while_all_was_well() + 60 * MINUTE_MS

    assert back_ms - 30 * MINUTE_MS - APART_MS == heard.at(back_ms, a=30 * MINUTE_MS)
    assert back_ms + 1_000 - APART_MS == heard.at(back_ms + 1_000, a=0, b=60 * MINUTE_MS)
    assert back_ms + 2_000 - 90_000 == heard.at(back_ms + 2_000, a=0, b=90_000)


def test_while_none_keeps_up_those_that_read_set_the_pace() -> None:
    """All behind is late, not blind: verdicts come as the slowest of those that are heard of gets on."""
    heard = Heard()
    heard.while_all_was_well()
    for at_ms in range(11_000, 40_000, 1_000):
        passed_ms = heard.at(at_ms, a=20_000, b=21_000)

    assert 39_000 - 21_000 == passed_ms


@pytest.mark.parametrize("first", ["exposures", "outcomes"])
@pytest.mark.parametrize("apart_s", [0, 5, 12])
def test_a_silence_of_all_changes_no_verdict(first: str, apart_s: int) -> None:
    """A rollout that began, did harm and was mended while nobody read is killed all the same, whichever topic is read first."""
    made = [one for one in BUG.requests() if one.start_ms > T0_MS + AWAY_S * 1_000 - 300]
    said = list(entries(made, exposures=True))
    calm = judged(_merged(said, dict.fromkeys(("exposures", "outcomes"))))
    late = judged(_merged(said, {name: 0 if name == first else apart_s for name in ("exposures", "outcomes")}))

    assert ["kill"] == [one.action for one in calm]
    assert [one.decision_id for one in calm] == [one.decision_id for one in late]


def _merged(said: list[Entry], back_s: Mapping[str, int | None]) -> list[Entry]:
    """The same, said by two sources; with a number one is away for a minute, and that much later than then catches up."""
    return sorted(
        (again for name, late_s in back_s.items() for again in _said(said, name, late_s)), key=lambda one: one.at_ms
    )


def _said(said: list[Entry], name: str, late_s: int | None) -> Iterator[Entry]:
    nth = 0
    for one in said:
        assert isinstance(one, Summary | Beat)
        at_ms = one.at_ms
        if late_s is not None and T0_MS + AWAY_S * 1_000 <= at_ms < T0_MS + (BACK_S + late_s + 1) * 1_000:
            nth += 1
            at_ms = T0_MS + (BACK_S + late_s) * 1_000 + nth
        own = replace(one, source=name, at_ms=at_ms)
        yield replace(own, flags=[_of_kind(sums, name) for sums in own.flags]) if isinstance(own, Summary) else own


def _of_kind(sums: FlagSums, name: str) -> FlagSums:
    if name == "outcomes":
        return replace(sums, ticks=[_with(tick, lambda arm: replace(arm, exposures=0)) for tick in sums.ticks])
    return FlagSums(key=sums.key, ticks=[_with(tick, lambda arm: Arm(exposures=arm.exposures)) for tick in sums.ticks])


def _with(tick: Tick, change: Callable[[Arm], Arm]) -> Tick:
    return replace(tick, arms={variation: change(arm) for variation, arm in tick.arms.items()})


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-9_000, 9_000), st.integers(-9_000, 9_000)), max_size=40))
def test_no_clock_runs_backwards(words: list[tuple[int, int, int]]) -> None:
    """Whatever the clocks of the workers do, the journal's clock and no source's progress ever run backwards."""
    sources = Sources()
    before: tuple[int, dict[str, int]] = (0, {})
    for name, at_ms, passed_ms in words:
        sources.hear(f"s/{name}", T0_MS + at_ms, T0_MS + passed_ms, IDLE_MS)
        now = (sources.now_ms, {n: s.passed_ms for n, s in sources.known.items()})
        assert now[0] >= before[0]
        assert all(now[1][n] >= passed for n, passed in before[1].items())
        before = now


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 20_000), st.integers(0, 30_000)), min_size=1, max_size=40))
def test_sources_survive_their_snapshot(words: list[tuple[int, int, int]]) -> None:
    """Whoever goes on from a snapshot waits for the same sources."""
    sources, at_ms = Sources(), T0_MS
    for name, later_ms, behind_ms in words:
        at_ms += later_ms
        sources.hear(f"s/{name}", at_ms, at_ms - behind_ms, IDLE_MS)

    again = Sources.restore(sources.snapshot())
    assert sources.passed_ms(IDLE_MS) == again.passed_ms(IDLE_MS)
    assert sources.left_out(IDLE_MS) == again.left_out(IDLE_MS)
