"""What a step of the engine costs, with ten rollouts and with ten thousand; and what a rollout weighs."""

from __future__ import annotations

import gc
import time
import tracemalloc
from typing import Any

import numpy as np

from guardian.bank import Bank, JudgeConfig
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
So many flushes one rollout has behind it that all others are copies of, in so many each finds its own turn, and so many,
a second of them, are measured: some things are done once a second.
"""
BANKS = {FEW: 160, MANY: 1}
"""How many banks of each size are measured: some ten thousand steps and more."""
COPIES, VIEWS = 300, 2_000

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

    To show a rollout is no part of a step: a worker does it in a sixth of its time at most (``streams.judge``). What one
    view takes is told beside it. ``weight`` is that of one rollout with four guardrails after ten minutes at ten requests
    a second: its snapshot, and its memory for each (variation, signal), of all and of those that are tested.
    """
    few, many = steps_per_s(FEW, ONE), steps_per_s(MANY, ONE)
    return {
        "unit": f"steps/s of processor time; few is {FEW}, many {MANY:,}",
        "one guardrail": {"few rollouts": few, "many rollouts": many, "cost of many": few / many},
        "four guardrails": {"few rollouts": steps_per_s(FEW, FOUR), "view us": view_us(FOUR)},
        "weight": weight(),
    }


def view_us(guardrails: list[dict[str, str]]) -> float:
    """Return the microseconds that a view of a rollout takes, after six seconds of traffic."""
    rng, policy, bank = np.random.default_rng(1), _policy("flag", guardrails), Bank(JudgeConfig())
    bank.apply(0, _entry(policy))
    for number in range(1, WARM_FLUSHES + 1):
        bank.apply(number, _flush([policy.key], number, rng))
    began_s = time.process_time()
    for _ in range(VIEWS):
        bank.view(policy.key)
    return 1e6 * (time.process_time() - began_s) / VIEWS


def steps_per_s(rollouts: int, guardrails: list[dict[str, str]]) -> float:
    """Return how many steps a second of processor time banks of so many rollouts make, each as old as the others."""
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
        bank = Bank(JudgeConfig())
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
    return {
        "snapshot bytes": len(raw),
        "memory bytes": each,
        "bytes a variation and signal": each / (2 * len(FOUR)),
        "bytes a variation and signal tested": each / len(FOUR),
    }


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
