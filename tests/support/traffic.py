"""
Made-up traffic of one flag, and the plainest possible fold of it: the oracle beside the fast one.

Events are plain tuples, so that a test can say in two lines what its users do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from guardian.bank import Bank, JudgeConfig
from guardian.decisions import Decision
from guardian.effects import Decide
from guardian.journal import Beat, Entry, PolicyEntry, Summary
from guardian.lag import delay_bucket
from guardian.policy import Policy, parse_policy, policy_hash
from guardian.summaries import TICK_MS, Arm, FlagSums, Tick

T0_MS = 1_790_000_000_000
KEY = "production|checkout-v2"


@dataclass(frozen=True, slots=True)
class Request:
    """One request: start, latency, who, under what, and how it ended."""

    start_ms: int
    latency_ms: float
    unit: int
    variation: str
    failed: bool

    @property
    def end_ms(self) -> int:
        """When its outcome is emitted."""
        return self.start_ms + math.ceil(self.latency_ms)


@dataclass(frozen=True, slots=True)
class Traffic:
    """How requests come: their rate, who makes them, the treatment's share and each arm's error rate by time."""

    rps: float = 200.0
    seconds: float = 60.0
    users: int = 3_000
    share: Callable[[float], float] = field(default=lambda s: 0.1)
    error: Callable[[str, float], float] = field(default=lambda variation, s: 0.01)
    latency_ms: Callable[[np.random.Generator, str, bool], float] = field(default=lambda rng, variation, failed: 80.0)
    seed: int = 1

    def requests(self) -> list[Request]:
        """Return the requests in the order of their starts; users keep their variation while the share stands."""
        rng = np.random.default_rng(self.seed)
        n = rng.poisson(self.rps * self.seconds)
        starts_s = np.sort(rng.uniform(0.0, self.seconds, n))
        weights = rng.lognormal(0.0, 1.0, self.users)
        units = rng.choice(self.users, n, p=weights / weights.sum())
        bucket = rng.uniform(0.0, 1.0, self.users)
        made = []
        for start_s, unit, dice in zip(starts_s, units, rng.uniform(0.0, 1.0, n), strict=True):
            variation = "treatment" if bucket[unit] < self.share(start_s) else "control"
            failed = bool(dice < self.error(variation, start_s))
            latency_ms = self.latency_ms(rng, variation, failed)
            made.append(Request(T0_MS + int(start_s * 1_000), latency_ms, int(unit) + 1, variation, failed))
        return made


def policy(**changes: object) -> Policy:
    """Return the plain policy of these tests: one tested guardrail that kills."""
    document: dict[str, object] = {
        "flag": "checkout-v2",
        "environment": "production",
        "control": "control",
        "owner": "team-checkout",
        "false_kills": {"per_rollout": 0.001, "per_day": 0.001},
        "guardrails": [{"when": "error_rate > 1x control", "then": "kill"}],
    }
    return parse_policy(document | changes)


def entries(
    requests: Iterable[Request], *, exposures: bool, flush_ms: int = 100, linger_ms: int = 3_000
) -> Iterator[Entry]:
    """Yield what observe would write, flush by flush; ``exposures`` as events of their own, or none."""
    arrivals: list[tuple[int, int, Request]] = []
    for request in requests:
        if exposures:
            arrivals.append((request.start_ms, 0, request))
        arrivals.append((request.end_ms, 1, request))
    arrivals.sort(key=lambda a: (a[0], a[1]))
    at_ms = T0_MS + flush_ms
    last_ms = max((a[0] for a in arrivals), default=T0_MS) + linger_ms
    i = 0
    while at_ms <= last_ms:
        ticks: dict[int, Tick] = {}
        delays: dict[str, dict[int, int]] = {}
        while i < len(arrivals) and arrivals[i][0] < at_ms:
            _, kind, request = arrivals[i]
            i += 1
            start_ms = request.start_ms // TICK_MS * TICK_MS
            tick = ticks.setdefault(start_ms, Tick(start_ms=start_ms, arms={}))
            arm = tick.arms.setdefault(request.variation, Arm(units=[], latency={}))
            if kind == 0:
                arm.exposures += 1
                continue
            arm.outcomes += 1
            if request.failed:
                arm.errors += 1
                if request.unit not in arm.units:
                    arm.units.append(request.unit)
            mine = delays.setdefault(request.variation, {})
            bucket = delay_bucket(request.latency_ms)
            mine[bucket] = mine.get(bucket, 0) + 1
        if ticks:
            sums = FlagSums(key=KEY, ticks=[ticks[s] for s in sorted(ticks)], delays=delays)
            yield Summary(source="file/0", at_ms=at_ms, passed_ms=at_ms, flags=[sums])
        else:
            yield Beat(source="file/0", at_ms=at_ms, passed_ms=at_ms)
        at_ms += flush_ms


def judged(
    given: Iterable[Entry], *, terms: Policy | None = None, config: JudgeConfig | None = None, stop: bool = False
) -> list[Decision]:
    """Return the decisions of a bank that reads the policy, then the entries; ``stop`` at the first."""
    terms = terms or policy()
    bank = Bank(config or JudgeConfig())
    found: dict[str, Decision] = {}
    first = PolicyEntry(at_ms=T0_MS, key=terms.key, hash=policy_hash(terms), document=terms.to_document())
    for offset, entry in enumerate([first, *given] if not stop else _chain(first, given)):
        for effect in bank.apply(offset, entry):
            if isinstance(effect, Decide):
                found.setdefault(effect.decision.decision_id, effect.decision)
        if stop and found:
            break
    return list(found.values())


def _chain(first: Entry, rest: Iterable[Entry]) -> Iterator[Entry]:
    yield first
    yield from rest
