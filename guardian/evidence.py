"""What the tests say of one guardrail and one variation: four answers, each with its numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Breach:
    """The account reached one: the guardrail is broken, within its budget of false alarms."""

    log_e: float
    log_threshold: float
    lane: str


@dataclass(frozen=True, slots=True)
class Clear:
    """Evidence was read and speaks for no harm so far."""

    log_e: float
    log_threshold: float


@dataclass(frozen=True, slots=True)
class Inconclusive:
    """Evidence was read and points at harm, not yet enough of it; or too few units failed to act."""

    log_e: float
    log_threshold: float
    why: str = ""


@dataclass(frozen=True, slots=True)
class NoData:
    """Nothing could be compared: an arm is missing, or telemetry stands still. Never good news."""

    why: str


Verdict = Breach | Clear | Inconclusive | NoData
