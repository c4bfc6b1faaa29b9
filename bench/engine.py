"""What a step of the engine costs, with ten rollouts and with ten thousand; and what a rollout weighs."""

from __future__ import annotations

import gc
import time
import tracemalloc
from typing import Any

import numpy as np

from guardian.bank import SHOW_COST_MS, Bank, JudgeConfig
from guardian.journal import PolicyEntry, Summary
from guardian.plan import RATING, position
from guardian.policy import Policy, parse_policy, policy_hash
from guardian.sequential import bucket_key
from guardian.state import RolloutState
from guardian.summaries import Arm, FlagSums, Tick
from tests.support.sums import World, ratings
from tests.support.traffic import KEY

T0_MS = 1_790_000_000_000
FLUSH_MS = 100
FEW, MANY = 10, 10_000
WARM_FLUSHES, SETTLE_FLUSHES, FLUSHES = 60, 5, 10
"""
So many flushes one rollout has behind it that all others are copies of, in so many each finds its own turn to be shown
(all were last shown when that one was), and so many, a second of them, are measured: some things are done once a second.
"""
SELDOM_MS = SHOW_COST_MS * MANY
"""How often each of so many shows itself."""
BANKS = {FEW: 160, MANY: 1}
"""How many banks of each size are measured: some ten thousand steps and more."""
COPIES = 300

ONE = [{"when": "error_rate > 1.2x control", "then": "kill"}]
FOUR = [
    *ONE,
    {"when": "latency_p95 > 1.2x control", "then": "pause"},
    {"when": "csat < control - 0.3", "then": "pause"},
    {"when": "report_rate > 2x control", "then": "pause"},
]


def run() -> dict[str, Any]:
    """
    Judge rollouts of two variations, ten requests of each a flush, and count steps: a summary of one rollout, decided on.

    ``weight`` is that of one rollout with four guardrails after ten minutes at ten requests a second: its snapshot,
    and its memory for each (variation, signal) that is tested.
    """
    few, many, seldom = steps_per_s(FEW, ONE), steps_per_s(MANY, ONE), steps_per_s(FEW, ONE, SELDOM_MS)
    return {
        "unit": f"steps/s of processor time; few is {FEW}, many {MANY:,}",
        "one guardrail": {
            "few rollouts": few, "few, shown as seldom as many": seldom, "many rollouts": many,
            "cost of many": few / many, "cost of many, shown alike": seldom / many,
        },
        "four guardrails": {
            "few rollouts": steps_per_s(FEW, FOUR), "few, shown as seldom as many": steps_per_s(FEW, FOUR, SELDOM_MS),
        },
        "weight": weight(),
    }  # fmt: skip


def steps_per_s(rollouts: int, guardrails: list[dict[str, str]], show_ms: int = JudgeConfig().show_ms) -> float:
    """
    Return how many steps a second of processor time banks of so many rollouts make, each as old as the others.

    Each shows itself every ``show_ms`` at most.
    """
    rng, policy = np.random.default_rng(1), _policy("flag", guardrails)
    warm = Bank(JudgeConfig())
    warm.apply(0, _entry(policy))
    for number in range(1, WARM_FLUSHES + 1):
        warm.apply(number, _flush([policy.key], number, rng))
    raw, keys = warm.snapshot(policy.key), [f"production|flag-{number}" for number in range(rollouts)]
    # As a worker begins (streams.preload): what is loaded for good is not looked through for garbage again and again.
    gc.collect()
    gc.freeze()
    spent_s = 0.0
    for _ in range(BANKS[rollouts]):
        bank = Bank(JudgeConfig(show_ms=show_ms))
        bank.load(Bank.SOURCES, warm.snapshot(Bank.SOURCES))
        for key in keys:
            bank.load(key, raw)
            bank.rollouts[key].key = key
        for number in range(WARM_FLUSHES + 1, WARM_FLUSHES + SETTLE_FLUSHES + FLUSHES + 1):
            summary = _flush(keys, number, rng)
            began_s = time.process_time()
            bank.apply(number, summary)
            if number > WARM_FLUSHES + SETTLE_FLUSHES:
                spent_s += time.process_time() - began_s
    return rollouts * FLUSHES * BANKS[rollouts] / spent_s


def weight() -> dict[str, float]:
    """Return what a rollout with four guardrails weighs: bytes of its snapshot, and in memory for each signal tested."""
    bank = Bank(JudgeConfig())
    bank.apply(0, _entry(_policy(KEY.partition("|")[2], FOUR)))
    scored = {RATING: (0.3, (1.0, 5.0), ratings())}
    world = World(seconds=600.0, rps=10.0, scores=scored, reports=lambda _variation, _at_s: 0.01)
    for offset, entry in enumerate(world.entries(), 1):
        bank.apply(offset, entry)
    raw = bank.rollouts[KEY].snapshot()
    RolloutState.restore(raw)
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    held = [RolloutState.restore(raw) for _ in range(COPIES)]
    each = (tracemalloc.get_traced_memory()[0] - before) / len(held)
    tracemalloc.stop()
    return {"snapshot bytes": len(raw), "memory bytes": each, "bytes a variation and signal": each / len(FOUR)}


def _policy(flag: str, guardrails: list[dict[str, str]]) -> Policy:
    return parse_policy({"flag": flag, "environment": "production", "guardrails": guardrails})


def _entry(policy: Policy) -> PolicyEntry:
    return PolicyEntry(at_ms=T0_MS, key=policy.key, hash=policy_hash(policy), document=policy.to_document())


def _flush(keys: list[str], number: int, rng: np.random.Generator) -> Summary:
    at_ms = T0_MS + number * FLUSH_MS
    flags = [_sums(key, at_ms, rng) for key in keys]
    return Summary(source="flag.outcomes.v1/0", at_ms=at_ms, passed_ms=at_ms, flags=flags)


def _sums(key: str, at_ms: int, rng: np.random.Generator) -> FlagSums:
    start_ms = (at_ms - FLUSH_MS) // 200 * 200
    arms = {"control": _arm(rng, 9), "treatment": _arm(rng, 1)}
    return FlagSums(key=key, ticks=[Tick(start_ms=start_ms, arms=arms)], delays={"control": {25: 9}, "treatment": {25: 1}})


def _arm(rng: np.random.Generator, n: int) -> Arm:
    failed = int(rng.binomial(n, 0.01))
    keys = [bucket_key(taken) for taken in (80.0 * np.exp(0.8 * rng.standard_normal(n))).tolist()]
    return Arm(
        exposures=n, outcomes=n, errors=failed, units=sorted(rng.integers(2**52, size=failed).tolist()),
        timed=n, latency={key: keys.count(key) for key in keys},
        scores={RATING: {position(float(rng.integers(1, 6)), 1.0, 5.0): 1.0}},
    )  # fmt: skip
