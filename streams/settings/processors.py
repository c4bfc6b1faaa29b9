"""What the processors are told: how events are read, how the journal is judged, how decisions are carried out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field, ValidationInfo, field_validator

from guardian.errors import wrong
from streams.fields import Port, Seconds, Section, Text, TopicList

if TYPE_CHECKING:
    from guardian.config import JudgeConfig


class Observe(Section):
    """How events are read and summed."""

    flush_ms: int = Field(100, ge=20, le=5_000)
    max_flush_records: int = Field(50_000, ge=100, le=1_000_000)
    bare_topics: TopicList = ()
    duplicates_window: int = Field(130_000, ge=0, le=50_000_000)
    future_tolerance_ms: int = Field(5_000, ge=0, le=3_600_000)
    transaction_timeout_ms: int = Field(10_000, ge=3_000, le=900_000)
    stuck_after_s: Seconds = 3.0
    workers: int = Field(4, ge=1, le=64)


class Judge(Section):
    """How the journal is judged."""

    snapshot_s: Seconds = 2.0
    lag_min_ms: int = Field(100, ge=0, le=3_600_000)
    lag_max_ms: int = Field(15_000, ge=0, le=3_600_000)
    idle_source_s: Seconds = 5.0
    propagation_s: float = Field(0.0, ge=0, le=86_400)
    storm_kills: int = Field(3, ge=1, le=1_000_000)
    storm_s: Seconds = 10.0
    rebuild_entries: int = Field(1_000_000, ge=1_000, le=1_000_000_000)

    @field_validator("lag_max_ms")
    @classmethod
    def _above(cls, value: int, info: ValidationInfo) -> int:
        least = info.data.get("lag_min_ms", 0)
        if value < least:
            raise wrong(f"must be at least lag_min_ms, which is {least}")
        return value

    def config(self) -> JudgeConfig:
        """What the engine is told of it; a bound of propagation that somebody set stands, whatever is learned."""
        from guardian.config import JudgeConfig

        set_ms = round(self.propagation_s * 1000)
        bounds = {"propagation_ms": set_ms, "propagation_max_ms": set_ms} if set_ms else {}

        return JudgeConfig(
            lag_min_ms=self.lag_min_ms,
            lag_max_ms=self.lag_max_ms,
            idle_source_ms=round(self.idle_source_s * 1000),
            storm_kills=self.storm_kills,
            storm_ms=round(self.storm_s * 1000),
            **bounds,
        )


class Act(Section):
    """How decisions are carried out."""

    deadline_s: Seconds = 60.0
    drift_every_s: float = Field(30.0, ge=0, le=86_400)
    hook_host: Text = "127.0.0.1"
    hook_port: Port = 0
