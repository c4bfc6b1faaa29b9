"""Literal rules: they fire as they are written, from sums that stay small, alone and beside their tests."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import msgspec
import numpy as np
import pytest

from guardian.aggregate import LITERAL_LEAST, is_beyond
from guardian.bank import Bank, JudgeConfig
from guardian.conditions import Absolute, Margin
from guardian.decisions import Decision, GuardrailView, RolloutView
from guardian.effects import Decide, Effect, Show
from guardian.journal import Beat, Entry, Override, PolicyEntry, Summary
from guardian.lines import lines_of, plan_of
from guardian.plan import GRID, RATING, THUMB
from guardian.policy import Policy, policy_hash
from guardian.sequential import bucket_edge, bucket_key
from guardian.state import RolloutState
from guardian.summaries import Arm, FlagSums, Tick
from guardian.tally import Tally
from guardian.why_not import why_not
from guardian.window import BUCKETS_MAX, STEPS_MAX, Window, quantile, window_of
from tests.support.sums import Rate, World, ratings
from tests.support.traffic import KEY, T0_MS, policy


def ruled(when: str, evaluate: str = "literal", then: str = "alert", **more: object) -> Policy:
    """A policy of one guardrail."""
    return policy(guardrails=[{"when": when, "then": then, "evaluate": evaluate}], **more)


@dataclass
class Run:
    """A bank that has read entries, and all that came of it."""

    bank: Bank
    effects: list[Effect]
    views: list[RolloutView]

    @property
    def decisions(self) -> list[Decision]:
        found = {one.decision.decision_id: one.decision for one in self.effects if isinstance(one, Decide)}
        return list(found.values())

    @property
    def rows(self) -> list[list[GuardrailView]]:
        return [list(view.guardrails) for view in self.views]

    @property
    def state(self) -> RolloutState:
        return self.bank.rollouts[KEY]


def run(entries: Sequence[Entry], terms: Policy, crash_every: int = 0) -> Run:
    """Judge entries; with ``crash_every``, by banks that each begin from the snapshots of the one before."""
    first = PolicyEntry(at_ms=T0_MS, key=terms.key, hash=policy_hash(terms), document=terms.to_document())
    bank, effects, views = Bank(JudgeConfig()), [], []
    for offset, entry in enumerate([first, *entries]):
        fresh = bank.apply(offset, entry)
        effects += fresh
        views += [bank.view(one.key) for one in fresh if isinstance(one, Show)]
        if crash_every and offset % crash_every == 0:
            parts = {part: bank.snapshot(part) for part in (KEY, Bank.SOURCES)}
            bank = Bank(JudgeConfig())
            assert all(bank.load(part, raw) for part, raw in parts.items())
    return Run(bank, effects, views)


def ms(at: str) -> int:
    return round(datetime.fromisoformat(at).timestamp() * 1_000)


def after_s(at: str) -> float:
    return (ms(at) - T0_MS) / 1_000


# ---------------------------------------------------------------------------- as written


def value_of(name: str, arms: list[Arm]) -> tuple[float, float]:
    """A signal over raw sums, as anybody would work it out: of how many units, and its value."""
    n: float
    x: float
    if name == "error_rate":
        n, x = sum(arm.outcomes for arm in arms), sum(arm.errors for arm in arms)
    elif name == "report_rate":
        n, x = sum(arm.exposures for arm in arms), sum(len(arm.reporters) for arm in arms)
    else:
        score = {"csat": RATING, "thumbs_down_rate": THUMB}[name]
        given = [(at / (2 * GRID), count) for arm in arms for at, count in arm.scores.get(score, {}).items()]
        n = sum(count for _, count in given)
        if name == "csat":
            return n, sum((1.0 + 4.0 * part) * count for part, count in given) / max(n, 1)
        x = sum(count for part, count in given if part == 0.0)
    return n, x / max(n, 1)


def expected(entries: Sequence[Entry], terms: Policy, until_ms: int) -> list[tuple[int, int]]:
    """When a rule that is written so must fire, and on how many units: recomputed from all raw ticks at each step."""
    when = terms.guardrails[0].when
    assert when.for_s is not None
    for_ms = round(when.for_s * 1_000)
    step_ms = max(for_ms // STEPS_MAX, 200)
    ticks = [tick for entry in entries if isinstance(entry, Summary) for sums in entry.flags for tick in sums.ticks]
    fired, before, begun_ms = [], False, min(tick.start_ms for tick in ticks if "treatment" in tick.arms)
    for end_ms in range(-(-begun_ms // step_ms) * step_ms, until_ms + 1, step_ms):
        held = [tick for tick in ticks if end_ms - for_ms < tick.end_ms <= end_ms]
        (n, value), (n_control, control) = (
            value_of(when.signal.name, [tick.arms[name] for tick in held if name in tick.arms])
            for name in ("treatment", "control")
        )
        bound = when.bound
        compared = not isinstance(bound, Absolute)
        enough = n >= LITERAL_LEAST and (not compared or n_control >= LITERAL_LEAST)
        limit = bound.value if isinstance(bound, Absolute) else control * getattr(bound, "factor", 1.0)
        limit += bound.delta if isinstance(bound, Margin) else 0.0
        now = enough and end_ms - for_ms >= begun_ms and is_beyond(when, value, limit)
        if now and not before:
            fired.append((end_ms, round(n)))
        before = now
    return fired


def thumbs(rng: np.random.Generator, variation: str, at_s: float, n: int) -> list[float]:
    """Thumbs of which one in five points down."""
    return [float(one) for one in rng.uniform(size=n) < 0.8]


NOISY = World(
    seconds=90, rps=300, timed=False, errors=lambda v, s: 0.05, reports=lambda v, s: 0.02,
    scores={RATING: (0.3, (1.0, 5.0), ratings()), THUMB: (0.3, (0.0, 1.0), thumbs)},
)  # fmt: skip
AS_WRITTEN = [
    *("error_rate > 5% for 10s", "error_rate >= 1.05x control for 7s", "error_rate > control + 0.5% for 12s"),
    *("error_rate > 5% for 30s", "report_rate > 2% for 10s", "report_rate > 1.1x control for 15s"),
    *("csat < 4.15 for 10s", "csat <= control - 0.02 for 5s", "thumbs_down_rate > 20% for 10s"),
    *("thumbs_down_rate > control for 1s", "error_rate > 5.5% for 60s"),
]


@pytest.mark.parametrize("when", AS_WRITTEN)
def test_a_rule_fires_when_and_only_when_it_is_broken_as_written(when: str, dice: random.Random) -> None:
    """
    On noise around its bound a rule fires at the end of exactly those steps at which the value of the whole window,
    recomputed from all raw sums, begins to break the bound; the decision tells the window and how many are in it.
    """
    terms = ruled(when)
    entries = list(replace(NOISY, seed=dice.randrange(10_000)).entries())
    made = run(entries, terms)
    told = [(ms(one.evidence_to), one.evidence.n) for one in made.decisions if one.evidence is not None]

    assert expected(entries, terms, made.state.population.closed_ms) == told


def test_rules_on_noise_do_fire() -> None:
    """The noise of these tests breaks rules, more than once: that nothing fires is not why they agree."""
    entries = list(NOISY.entries())

    assert all(run(entries, ruled(when)).decisions for when in AS_WRITTEN[:4])
    assert 3 < len(run(entries, ruled(AS_WRITTEN[0])).decisions)


def slowed(at_s: float, times: float) -> World:
    return World(seconds=60, latency_ms=lambda v, s: 100.0 * (times if v == "treatment" and s >= at_s else 1.0))


@pytest.mark.parametrize(
    "when",
    ["latency_p95 > 1.5x control for 10s", "latency_p50 > control + 50ms for 10s", "latency_p95 > 600ms for 10s"],
)
def test_a_slow_variation_breaks_a_rule_on_latency_and_an_equal_one_does_not(when: str) -> None:
    """A quantile of the whole window is compared: a variation that gets twice as slow breaks the rule, one at par never."""
    slow, equal = (run(list(slowed(30.0, times).entries()), ruled(when)).decisions for times in (2.0, 1.0))

    assert [] == equal
    assert 1 == len(slow)
    assert 30.0 < after_s(slow[0].decided_at) < 45.0
    assert slow[0].evidence is not None
    assert slow[0].evidence.value > (slow[0].evidence.value_control or 0.0)


def test_how_ticks_come_together_does_not_matter(dice: random.Random) -> None:
    """Flushes of one tick and of several, all shorter than a step, lead to the same decisions on the same numbers."""
    world = World(errors=hurt((60, 80), (150, 170), bad=0.1), timed=False, seconds=190, rps=100)
    terms, entries = ruled("error_rate > 3% for 60s"), list(world.entries())
    made = [run(batched(entries, dice, most), terms).decisions for most in (1, 4)]
    told = [[(one.evidence_from, one.evidence_to, one.evidence) for one in found] for found in made]

    assert 2 <= len(told[0])
    assert told[0] == told[1]


def batched(entries: Sequence[Entry], dice: random.Random, most: int) -> list[Entry]:
    """The same ticks in flushes of up to so many."""
    made, held = [], []
    for entry in entries:
        held.append(entry)
        if len(held) >= dice.randint(1, most):
            ticks = [t for one in held if isinstance(one, Summary) for sums in one.flags for t in sums.ticks]
            last = held[-1]
            flags = [FlagSums(key=KEY, ticks=ticks)]
            made.append(Summary(source="w/0", at_ms=last.at_ms, passed_ms=last.at_ms, flags=flags) if ticks else last)
            held = []
    return [*made, *held]


def test_a_crash_anywhere_changes_nothing(dice: random.Random) -> None:
    """Banks that begin anew from snapshots, again and again, decide and show bit for bit what one that lives on does."""
    guardrails = [
        {"when": when, "then": "alert", "evaluate": evaluate}
        for when, evaluate in (
            *(("error_rate > 5% for 10s", "literal"), ("latency_p95 > 1.05x control for 7s", "either")),
            *(("csat < control for 20s", "both"), ("thumbs_down_rate > 20% for 10s", "literal")),
        )
    ]
    entries = list(replace(NOISY, timed=True, seconds=40).entries())
    terms = policy(guardrails=guardrails)
    whole, broken = run(entries, terms), run(entries, terms, crash_every=dice.randint(3, 11))

    assert len(whole.decisions) > 2
    assert whole.effects == broken.effects
    assert whole.bank.snapshot(KEY) == broken.bank.snapshot(KEY)


def test_what_comes_late_joins_the_step_of_its_own_start() -> None:
    """A failure that comes seconds late, when its tick has long been read, still counts in the window that holds it."""
    world = World(seconds=40, timed=False, errors=lambda v, s: 0.0)
    entries, terms = list(world.entries()), ruled("error_rate > 5% for 20s")
    at = next(at for at, entry in enumerate(entries) if entry.at_ms > T0_MS + 30_000)

    def late(start_s: float) -> list[Decision]:
        arm = Arm(outcomes=500, errors=500, units=list(range(10**6, 10**6 + 500)))
        tick = Tick(start_ms=T0_MS + round(start_s * 1_000), arms={"treatment": arm})
        at_ms = entries[at].at_ms
        extra = Summary(source="w/0", at_ms=at_ms, passed_ms=at_ms, flags=[FlagSums(key=KEY, ticks=[tick])])
        return run([*entries[:at], extra, *entries[at:]], terms).decisions

    assert [] == run(entries, terms).decisions
    assert [] == late(2.0)
    assert 1 == len(late(20.0))
    assert late(20.0)[0].evidence is not None
    assert 500 == late(20.0)[0].evidence.events  # type: ignore[union-attr]


# ---------------------------------------------------------------------------- when it speaks, and how often


def hurt(*spans: tuple[float, float], bad: float = 0.2) -> Rate:
    """A rate of treatment that is bad within spans of seconds."""
    return lambda v, s: bad if v == "treatment" and any(a <= s < b for a, b in spans) else 0.01


def decided(world: World, terms: Policy, *more: Override) -> list[Decision]:
    entries = sorted([*world.entries(), *more], key=lambda entry: entry.at_ms)
    return run(entries, terms).decisions


def test_a_rule_speaks_again_only_after_it_was_quiet() -> None:
    """Harm that lasts is told once; harm that ends and comes again is told again."""
    terms = ruled("error_rate > 5% for 10s")
    once = decided(World(errors=hurt((20, 90)), timed=False, seconds=90), terms)
    twice = decided(World(errors=hurt((20, 40), (60, 90)), timed=False, seconds=90), terms)

    assert 1 == len(once)
    assert [20, 60] == [round(after_s(one.decided_at), -1) for one in twice]


def test_a_known_change_lets_a_rule_that_is_broken_speak_again() -> None:
    """After a change that was told of, a rule that is still broken speaks once more."""
    build = Override(at_ms=T0_MS + 60_000, key=KEY, action="changed", by="ci", reason="build 7", id="b7")
    made = decided(World(errors=hurt((20, 90)), timed=False, seconds=90), ruled("error_rate > 5% for 10s"), build)

    assert 2 == len(made)
    assert after_s(made[0].decided_at) < 60.0 <= after_s(made[1].decided_at) < 63.0


def test_a_window_must_have_been_covered() -> None:
    """Harm from the first request on is told when telemetry is as old as the window, not before; until then the row says so."""
    made = run(list(World(errors=hurt((0, 60)), timed=False).entries()), ruled("error_rate > 5% for 30s"))
    said = [row.why for rows in made.rows for row in rows]

    assert 30.0 <= after_s(made.decisions[0].decided_at) < 33.0
    assert "window not full yet: 12s of 30s" in said
    assert any(why.startswith("armed since ") for why in said)


def test_a_quiet_rule_shows_its_value() -> None:
    """The row of a rule that is not broken says so, with the values of its window; it is no evidence."""
    row = run(list(World(timed=False).entries()), ruled("error_rate > 5% for 10s")).rows[-10][0]

    assert ("quiet", True, None) == (row.why, row.literal, row.log_e)
    assert 0.0 < (row.value or 0.0) < 0.03
    assert 0.0 < (row.value_control or 0.0) < 0.03


def test_beside_a_test_the_row_says_both() -> None:
    """A guardrail that is read in two ways has one row: the evidence of its test, and where its rule stands."""
    rows = run(list(World(timed=False).entries()), ruled("error_rate > 5% for 10s", "either")).rows[-10]

    assert [(False, True)] == [(row.literal, row.log_e is not None) for row in rows]
    assert rows[0].why.endswith("literally: quiet")


def test_why_nothing_happened_names_literal_rules() -> None:
    """Why nothing has happened is told of literal rules by their values and where they stand, not as missing evidence."""
    made = run(list(World(timed=False).entries()), ruled("error_rate > 5% for 10s"))
    told = why_not(made.views[-10])

    assert re.search(r"“error_rate > 5% for 10s” on treatment reads [\d.]+ % against [\d.]+ % \(quiet\)", told)
    assert "nothing yet to judge" not in told


def test_a_rule_says_nothing_on_few_units() -> None:
    """With fewer than 50 units in the window nothing is said, however bad they look; with more it is."""
    few, enough = (
        decided(World(errors=hurt((0, 90), bad=0.9), timed=False, seconds=90, rps=rps), ruled("error_rate > 5% for 10s"))
        for rps in (6.0, 24.0)
    )

    assert [] == few
    assert 1 == len(enough)


def test_a_window_runs_dry_when_telemetry_ends() -> None:
    """When nothing comes any more the window empties with time: the rule falls quiet, and nothing waits for it."""
    entries = list(World(errors=hurt((20, 60)), timed=False).entries())
    last_ms = entries[-1].at_ms
    beats = [Beat(source="w/0", at_ms=at, passed_ms=at) for at in range(last_ms, last_ms + 15_000, 200)]
    made = run([*entries, *beats], ruled("error_rate > 5% for 10s"))

    assert any(row.why.startswith("armed") for rows in made.rows for row in rows)
    assert made.state.windows.due_ms is None
    assert made.state.variations["treatment"].is_quiet


def test_a_literal_rule_takes_no_budget_and_promises_nothing() -> None:
    """A purely literal guardrail has no account; its decision holds no evidence in nats and says what is not bounded."""
    terms = policy(guardrails=[
        {"when": "error_rate > 5% for 10s", "then": "kill", "evaluate": "literal"},
        {"when": "error_rate > 20x control", "then": "pause"},
    ])  # fmt: skip
    made = decided(World(errors=hurt((20, 60), bad=0.1), timed=False), terms)

    assert 1 == lines_of(terms).accounts
    assert ["kill"] == [one.action for one in made]
    told = made[0].evidence
    assert told is not None
    assert ("window", "", 0.0, 0.0, None) == (told.test, told.lane, told.log_e, told.alpha_spent, told.p)
    assert "the rule is literal, so the chance of this kill being false is not bounded" in made[0].explanation
    assert 10_000 == ms(made[0].evidence_to) - ms(made[0].evidence_from)


def test_a_shared_incident_is_held_and_not_killed() -> None:
    """Where control breaks the same fixed bound over the same window, a literal kill holds, as a tested one does."""
    made = decided(World(errors=lambda v, s: 0.3 if s > 20 else 0.01, timed=False), ruled("error_rate > 5% for 10s", then="kill"))

    assert ["hold"] == [one.action for one in made]


# ---------------------------------------------------------------------------- beside its test


@pytest.mark.parametrize(("bad", "for_s", "first"), [(0.3, 20, "evidence"), (0.08, 10, "literal")])
def test_either_is_the_first_of_both(bad: float, for_s: int, first: str) -> None:
    """A guardrail that is evaluated either way acts when the first of its two ways would, and acts once."""
    world, when = World(errors=hurt((30, 120), bad=bad), timed=False, seconds=120), f"error_rate > 5% for {for_s}s"
    alone = {way: decided(world, ruled(when, way, "pause"))[0] for way in ("literal", "evidence")}
    made = decided(world, ruled(when, "either", "pause"))

    assert first == min(alone, key=lambda way: alone[way].decided_at)
    assert alone[first].decided_at == made[0].decided_at
    assert (first == "literal") == (made[0].evidence is not None and made[0].evidence.test == "window")
    assert 1 == len(made)


def test_both_waits_for_the_later() -> None:
    """A guardrail that must be broken in both ways acts when both are, with the chance that its test was given."""
    world, when = World(errors=hurt((30, 120), bad=0.3), timed=False, seconds=120), "error_rate > 5% for 30s"
    alone = [decided(world, ruled(when, way, "pause"))[0].decided_at for way in ("literal", "evidence")]
    made = decided(world, ruled(when, "both", "pause"))

    assert [max(alone)] == [one.decided_at for one in made]
    assert "was allowed 1 in 1,000" in made[0].explanation


def test_both_needs_both() -> None:
    """Noise that breaks the rule and not the test does nothing; nor does harm that the test finds and the window dilutes."""
    noise = replace(NOISY, errors=lambda v, s: 0.048)
    brief = World(errors=hurt((40, 44), bad=0.6), timed=False, seconds=50)

    assert decided(noise, ruled("error_rate > 5% for 10s", "literal"))
    assert [] == decided(noise, ruled("error_rate > 5% for 10s", "both"))
    assert decided(brief, ruled("error_rate > 10% for 40s", "evidence"))
    assert [] == decided(brief, ruled("error_rate > 10% for 40s", "both"))


def test_a_window_without_a_rule_is_tested_without_it() -> None:
    """By default a condition over a window is its test: the same decisions as without the window, but for its text."""
    world = World(errors=hurt((20, 60)), timed=False)
    made = [decided(world, ruled(when, "evidence", "pause")) for when in ("error_rate > 5% for 10s", "error_rate > 5%")]

    assert made[0]
    assert [(one.decided_at, one.evidence) for one in made[0]] == [(one.decided_at, one.evidence) for one in made[1]]
    assert " for 10s" not in made[0][0].explanation


def test_a_rollout_of_literal_rules_goes_on_while_they_are_quiet() -> None:
    """A stage is left when its time is over and no literal rule is broken; not while one is."""
    stages = [{"share": "50%", "for": "25s"}, {"share": "60%"}]
    well, ill = (
        decided(World(errors=rate, timed=False), ruled("error_rate > 5% for 10s", then="alert", stages=stages))
        for rate in (hurt(), hurt((10, 60)))
    )

    assert ["advance"] == [one.action for one in well]
    assert ["alert"] == [one.action for one in ill]


def test_a_segment_breaks_the_rule_on_its_own() -> None:
    """A rule that looks at segments names the one that breaks it, where all traffic does not."""
    world = World(countries={"DE": 0.1, "US": 0.9}, ill="DE", harm=20.0, timed=False, rps=400)
    terms = policy(guardrails=[
        {"when": "error_rate > 10% for 10s", "then": "pause", "evaluate": "literal", "segments": ["country"]}
    ])  # fmt: skip
    made = decided(world, terms)

    assert ["country=DE"] == [one.evidence.segment for one in made if one.evidence is not None]


def test_new_terms_keep_the_windows_that_are_still_read() -> None:
    """A policy that changes elsewhere leaves the sums of a rule as they are: it is still covered at once."""
    entries = list(World(errors=hurt((0, 60)), timed=False).entries())
    at = next(at for at, entry in enumerate(entries) if entry.at_ms > T0_MS + 20_000)
    terms, new = ruled("error_rate > 90% for 10s"), ruled("error_rate > 5% for 10s")
    changed = PolicyEntry(at_ms=entries[at].at_ms, key=new.key, hash=policy_hash(new), document=new.to_document())
    made = run([*entries[:at], changed, *entries[at:]], terms).decisions

    assert 1 == len(made)
    assert after_s(made[0].decided_at) < 22.0


def test_literal_rules_ask_for_their_sums() -> None:
    """The plan asks for what literal rules read, as for any other guardrail: latencies whole, even against fixed bounds."""
    terms = policy(
        signals={"quality": {"measure": "q", "range": [0, 2]}},
        guardrails=[
            {"when": f"{when} for 10m", "then": "pause", "evaluate": "literal"}
            for when in ("latency_p95 > 300ms", "quality < 1", "report_rate > 1%", "error_rate > 5%")
        ],
    )
    plan = plan_of(terms)

    assert (True, (), {"measure:q": (0.0, 2.0)}, True) == (plan.latency, plan.over_us, plan.scores, plan.reports)
    assert 0 == lines_of(terms).accounts


# ---------------------------------------------------------------------------- small, and exact as far as promised


def filled(for_s: float, rng: np.random.Generator, spread: float, each: int = 500) -> tuple[Window, list[float]]:
    """A window full of lognormal latencies of both arms, and treatment's."""
    window, ticks = window_of("latency", for_s, 0), []
    for step in range(STEPS_MAX + 5):
        for variation in ("control", "treatment"):
            taken = (100.0 * np.exp(spread * rng.standard_normal(each))).tolist()
            counts: dict[int, float] = {}
            for key in map(bucket_key, taken):
                counts[key] = counts.get(key, 0.0) + 1.0
            window.add((step + 1) * window.step_ms, variation, Tally(each, 0.0, counts))
            if variation == "treatment":
                ticks.append(taken)
        if step < STEPS_MAX + 4:
            window.slide()
    return window, [one for taken in ticks[-STEPS_MAX:] for one in taken]


@pytest.mark.parametrize("spread", [0.2, 0.8, 1.0])
def test_a_day_of_latencies_is_small_and_its_quantiles_are_near(spread: float, dice: random.Random) -> None:
    """
    A window of a day takes less than 40 kB and 64 buckets an arm; its quantiles are within half a bucket of the exact
    ones, and a bucket is at most 17 % wide for latencies that lie up to 20,000-fold apart.
    """
    window, taken = filled(86_400.0, np.random.default_rng(dice.randrange(10_000)), spread)
    held = window.sums["treatment"].counts

    assert len(msgspec.msgpack.encode(window)) < 40_000
    assert len(held) <= BUCKETS_MAX
    assert window.merged <= 3
    assert len(taken) == sum(held.values())
    for tau in (0.5, 0.9, 0.95, 0.99):
        width = bucket_edge(1 << window.merged)
        assert width**-0.5 < quantile(held, tau, window.merged) / float(np.quantile(taken, tau)) < width**0.5


def test_sums_are_those_of_the_steps_however_they_come(dice: random.Random) -> None:
    """After any adds, late ones too, and slides, the running sums are the plain sums of what the window still holds."""
    window, given = window_of("errors", 6.0, 0), []
    assert (200, 30) == (window.step_ms, window.size)
    window.add(200, "treatment", Tally(1.0, 0.0))
    given.append((0, 1.0, 0.0))
    for _ in range(400):
        if dice.random() < 0.3:
            window.slide()
        step = window.last - dice.choice([0, 0, 0, 5, 20, 29, 30, 40])
        n, x = float(dice.randint(1, 9)), float(dice.randint(0, 1))
        if step >= 0 and window.sums:
            window.add((step + 1) * 200, "treatment", Tally(n, x))
            given.append((step, n, x))
        held = [one for one in given if one[0] > window.last - window.size]
        sums = window.sums.get("treatment", Tally())

        assert (sum(n for _, n, _ in held), sum(x for _, _, x in held)) == (sums.n, sums.x)
        given = held


def test_merging_keeps_every_latency_and_the_edge_of_a_bound(dice: random.Random) -> None:
    """However often buckets are merged, no latency is lost, and how many lie above a fixed bound stays exact."""
    edge = bucket_key(300.0)
    window, above, total = window_of("latency", 10.0, 0, anchor=edge), 0, 0
    for at in range(2_000):
        key = bucket_key(10.0 ** dice.uniform(-2.0, 5.0))
        window.add((at // 50 + 1) * window.step_ms, "treatment", Tally(1.0, 0.0, {key: 1.0}))
        above, total = above + (key > edge), total + 1
        if at % 50 == 49 and at < 1_999:
            window.slide()
    held = window.sums["treatment"].counts

    assert window.merged > 2
    assert (total, above) == (sum(held.values()), sum(count for key, count in held.items() if key > edge))




@pytest.mark.parametrize("for_s", [1.0, 7.0, 90.0, 100.0, 600.0, 86_400.0])
def test_a_window_has_at_most_60_steps_and_is_as_long_as_written(for_s: float) -> None:
    """Windows of any length have at most 60 steps of at least 200 ms, and together these are it, to a step's rounding."""
    window = window_of("errors", for_s, 0)

    assert window.size <= STEPS_MAX
    assert window.step_ms >= 200
    assert for_s * 1_000 <= window.span_ms < for_s * 1_000 * 1.001 + 1
