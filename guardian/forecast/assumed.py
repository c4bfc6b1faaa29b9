"""What a forecast takes for granted about the traffic, and what follows for the guardian's clocks."""

from __future__ import annotations

import math
from dataclasses import dataclass

from guardian.config import JudgeConfig
from guardian.intake import DRIP_GAP_MS
from guardian.lag import DELAY_GAMMA, LEARNED_AT, UNKNOWN_MS, delay_bucket

FLUSH_S = 0.1
"""How often observe hands on what it has seen: what came within it is judged at its end."""
DAY_S = 86_400.0
HORIZON_S = DAY_S
"""How long harm is looked for."""
GOOD_S = DAY_S
"""How long all is well before harm that begins late."""

RUNS_IN_ALL, FEWEST_RUNS, MOST_RUNS = 600, 40, 300
"""Runs of each effect, where nobody says how many: over all guardrails of a policy, and of one."""


@dataclass(frozen=True, slots=True)
class Assumed:
    """
    Traffic of one flag: requests, each of a unit of its own, that arrive at random at a steady rate; and what comes of them.

    ``rate`` is control's error rate, ``share`` one share for good instead of the policy's stages. Every outcome comes
    ``latency_ms`` after its start; ``by_exposures`` says whether starts are told by exposure events. ``runs`` is how
    often each effect is tried, see ``runs_of``.

    The rest is about control, too. A part ``rated`` of the requests brings a rating, an answer on NPS, a thumb; ratings
    are ``csat`` on average, answers from detractors, passives and promoters in the parts ``nps``, thumbs down in the
    part ``thumbs_down``. ``reports`` come per start. A measure is ``measure`` on average and has the standard deviation
    ``spread``, both as parts of its range; one that is all or nothing has the largest spread there can be, or more. A
    part ``narrowed`` of the outcomes belongs to a narrowed signal. Raises ValueError for numbers out of range.
    """

    requests_per_s: float = 200.0
    rate: float = 0.01
    share: float | None = None
    latency_ms: float = 100.0
    by_exposures: bool = True
    runs: int | None = None
    rated: float = 0.05
    csat: float = 4.15
    nps: tuple[float, float, float] = (0.2, 0.3, 0.5)
    thumbs_down: float = 0.1
    reports: float = 0.0005
    measure: float = 0.8
    spread: float = 0.2
    narrowed: float = 0.2

    def __post_init__(self) -> None:
        per_s, share, runs = self.requests_per_s, self.share, self.runs
        _check("requests_per_s", per_s, 0.001 <= per_s <= 1e6, "a number from 0.001 to 1e6")
        for name in ("rate", "thumbs_down", "reports"):
            _check(name, getattr(self, name), 0.0 < getattr(self, name) < 1.0, "a number above 0 and below 1")
        for name in ("rated", "narrowed"):
            _check(name, getattr(self, name), 0.0 < getattr(self, name) <= 1.0, "a number above 0 and up to 1")
        _check("share", share, share is None or 0.0 < share < 1.0, "a number above 0 and below 1, or None")
        _check("latency_ms", self.latency_ms, 0.0 < self.latency_ms <= 15_000.0, "a number above 0 and up to 15000")
        right = runs is None or (runs == int(runs) and 1 <= runs <= 100_000)
        _check("runs", runs, right, "a whole number from 1 to 100000, or None")
        _check("csat", self.csat, 1.0 < self.csat < 5.0, "a number above 1 and below 5")
        right = all(0.0 < part < 1.0 for part in self.nps) and abs(math.fsum(self.nps) - 1.0) < 1e-9
        _check("nps", self.nps, right, "three numbers above 0 of sum 1")
        _check("measure", self.measure, 0.05 <= self.measure <= 0.95, "a number from 0.05 to 0.95")
        _check("spread", self.spread, 0.05 <= self.spread <= 0.5, "a number from 0.05 to 0.5")

    def runs_of(self, guardrails: int) -> int:
        """Return how often each effect is tried where so many guardrails are played: fewer of more, in the same time."""
        return self.runs or min(MOST_RUNS, max(FEWEST_RUNS, RUNS_IN_ALL // max(guardrails, 1)))

    @property
    def lag_s(self) -> float:
        """How long the full lane waits for outcomes, once it has learned how long they take."""
        return _lag_s(self.latency_ms)

    @property
    def learned_s(self) -> float:
        """When the lag is learned: after enough outcomes, and not in the first second."""
        return max(UNKNOWN_MS / 1_000.0, LEARNED_AT / self.requests_per_s)

    def mature_s(self, end_s: float) -> float:
        """When starts up to ``end_s`` are read by the full lane, in seconds from the start of the rollout."""
        return self._ready_s(end_s, self.lag_s)

    def arrived_s(self, end_s: float) -> float:
        """When it is read who was new up to ``end_s``: exposures tell that by the next flush, outcomes when they come."""
        return self._ready_s(end_s, _lag_s(FLUSH_S * 1_000.0) if self.by_exposures else self.lag_s)

    def _ready_s(self, end_s: float, lag_s: float) -> float:
        unlearned = end_s + UNKNOWN_MS / 1_000.0
        ready = min(unlearned, max(self.learned_s + FLUSH_S, end_s + lag_s))
        # A part of 1e-9 forgives that decimal fractions of a second are not exact.
        return math.ceil(ready / FLUSH_S - 1e-9 * max(ready, 1.0)) * FLUSH_S

    def steady_s(self, epoch_s: float) -> float:
        """From when on failures are read as they come, for an epoch that began at ``epoch_s``."""
        if epoch_s > 0.0:
            return epoch_s + self.lag_s
        return min(UNKNOWN_MS / 1_000.0, max(self.learned_s, self.lag_s))

    @property
    def heard(self) -> float:
        """The part of the time in which telemetry comes often enough for the budget to drip."""
        expected = self.requests_per_s * DRIP_GAP_MS / 1_000.0
        return -math.expm1(-expected) - expected * math.exp(-expected)


def _lag_s(delay_ms: float) -> float:
    """The lag that is learned where everything comes so long after it began."""
    config = JudgeConfig()
    learned_ms = math.ceil(DELAY_GAMMA ** delay_bucket(delay_ms))
    return min(max(learned_ms, config.lag_min_ms), config.lag_max_ms) / 1_000.0


def _check(name: str, value: object, is_right: bool, right: str) -> None:
    if not is_right:
        raise ValueError(f"{name} is {value!r}: it must be {right}")
