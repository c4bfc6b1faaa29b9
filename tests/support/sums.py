"""Made-up sums of one flag, tick by tick: what observe would send for each line, drawn from the laws of both arms."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from guardian.journal import Beat, Entry, Summary
from guardian.plan import position
from guardian.sequential import bucket_key
from guardian.summaries import TICK_MS, Arm, FlagSums, Tick
from tests.support.traffic import KEY, T0_MS

Law = Callable[[np.random.Generator, str, float, int], list[float]]
Rate = Callable[[str, float], float]
RATINGS = (0.05, 0.05, 0.10, 0.30, 0.50)


def ratings(worse: float = 0.0, since_s: float = 0.0) -> Law:
    """Ratings of 1 to 5; of treatment's a part ``worse`` is one point lower from ``since_s`` on."""

    def draw(rng: np.random.Generator, variation: str, at_s: float, n: int) -> list[float]:
        given = rng.choice(5, n, p=RATINGS) + 1
        if variation == "treatment" and at_s >= since_s:
            given -= (rng.uniform(size=n) < worse) & (given > 1)
        return [float(one) for one in given]

    return draw


@dataclass(slots=True)
class World:
    """
    Starts a second and the share of them under test, which the ``variations`` have in equal parts; what comes of each.

    ``scores`` holds by name a part of the starts that give one, its range and its law; ``reports`` and ``errors``
    are rates per start, ``latency_ms`` the median; ``lost`` is the part of an arm's exposures that never arrive;
    ``countries`` are the segments with their parts, ``ill`` the country in which treatment's errors are ``harm`` as
    many.
    """

    seconds: float = 60.0
    rps: float = 200.0
    share: Callable[[float], float] = field(default=lambda s: 0.5)
    errors: Rate = field(default=lambda variation, s: 0.01)
    latency_ms: Callable[[str, float], float] = field(default=lambda variation, s: 100.0)
    slow_part: Callable[[str, float], float] = field(default=lambda variation, s: 0.0)
    scores: dict[str, tuple[float, tuple[float, float], Law]] = field(default_factory=dict)
    reports: Rate | None = None
    lost: Rate = field(default=lambda variation, s: 0.0)
    mute: Rate = field(default=lambda variation, s: 0.0)
    countries: dict[str, float] = field(default_factory=dict)
    ill: str = ""
    harm: float = 1.0
    timed: bool = True
    variations: tuple[str, ...] = ("treatment",)
    seed: int = 1
    _units: int = 0

    def entries(self) -> Iterator[Entry]:
        """Yield a summary each tick, the outcomes with their exposures."""
        rng = np.random.default_rng(self.seed)
        for tick in range(round(self.seconds * 1_000 / TICK_MS)):
            at_s, start_ms = tick * TICK_MS / 1_000, T0_MS + tick * TICK_MS
            made = Tick(start_ms=start_ms, arms={}, segments={})
            parts = {name: self.share(at_s) / len(self.variations) for name in self.variations if self.share(at_s)}
            for variation, share in {"control": 1.0 - self.share(at_s), **parts}.items():
                n = int(rng.poisson(self.rps * TICK_MS / 1_000 * share * (1.0 - self.lost(variation, at_s))))
                if n:
                    self._arm(rng, made, variation, at_s, n)
            at_ms = start_ms + 2 * TICK_MS
            if made.arms:
                yield Summary(source="w/0", at_ms=at_ms, passed_ms=at_ms, flags=[FlagSums(key=KEY, ticks=[made])])
            else:
                yield Beat(source="w/0", at_ms=at_ms, passed_ms=at_ms)
        for later_ms in range(at_ms, at_ms + 5_000, TICK_MS):
            yield Beat(source="w/0", at_ms=later_ms, passed_ms=later_ms)

    def _arm(self, rng: np.random.Generator, tick: Tick, variation: str, at_s: float, n: int) -> None:
        met = range(self._units, self._units + n)
        self._units += n
        arm = Arm(exposures=n, outcomes=0 if rng.uniform() < self.mute(variation, at_s) else n, fresh=list(met))
        tick.arms[variation] = arm
        if not arm.outcomes:
            return
        self._fail(rng, tick, arm, variation, at_s, met)
        if self.timed:
            slow = rng.uniform(size=n) < self.slow_part(variation, at_s)
            taken = self.latency_ms(variation, at_s) * np.exp(0.8 * rng.standard_normal(n)) * np.where(slow, 5.0, 1.0)
            arm.timed, arm.over = n, {300_000: int((taken > 300.0).sum())}
            for key in (bucket_key(one) for one in taken.tolist()):
                arm.latency[key] = arm.latency.get(key, 0) + 1
        for name, (part, (low, high), law) in self.scores.items():
            given = [position(one, low, high) for one in law(rng, variation, at_s, int(rng.binomial(n, part)))]
            if given:
                arm.scores[name] = {at: float(given.count(at)) for at in sorted(set(given))}
        if self.reports is not None:
            many = int(rng.binomial(n, self.reports(variation, at_s)))
            arm.reporters = sorted(rng.choice(np.array(met), many, replace=False).tolist())

    def _fail(self, rng: np.random.Generator, tick: Tick, arm: Arm, variation: str, at_s: float, met: range) -> None:
        countries = list(self.countries) or [""]
        parts = list(self.countries.values()) or [1.0]
        where = rng.choice(len(countries), len(met), p=parts)
        rate = np.full(len(met), self.errors(variation, at_s))
        if self.ill and variation == "treatment":
            rate[where == countries.index(self.ill)] *= self.harm
        failed = rng.uniform(size=len(met)) < rate
        units = np.array(met)
        arm.errors, arm.units = int(failed.sum()), units[failed].tolist()
        for at, country in enumerate(countries if self.countries else []):
            mine = where == at
            if mine.any():
                here = Arm(outcomes=int(mine.sum()), errors=int((failed & mine).sum()), units=units[failed & mine].tolist())
                tick.segments.setdefault(f"country={country}", {})[variation] = here
