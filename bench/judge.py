"""How many rollouts one core can judge: journal summaries of many flags through the bank."""

from __future__ import annotations

import resource
import time
from typing import Any

import numpy as np

from guardian.bank import Bank, JudgeConfig
from guardian.journal import PolicyEntry, Summary, decode, encode
from guardian.policy import parse_policy, policy_hash
from guardian.sequential import Account, ControlRate, two_sample_block
from guardian.summaries import Arm, FlagSums, Tick

FLAGS = 1_000
FLUSHES = 100
FLUSH_MS = 100
T0_MS = 1_790_000_000_000


def run() -> dict[str, Any]:
    """
    Judge a thousand rollouts of two variations for ten seconds of journal time, a summary every 100 ms.

    ``ours``: rollout updates a second, decoding included. ``limit``: the same
    number of bare test evaluations (LB2 and account) without any of the rest.
    """
    raw = [encode(summary) for summary in summaries()]
    bank = Bank(JudgeConfig())
    for offset, entry in enumerate(policies()):
        bank.apply(offset, entry)
    took_s = []
    for offset, message in enumerate(raw, FLAGS):
        began_s = time.perf_counter()
        bank.apply(offset, decode(message))
        took_s.append(time.perf_counter() - began_s)
    began_s = time.perf_counter()
    size = sum(map(len, bank.dirty().values()))
    snapshot_ms = (time.perf_counter() - began_s) * 1_000
    ours, limit = FLAGS * FLUSHES / sum(took_s), bare()
    return {
        "ours": ours,
        "limit": limit,
        "peers": {},
        "ratio_to_limit": ours / limit,
        "unit": "rollout updates/s",
        "summary_p50_ms": float(np.percentile(took_s, 50)) * 1_000,
        "summary_p99_ms": float(np.percentile(took_s, 99)) * 1_000,
        "snapshot_ms": snapshot_ms,
        "snapshot_kb": size / 1_000,
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_000,
    }


def policies() -> list[PolicyEntry]:
    """Return a policy for each flag."""
    made = []
    for number in range(FLAGS):
        guardrails = [{"when": "error_rate > 1.2x control", "then": "kill"}]
        terms = parse_policy({"flag": f"flag-{number}", "environment": "production", "guardrails": guardrails})
        document = terms.to_document()
        made.append(PolicyEntry(at_ms=T0_MS, key=terms.key, hash=policy_hash(terms), document=document))
    return made


def summaries() -> list[Summary]:
    """Return what one source would say of all flags: ten requests each a flush, one in a hundred fails."""
    rng = np.random.default_rng(1)
    made = []
    for number in range(1, FLUSHES + 1):
        at_ms = T0_MS + number * FLUSH_MS
        start_ms = (at_ms - FLUSH_MS) // 200 * 200
        flags = []
        failed = zip(rng.binomial(9, 0.01, FLAGS), rng.binomial(1, 0.01, FLAGS), strict=True)
        for flag, (control, treatment) in enumerate(failed):
            arms = {
                "control": arm(9, int(control), rng),
                "treatment": arm(1, int(treatment), rng),
            }
            tick = Tick(start_ms=start_ms, arms=arms)
            delays = {"control": {25: 9}, "treatment": {25: 1}}
            flags.append(FlagSums(key=f"production|flag-{flag}", ticks=[tick], delays=delays))
        made.append(Summary(source="flag.outcomes.v1/0", at_ms=at_ms, passed_ms=at_ms, flags=flags))
    return made


def arm(n: int, failed: int, rng: np.random.Generator) -> Arm:
    """Return the sums of ``n`` requests of which ``failed`` failed, each of another unit."""
    units = sorted(int(u) for u in rng.integers(2**52, size=failed))
    return Arm(exposures=n, outcomes=n, errors=failed, units=units)


def bare(evaluations: int = 20_000) -> float:
    """Return how many bare block tests a second this core makes."""
    account, rate = Account(), ControlRate(half_life_s=60.0)
    account.deposit(0.001)
    began_s = time.perf_counter()
    for _ in range(evaluations):
        account.update(two_sample_block(1, 0, 9, 0, p_hat=rate.p_hat or 0.01))
        account.log_s()
        rate.remember(9, 0, 0.1)
    return evaluations / (time.perf_counter() - began_s)
