"""Made-up sums of two flags that the same requests run under: what observe would send of both, tick by tick."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from guardian.bank import Bank, JudgeConfig
from guardian.decisions import Decision
from guardian.effects import Decide
from guardian.journal import Beat, Entry, PolicyEntry, Summary
from guardian.policy import Policy, policy_hash
from guardian.summaries import TICK_MS, Arm, Company, FlagSums, Tick
from tests.support.traffic import T0_MS, policy

OURS, THEIRS = "new-cart", "fast-search"
C, T = "control", "treatment"
ARMS = (C, T)
Rate = Callable[[str, str, float], float]
"""The error rate under a variation of `OURS` and one of `THEIRS`, so many seconds after the beginning."""


def by(ours: float = 0.0, theirs: float = 0.0, both: float = 0.0, *, base: float = 0.01, since_s: float = 8.0) -> Rate:
    """Errors that treatment of either flag, or of both together, adds from ``since_s`` on."""

    def rate(mine: str, other: str, at_s: float) -> float:
        if at_s < since_s:
            return base
        is_mine, is_other = mine == T, other == T
        return base + ours * is_mine + theirs * is_other + both * (is_mine and is_other)

    return rate


@dataclass(frozen=True, slots=True)
class TwoFlags:
    """
    ``share`` of the requests run under treatment of `OURS`; of these ``with_it`` run under treatment of `THEIRS`, and
    ``without_it`` of the others. Every request is another unit's.
    """

    rate: Rate
    share: float = 0.5
    with_it: float = 0.5
    without_it: float = 0.5
    rps: float = 200.0
    seconds: float = 30.0
    seed: int = 1
    told: bool = field(default=True)

    def entries(self) -> Iterator[Entry]:
        """Yield a summary each tick, outcomes with their exposures, 200 ms after it; then beats."""
        rng, unit, at_ms = np.random.default_rng(self.seed), 1, T0_MS
        parts = [
            (a, b, (self.share if a == T else 1 - self.share) * (p if b == T else 1 - p))
            for a, p in ((C, self.without_it), (T, self.with_it))
            for b in ARMS
        ]
        for number in range(round(self.seconds * 1_000 / TICK_MS)):
            at_s, at_ms = number * TICK_MS / 1_000, T0_MS + number * TICK_MS
            cells: dict[tuple[str, str], tuple[int, list[int]]] = {}
            sizes = rng.multinomial(rng.poisson(self.rps * TICK_MS / 1_000), [part for _, _, part in parts])
            for (a, b, _), n in zip(parts, sizes.tolist(), strict=True):
                failed = int(rng.binomial(n, self.rate(a, b, at_s)))
                cells[a, b] = n, list(range(unit, unit + failed))
                unit += n
            yield Summary(
                source="w/0", at_ms=at_ms + 2 * TICK_MS, passed_ms=at_ms + 2 * TICK_MS,
                flags=[self._flag(at_ms, THEIRS, OURS, {(b, a): cell for (a, b), cell in cells.items()}),
                       self._flag(at_ms, OURS, THEIRS, cells)],
            )  # fmt: skip
        for later_ms in range(at_ms + 3 * TICK_MS, at_ms + 5_000, TICK_MS):
            yield Beat(source="w/0", at_ms=later_ms, passed_ms=later_ms)

    def _flag(self, start_ms: int, flag: str, other: str, cells: dict[tuple[str, str], tuple[int, list[int]]]) -> FlagSums:
        arms: dict[str, Arm] = {}
        rows: dict[str, dict[str, tuple[int, int]]] = {}
        for (mine, theirs), (n, failed) in cells.items():
            arm = arms.setdefault(mine, Arm(units=[]))
            arm.exposures, arm.outcomes, arm.errors = arm.exposures + n, arm.outcomes + n, arm.errors + len(failed)
            arm.units += failed
            if n:
                rows.setdefault(mine, {})[theirs] = n, len(failed)
        company: Company = {other: rows} if self.told else {}
        return FlagSums(key=f"production|{flag}", ticks=[Tick(start_ms=start_ms, arms=arms, company=company)])


def terms(flag: str, **changes: object) -> Policy:
    return policy(flag=flag, **{"guardrails": [{"when": "error_rate > 1.2x control", "then": "kill"}], **changes})


def judged(world: TwoFlags, *, flags: tuple[str, ...] = (OURS, THEIRS), **changes: object) -> list[Decision]:
    """
    Return the decisions on both flags (those that have a policy), in their order; nothing that is decided is carried out.
    """
    bank, found = Bank(JudgeConfig()), dict[str, Decision]()
    policies = [terms(flag, **changes) for flag in flags]
    given = [PolicyEntry(at_ms=T0_MS, key=p.key, hash=policy_hash(p), document=p.to_document()) for p in policies]
    for offset, entry in enumerate([*given, *world.entries()]):
        for effect in bank.apply(offset, entry):
            if isinstance(effect, Decide):
                found.setdefault(effect.decision.decision_id, effect.decision)
    return list(found.values())
