"""What judging reads besides the journal: how it is configured, and what the moment is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from guardian.lag import Lags
from guardian.names import Millis
from guardian.state import RolloutState


@dataclass(frozen=True, slots=True)
class JudgeConfig:
    """
    What judging depends on besides the journal; the same for every worker.

    ``propagation_ms`` is how long clients have after a kill; what was learned of a store can make it longer, up to
    ``propagation_max_ms``, and so can what the store's settings say of its clients; nothing can where both are the same.
    After ``storm_kills`` kills within ``storm_ms`` in one journal partition a further one is held.
    """

    lag_min_ms: int = 100
    lag_max_ms: int = 15_000
    idle_source_ms: int = 5_000
    propagation_ms: int = 3_000
    propagation_max_ms: int = 30_000
    resend_ms: int = 5_000
    show_ms: int = 500
    storm_kills: int = 3
    storm_ms: int = 10_000

    def bounds_ms(self, told_ms: Millis) -> tuple[Millis, Millis]:
        """Return the least and the most that clients have after a kill, where their store is told to need *told_ms*."""
        if self.propagation_ms >= self.propagation_max_ms:
            return self.propagation_ms, self.propagation_max_ms
        return max(self.propagation_ms, told_ms), max(self.propagation_max_ms, told_ms)


@dataclass(frozen=True, slots=True)
class Now:
    """
    The journal's clock, and the event time that all live sources have passed.

    ``kills_before`` says of a rollout how many others guardrails killed in the moments before.
    """

    at_ms: Millis
    passed_ms: Millis
    kills_before: Callable[[str], int]


def lag_of(state: RolloutState, config: JudgeConfig) -> Millis:
    """Return the lag in force for the rollout."""
    return state.lag.value_ms(config.lag_min_ms, config.lag_max_ms)


def lags_of(state: RolloutState, config: JudgeConfig) -> Lags:
    """Return the lags in force: that of outcomes, and that of who is new, which exposures tell where there are any."""
    outcomes_ms = lag_of(state, config)
    if not state.population.by_exposures:
        return Lags(outcomes_ms, outcomes_ms)
    return Lags(outcomes_ms, state.arrivals.lag.value_ms(config.lag_min_ms, config.lag_max_ms))
