"""
What a policy would do: its own rules and tests, run over made-up traffic, many runs at once.

The chance comes in as a numpy Generator; what is returned depends on it and on the arguments alone.
"""

from __future__ import annotations

from guardian.forecast.assumed import Assumed
from guardian.forecast.figures import (
    ControlFigures,
    Finding,
    Forecast,
    GuardrailForecast,
    Healthy,
    PolicyForecast,
    StageForecast,
)
from guardian.forecast.forecast import allowed_a_year, forecast, forecast_policy

__all__ = [
    "Assumed",
    "ControlFigures",
    "Finding",
    "Forecast",
    "GuardrailForecast",
    "Healthy",
    "PolicyForecast",
    "StageForecast",
    "allowed_a_year",
    "forecast",
    "forecast_policy",
]
