"""Promises of the fold about what plans want beside requests and failures."""

from __future__ import annotations

import math
import random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.plan import GRID, SEGMENTS_MAX, Cut, Plan, position
from guardian.sequential.latency import bucket_key
from guardian.summaries import Arm, FlagSums, Tick
from streams.codecs import Event, Line
from streams.fold import Fold, FoldConfig
from streams.folding import names as names_module
from streams.folding.cadence import CYCLE
from streams.folding.planned import FRESH_MAX
from tests.streams.test_fold import batches, events
from tests.support.events import NOON_MS, exposure, feedback, line, outcome
from tests.support.folds import content, plain_sums, unit_of

KEY = "production|checkout-v2"
EVERYTHING = Plan(
    latency=True, over_us=(300_000, 1_000_000), reports=True, fresh=True, segments=("country", "plan"),
    scores={"feedback:rating": (1.0, 5.0), "feedback:nps": (0.0, 10.0), "measure:quality": (0.0, 5.0), "measure:n": (-1.0, 1.0)},
    cuts=(Cut("gets", (("operation", "GET /"),)), Cut("late", (("country", "DE"), ("error_type", "TimeoutError")))),
    company=True,
)  # fmt: skip
PLANS = {
    "production|a": EVERYTHING,
    "production|b": Plan(over_us=(12_500,), scores={"feedback:thumb": (0.0, 1.0)}, company=True),
    "staging|a": Plan(segments=("plan",), scores={"measure:other": (0.0, 2.0)}),
}


def planned(plan: Plan, config: FoldConfig | None = None) -> Fold:
    """Return a fold whose one flag has this plan."""
    fold = Fold("t/0", config or FoldConfig())
    fold.plans = {KEY: plan}
    return fold


def take(fold: Fold, *given_events: dict[str, Any]) -> FlagSums:
    """Take events of the flag and flush; there must be something."""
    fold.take([line(event) for event in given_events], NOON_MS)
    (found,) = [flag for flag in fold.flush() if flag.key == KEY]
    return found


def arm_of(found: FlagSums, variation: str = "treatment", segment: str = "") -> Arm:
    """Return the sums over all ticks."""
    parts = [
        arms[variation]
        for tick in found.ticks
        for arms in ([tick.segments.get(segment, {})] if segment else [tick.arms])
        if variation in arms
    ]
    return sum(parts, Arm())


def ended(**given_fields: Any) -> dict[str, Any]:
    """An outcome of the one flag that starts at noon, whatever its latency."""
    latency_ms = given_fields.get("latency_ms", 12.5) or 0
    return outcome({"checkout-v2": "treatment"}, **{"time": NOON_MS + math.ceil(latency_ms), **given_fields})


def about(sums: dict[str, tuple[list[Tick], Any]]) -> dict[str, Any]:
    """Round what is a sum of parts: the order of adding is no promise between the two folds."""
    for ticks, _ in sums.values():
        for tick in ticks:
            for arm in tick.arms.values():
                arm.scores = {n: {at: round(c, 9) for at, c in counts.items()} for n, counts in arm.scores.items()}
    return sums


# ---------------------------------------------------------------------------- all of it together


@given(st.lists(events(), max_size=80))
@settings(max_examples=200, deadline=None)
def test_the_sums_are_those_of_the_plainest_fold(given_events: list[Event]):
    """
    Of everything that plans want, a flush holds what one gets by adding event after event.
    """
    fold = Fold("t/0")
    fold.plans = PLANS
    fold.take_events(given_events, [NOON_MS] * len(given_events))

    assert about(content(plain_sums(given_events, NOON_MS, plans=PLANS).values())) == about(content(fold.flush()))


@given(st.lists(events(), max_size=80), st.lists(st.integers(0, 9)), st.integers(2, 30))
@settings(max_examples=100, deadline=None)
def test_batches_make_no_difference(given_events: list[Event], cuts: list[int], units: int):
    """
    However the events were cut into batches, the flush is the same byte for byte; also where memories are too small.
    """
    found = []
    for parts in ([given_events], batches(given_events, cuts)):
        fold = Fold("t/0", FoldConfig(units_max=units))
        fold.plans = PLANS
        for part in parts:
            fold.take_events(part, [NOON_MS] * len(part))
        found.append(msgspec.json.encode(fold.flush()))

    assert found[0] == found[1]


@given(st.lists(events(), max_size=40), st.lists(events(), max_size=40), st.integers(2, 30))
@settings(max_examples=100, deadline=None)
def test_what_is_read_again_counts_once(before: list[Event], after: list[Event], units: int):
    """
    Rolled back to the last commit, a fold gives what it would have given at once: who had counted, which values were
    segments, who was fresh, are as they were; the plans stay.
    """
    straight, troubled = (Fold("t/0", FoldConfig(units_max=units)) for _ in range(2))
    for fold in (straight, troubled):
        fold.plans = PLANS
        fold.take_events(before, [NOON_MS] * len(before))
        fold.flush()
    committed = troubled.savepoint()
    for part in (after[::-1], after):
        troubled.take_events(part, [NOON_MS] * len(part))
        troubled.flush()
    troubled.rollback(committed)

    for fold in (straight, troubled):
        fold.take_events(after, [NOON_MS] * len(after))

    assert msgspec.json.encode(straight.flush()) == msgspec.json.encode(troubled.flush())


@given(st.lists(events(), max_size=60))
@settings(max_examples=60, deadline=None)
def test_a_plan_takes_nothing_from_other_sums(given_events: list[Event]):
    """
    Requests, failures, delays and sights are the same with and without plans; without one, that is all there is.
    """
    found = []
    for plans in ({}, {"production|a": Plan(), "production|b": Plan()}, PLANS):
        fold = Fold("t/0")
        fold.plans = plans
        fold.take_events(given_events, [NOON_MS] * len(given_events))
        found.append([bare(flag) for flag in fold.flush()] if plans is PLANS else fold.flush())

    assert found[0] == found[1]
    assert [flag for flag in found[0] if flag.ticks] == [flag for flag in found[2] if flag.ticks]
    assert not any(arm.latency or arm.scores for flag in found[0] for tick in flag.ticks for arm in tick.arms.values())


def bare(flag: FlagSums) -> FlagSums:
    """Return only what is summed without a plan."""
    kept = ("exposures", "outcomes", "errors", "anonymous", "units")
    ticks = []
    for tick in flag.ticks:
        arms = {v: Arm(**{name: getattr(arm, name) for name in kept}) for v, arm in tick.arms.items()}
        arms = {v: arm for v, arm in arms.items() if arm != Arm()}
        if arms:
            ticks.append(Tick(start_ms=tick.start_ms, length_ms=tick.length_ms, arms=arms))
    return msgspec.structs.replace(flag, ticks=ticks)


def test_plans_count_from_then_on(monkeypatch: pytest.MonkeyPatch):
    """
    A plan that comes or goes counts for the events taken afterwards, and stays when all names are forgotten.
    """
    fold = Fold("t/0")
    slow = line(ended(latency_ms=400.0, context_id=None))
    monkeypatch.setattr(names_module, "NAMES_MAX", 0)
    found = []
    for plans in ({}, {KEY: Plan(over_us=(300_000,))}, None, {}):
        if plans is not None:
            fold.plans = plans
        fold.take([slow], NOON_MS)
        (flag,) = fold.flush()
        found.append((arm_of(flag).timed, arm_of(flag).over))

    assert [(0, {}), (1, {300_000: 1}), (1, {300_000: 1}), (0, {})] == found


COLD = [f"cold-{n}" for n in range(8)]
CROWDED = FoldConfig(rows_max=4)


def crowd(dice: random.Random, flushes: int) -> list[list[Line]]:
    """One hot flag, one middling, eight with an event now and then: the records of each flush."""
    found, offset = [], 0
    for _ in range(flushes):
        names = ["hot"] * 10 + ["middling"] * 2 + [dice.choice(COLD)]
        made = [event for name in names for event in said_and_done(name, dice)]
        found.append([line(event, offset + at) for at, event in enumerate(made)])
        offset += len(made)
    return found


def run(flushes: list[list[Line]], config: FoldConfig, *, position: int = 0, note: str = "") -> tuple[Fold, list[FlagSums]]:
    """Feed a fold flush by flush, from its position on."""
    fold, sums = Fold("t/0", config, position=position, note=note), []
    fold.plans = {f"production|{name}": EVERYTHING for name in ("hot", "middling", *COLD)}
    for flush in flushes:
        fold.take([record for record in flush if record.offset >= fold.position], NOON_MS)
        sums += fold.flush()
    return fold, sums


def test_held_back_sums_hold_all_columns(dice: random.Random):
    """
    Among very many flags, those that go out rarely bring over a whole number of cycles what they would have brought.
    """
    flushes = crowd(dice, 3 * CYCLE)
    (_, crowded), (_, roomy) = run(flushes, CROWDED), run(flushes, FoldConfig())

    assert {200, 1_000, 5_000} == {tick.length_ms for flag in crowded for tick in flag.ticks}
    assert counted(roomy) == counted(crowded)


def test_a_crash_while_sums_are_held_back_loses_and_doubles_nothing(dice: random.Random):
    """
    Whoever reads on from the committed offset and its note sends of all columns exactly what had not been sent.
    """
    flushes = crowd(dice, 4 * CYCLE)
    crash = dice.randrange(CYCLE + 1, 2 * CYCLE)
    first, sent = run(flushes[:crash], CROWDED)
    point = first.savepoint()
    assert point.note

    second, again = run(flushes, CROWDED, position=point.position, note=point.note)
    again += [flag for _ in range(2 * CYCLE) for flag in second.flush()]

    assert counted(run(flushes, FoldConfig())[1]) == counted([*sent, *again])


def test_segments_never_choose_the_cadence(dice: random.Random):
    """
    Outcomes that are summed twice count once for how often a flag goes out.
    """
    flushes = [[("hot", "DE")] * 25 + [("middling", "DE")] * 3 + [(dice.choice(COLD), "FR")] for _ in range(3 * CYCLE)]
    shapes = []
    for plan in (Plan(), EVERYTHING):
        fold, shape = Fold("t/0", CROWDED), []
        fold.plans = {f"production|{name}": plan for name in ("hot", "middling", *COLD)}
        for flush in flushes:
            fold.take([line(outcome({flag: "t"}, attributes={"country": value, "plan": 1})) for flag, value in flush], NOON_MS)
            shape.append([(flag.key, [tick.length_ms for tick in flag.ticks]) for flag in fold.flush()])
        shapes.append(shape)

    # Events are counted from the flush on in which there are more flags than rows: the first cycle may miss some.
    assert {200, 5_000} == {length_ms for flags in shapes[0][2 * CYCLE :] for _, ticks in flags for length_ms in ticks}
    assert shapes[0] == shapes[1]


def said_and_done(flag: str, dice: random.Random) -> list[dict[str, Any]]:
    """An outcome of somebody new, a rating and a report."""
    flags, who = {flag: "t"}, f"u-{dice.randrange(10**9)}"
    done = outcome(
        flags, latency_ms=dice.randrange(2_000), attributes={"country": dice.choice("DFI")}, context_id=who,
        measures={"quality": dice.randrange(5)},
    )  # fmt: skip
    return [done, feedback(flags=flags, score=dice.randrange(1, 6), context_id=who), feedback("report", None, flags=flags)]


def counted(flags: list[FlagSums]) -> dict[Any, Any]:
    """Return the sums over all ticks, by flag and segment."""
    found: dict[Any, Arm] = {}
    for flag in flags:
        for tick in flag.ticks:
            for segment, arms in (("", tick.arms), *tick.segments.items()):
                for arm in arms.values():
                    found[flag.key, segment] = found.get((flag.key, segment), Arm()) + arm
    for arm in found.values():
        arm.scores = {n: {at: round(c, 6) for at, c in sorted(counts.items())} for n, counts in arm.scores.items()}
    return found


# ---------------------------------------------------------------------------- latencies


def test_latencies_over_a_bound_are_counted_exactly():
    """
    A latency of exactly the bound is not over it, the next float is; all that have one are timed, weighted.
    """
    fold = planned(Plan(over_us=(300_000, 10_000_000)))
    latencies = [300.0, 300.0000000000001, 299.9, 5_000.0, None]

    arm = arm_of(take(fold, *(ended(latency_ms=ms, context_id=f"u-{n}", sampledrate=10) for n, ms in enumerate(latencies))))

    assert ({300_000: 20}, 40, 50, {}) == (arm.over, arm.timed, arm.outcomes, arm.latency)


def test_a_heavy_user_counts_once_per_ten_seconds():
    """
    Of a unit's outcomes in ten seconds of start time the first one met counts for latencies and measures, for all flags
    that it is under; the next ten seconds count anew. All are outcomes, and without a unit all count.
    """
    plan = Plan(latency=True, scores={"measure:n": (0.0, 180.0)})
    fold = planned(plan)
    fold.plans = {KEY: plan, "production|new-cart": Plan(latency=True)}
    starts_ms = [9_999, 0, 5_000, 10_000, 19_999]
    both = {"checkout-v2": "treatment", "new-cart": "on"}
    fold.take(
        [line(outcome(both, latency_ms=n, time=NOON_MS + at + n - 30_000, measures={"n": n})) for n, at in enumerate(starts_ms)]
        + [line(outcome(both, latency_ms=50, context_id=None, measures={"n": 9})) for _ in range(2)], NOON_MS,
    )  # fmt: skip
    first, second = fold.flush()
    arm = arm_of(first)

    assert {bucket_key(0): 1, bucket_key(3): 1, bucket_key(50): 2} == arm.latency == arm_of(second, "on").latency
    assert (4, 7) == (arm.timed, arm.outcomes)
    assert {"measure:n": {0: 1.0, 6: 1.0}, "measure:n?": {18: 2.0}} == arm.scores


def test_beyond_the_memory_a_unit_counts_again():
    """
    Who counted is remembered for so many units; the older ones are forgotten, and count again.
    """
    fold = planned(Plan(latency=True), FoldConfig(units_max=200))
    many = [ended(context_id=f"u-{n}") for n in range(1_000)]

    assert 1_000 == arm_of(take(fold, *many)).timed
    assert 0 == arm_of(take(fold, *many[-90:])).timed
    assert 90 == arm_of(take(fold, *many[:90])).timed


# ---------------------------------------------------------------------------- measures and feedback


@given(st.lists(st.floats(-2, 8), min_size=1, max_size=30))
@settings(max_examples=60, deadline=None)
def test_measures_lie_where_the_plan_says(values: list[float]):
    """
    Measures are placed in the range of the plan as one by one; those that no plan wants are left.
    """
    fold = planned(Plan(scores={"measure:quality": (1.0, 5.0)}))
    arm = arm_of(take(fold, *(ended(context_id=None, measures={"quality": value, "x": 1}) for value in values)))

    places = [position(value, 1.0, 5.0) for value in values]
    assert {"measure:quality?": {place: float(places.count(place)) for place in places}} == arm.scores


def test_a_measure_that_is_no_number_is_refused():
    """
    As without a plan, and with the reason.
    """
    fold = planned(EVERYTHING)
    (dead,) = fold.take([line(ended(measures={"quality": "good"}))], NOON_MS)

    assert "data.measures.quality: should be a valid number, not 'good'" == dead.reason


def test_a_unit_that_rates_twice_counts_as_its_mean():
    """
    Several scores of a unit in one flush, tick and arm are parts of one; in another tick, arm or flush they are new.
    """
    fold = planned(Plan(scores={"feedback:rating": (1.0, 5.0)}))
    again = feedback(score=1, context_id="u-1", time=NOON_MS - 1_000)
    found = take(
        fold, feedback(score=1, context_id="u-1"), feedback(score=5, context_id="u-1"),
        feedback(score=3, scale=[1, 3], sampledrate=4),
        feedback(score=5, flags={"checkout-v2": "control"}, context_id="u-1"), again, feedback("nps", 3),
    )  # fmt: skip
    late, noon = found.ticks

    assert {"feedback:rating": {0: 0.5, 2 * GRID: 0.5}, "feedback:rating?": {2 * GRID: 4.0}} == noon.arms["treatment"].scores
    assert {"feedback:rating": {2 * GRID: 1.0}} == noon.arms["control"].scores
    assert {"feedback:rating": {0: 1.0}} == late.arms["treatment"].scores == arm_of(take(fold, again)).scores


def test_feedback_is_no_request():
    """
    Feedback adds scores and reports, and nothing else; where no plan wants it, nothing at all.
    """
    fold = planned(Plan(scores={"feedback:thumb": (0.0, 1.0)}, reports=True, fresh=True))
    spoken = [
        feedback("thumb", 1, context_id="u-1", flags={"checkout-v2": "treatment", "new-cart": "on"}),
        feedback("thumb", 0, flags={"checkout-v2": "control"}, context_id="u-1"),
        *(feedback("report", None, context_id=unit) for unit in ("u-2", "u-2", "u-1")), feedback("report", None, sampledrate=3),
    ]  # fmt: skip
    fold.take([line(event) for event in spoken], NOON_MS)
    (flag,) = fold.flush()

    assert ({}, [], []) == (flag.delays, flag.mixed, flag.cohort)
    assert Arm(scores={"feedback:thumb": {0: 1.0}}) == arm_of(flag, "control")
    expected = Arm(scores={"feedback:thumb": {2 * GRID: 1.0}}, reporters=sorted(map(unit_of, ["u-1", "u-2"])), reports=3)
    assert expected == arm_of(flag)
    assert 6 == fold.counts.feedback


# ---------------------------------------------------------------------------- segments


def test_an_attributes_values_are_segments():
    """
    Text, numbers and truth values name segments, long text cut at 64 characters; lists and nothing do not. A segment
    holds the outcomes that have the value, with their failures, latencies and measures, and never exposures.
    """
    fold = planned(Plan(latency=True, segments=("v", "w"), scores={"measure:n": (0.0, 1.0)}))
    values = [1, 1.0, 1.5, True, False, "x" * 70, None, [1], {"a": 1}, "", 10**17]
    told = [
        ended(attributes={"v": value, "w": 7}, context_id=f"u-{n}", outcome="error", measures={"n": 1}, latency_ms=n)
        for n, value in enumerate(values)
    ]
    found = take(fold, *told, exposure(), ended(context_id="u-99"))

    names = {"v=1", "v=1.5", "v=true", "v=false", "v=" + "x" * 64, "v=", "v=100000000000000000", "w=7"}
    assert names == {name for tick in found.ticks for name in tick.segments}
    expected = Arm(
        outcomes=2, errors=2, units=sorted(map(unit_of, ["u-0", "u-1"])), latency={bucket_key(0): 1, bucket_key(1): 1},
        timed=2, scores={"measure:n": {2 * GRID: 2.0}},
    )  # fmt: skip
    assert expected == arm_of(found, segment="v=1")
    assert 11 == arm_of(found, segment="w=7").outcomes
    assert (1, 12) == (arm_of(found).exposures, arm_of(found).outcomes)


def test_the_first_values_are_segments():
    """
    The values met first are segments for good, by flag and attribute; later ones are summed with all others only.
    """
    fold = planned(Plan(segments=("city", "plan")))
    cities = [f"c{n}" for n in range(SEGMENTS_MAX + 5)]
    told = [ended(attributes={"city": city, "plan": "pro"}) for city in cities]
    first, second = take(fold, *told), take(fold, *reversed(told))

    for found in (first, second):
        (tick,) = found.ticks
        assert {f"city={city}" for city in cities[:SEGMENTS_MAX]} | {"plan=pro"} == set(tick.segments)
        assert len(cities) == arm_of(found, segment="plan=pro").outcomes == arm_of(found).outcomes


def test_values_taken_back_were_never_met():
    """
    After a rollback the values that come first then are the segments.
    """
    fold = planned(Plan(segments=("city",)))
    committed = fold.savepoint()
    take(fold, *(ended(attributes={"city": f"a{n}"}) for n in range(SEGMENTS_MAX)))
    fold.rollback(committed)

    assert {"city=b"} == {name for tick in take(fold, ended(attributes={"city": "b"})).ticks for name in tick.segments}


def test_a_cut_holds_where_all_fields_match():
    """
    Operation, service and error type are the outcome's own fields, however they are named; others are attributes.
    """
    where = (("country", "DE"), ("error_type", "Timeout"), ("operation", "GET /"), ("service_name", "api"), ("tries", "3"))
    fold = planned(Plan(cuts=(Cut("all", where), Cut("gets", (("operation", "GET /"),)))))
    whole: dict[str, Any] = {
        "operation": "GET /", "service_name": "api", "error_type": "Timeout", "attributes": {"country": "DE", "tries": 3.0},
        "outcome": "error",
    }  # fmt: skip
    others: list[dict[str, Any]] = [
        {"operation": "x"}, {"service_name": None}, {"error_type": None}, {"attributes": {"country": "DE"}}, {"attributes": None}
    ]  # fmt: skip
    dotted = {**whole, "error_type": None, "error.type": "Timeout", "service_name": None, "service.name": "api"}
    found = take(fold, ended(**whole), ended(**dotted), *(ended(**{**whole, **other}) for other in others))

    assert (2, 6, 7) == tuple(arm_of(found, segment=name).outcomes for name in ("all", "gets", ""))


def test_what_outcomes_tell_is_forgotten_unharmed():
    """
    Attributes that are never the same twice are summed as any others.
    """
    fold = planned(Plan(segments=("country",)))
    total = 0
    for part in range(9):
        told = [ended(attributes={"country": "DE", "request": f"{part}-{n}"}) for n in range(4_000)]
        total += arm_of(take(fold, *told), segment="country=DE").outcomes

    assert 36_000 == total


# ---------------------------------------------------------------------------- fresh units


def test_a_repeat_hides_no_second_variation():
    """
    A unit that gets two variations within ten seconds is told of, however often it came under the first one, and so is
    who is in the cohort; its outcomes count once under each.
    """
    often = [ended(context_id="u-1") for _ in range(5)]
    other = outcome({"checkout-v2": "control"}, time=NOON_MS + 13, context_id="u-1")
    found, plain = (take(planned(plan), *often, other, *often, {**other, "id": "2"}) for plan in (Plan(latency=True), Plan()))

    assert [["treatment", "control"]] == [mixed.variations for mixed in found.mixed]
    assert (plain.mixed, plain.cohort) == (found.mixed, found.cohort)
    assert [1, 1] == [arm_of(found, variation).timed for variation in ("treatment", "control")]


def test_a_unit_is_fresh_once():
    """
    A unit is fresh in the tick and arm where this source first meets it under the flag, by exposure or outcome.
    """
    fold = planned(Plan(fresh=True))
    found = take(
        fold, exposure(context_id="u-1", time=NOON_MS - 1_000), exposure(context_id="u-1", variant="control"),
        ended(context_id="u-2"), ended(context_id="u-1"), exposure(context_id="u-2"), exposure(context_id=None),
    )  # fmt: skip

    early, noon = found.ticks
    assert [unit_of("u-1")] == early.arms["treatment"].fresh
    assert ([unit_of("u-2")], []) == (noon.arms["treatment"].fresh, noon.arms["control"].fresh)
    assert [] == arm_of(take(fold, exposure(context_id="u-1"), ended(context_id="u-2"))).fresh


def test_of_many_fresh_units_a_part_is_told():
    """
    After each flush that held too many, those units are told whose last bits, one more, are 0; a rollback goes back to
    how it was, and each arm says what holds for it.
    """
    fold, number = planned(Plan(fresh=True)), 0
    committed, told = fold.savepoint(), []
    for attempt in range(2):
        for _ in range(4):
            units = [f"u-{n}" for n in range(number, number + 3 * FRESH_MAX)]
            number += len(units)
            arm = arm_of(take(fold, *(exposure(context_id=unit) for unit in units)))
            shift = arm.fresh_shift
            assert sorted(unit_of(u) for u in units if unit_of(u) % 2**shift == 0) == arm.fresh
            told.append(shift)
        if not attempt:
            fold.rollback(committed)

    assert [0, 1, 2, 2] * 2 == told
