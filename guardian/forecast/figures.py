"""A forecast in numbers: the models behind ``guardian simulate --json``."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Onset = Literal["start", "late"]


class Figures(BaseModel):
    """Nothing unknown, nothing changes afterwards."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Finding(Figures):
    """What became of the runs with one size of harm."""

    effect: str = Field(description="The size of the harm, as 3x of control, or a rate, or a latency")
    factor: float = Field(
        description="It as a factor of control, of the bound or of the margin; a part of the range for scores, of the starts"
    )
    value: float = Field(
        description="The variation's rate (0 to 1), mean score, latency in ms, factor of slowness, or part of starts lost"
    )
    said: str = Field(description="The harm in words")
    onset: Onset = Field(description="start: harmful from the first second; late: after good_s of good traffic")
    runs: int = Field(description="Runs in which harm began: those with an action before it are left out")
    false_alarms_before: int = Field(description="Runs that were acted on before harm began")
    missed: float = Field(description="The part of the runs in which nothing was found within horizon_s")
    median_s: float | None = Field(description="Seconds from the onset to the action, in half of the runs; null: more")
    p95_s: float | None = Field(description="Likewise in 95 % of the runs")
    exposed: float = Field(description="Units exposed to the harm until the action, or until horizon_s: median")
    hurt: float = Field(description="Of these, units that failed, were slowed down, lost, or less content: median")


class GuardrailForecast(Figures):
    """One guardrail alone, with its part of the budget; or the policy as a whole, where ``when`` is empty."""

    when: str
    then: str
    is_tested_live: bool = Field(description="Whether this version evaluates the guardrail")
    assumed: str = Field("", description="What was assumed for its signal beside the traffic")
    notes: list[str] = Field(description="What to know before believing the numbers")
    findings: list[Finding] = Field(description="By onset and size; empty where nothing could be forecast")


class Healthy(Figures):
    """Runs without any harm, over the policy's stages."""

    runs: int
    horizon_s: float
    alarmed: int = Field(description="Runs with a false alarm of any guardrail")
    part: float
    low: float = Field(description="Lower end of the exact 95 % interval of part (Clopper and Pearson)")
    high: float
    allowed: float = Field(description="What was paid into the accounts of a run on average: part stays below it")


class StageForecast(Figures):
    """One stage as it was played: the variation's part of the traffic, and for how long."""

    share: float
    for_s: float | None


class ControlFigures(Figures):
    """What was assumed of control's other signals, as ``guardian.forecast.Assumed`` has it."""

    rated: float
    csat: float
    nps: tuple[float, float, float]
    thumbs_down: float
    reports: float
    measure: float
    spread: float
    narrowed: float


class PolicyForecast(Figures):
    """One policy."""

    flag: str
    environment: str
    runs: int = Field(description="Of each effect")
    stages: list[StageForecast]
    notes: list[str]
    false_kills_a_year: float = Field(description="Allowed by the budget for one rollout that lasts a year")
    guardrails: list[GuardrailForecast]
    whole: GuardrailForecast | None = Field(description="All error rate guardrails together, until the strictest action")
    healthy: Healthy | None


class Forecast(Figures):
    """What ``guardian simulate --json`` prints. Times in seconds, rates and parts from 0 to 1."""

    requests_per_s: float
    error_rate: float = Field(description="Control's")
    latency_ms: float
    control: ControlFigures
    runs: int = Field(description="Of each effect, the most that a policy has")
    seed: int
    good_s: float
    horizon_s: float
    false_kills_a_year: float = Field(description="Over all policies: the sum of what their budgets allow")
    policies: list[PolicyForecast]
    work: int = Field(description="Accounts stepped, a measure of the work that does not depend on the machine")
