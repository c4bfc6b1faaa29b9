"""What is played, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass

from guardian.forecast.assumed import Assumed
from guardian.forecast.effects import Harm
from guardian.policy import Guardrail, Policy
from guardian.sequential.checks import Bools, Floats


@dataclass(frozen=True, slots=True)
class Phase:
    """One stage as it is played: the share of the variation under test, control's share, how long it lasts."""

    share: float
    control: float
    for_s: float


@dataclass(frozen=True, slots=True)
class Scene:
    """
    What is played: ``runs`` runs of each effect of ``harm``, which begins at ``onset_s`` (``inf``: never).

    ``guardrails`` act together; each has one part in ``split`` of the budget. Runs end with the strictest action that
    a guardrail here asks for.
    """

    policy: Policy
    assumed: Assumed
    phases: tuple[Phase, ...]
    guardrails: tuple[Guardrail, ...]
    split: int
    harm: Harm
    onset_s: float
    until_s: float
    runs: int
    most_s: float = 3_600.0


@dataclass(slots=True)
class Played:
    """
    What came of each run, all of the first effect first.

    ``found_s``: from the onset to the strictest action, ``inf`` if there was none. ``early``: it was taken before the
    onset. ``exposed`` and ``hurt``: units that saw the harm, and that failed under it, until then or the end.
    ``alarms``: actions of any guardrail while there was no harm. ``paid``: budget deposited. ``work``: streams stepped.
    """

    found_s: Floats
    early: Bools
    exposed: Floats
    hurt: Floats
    alarms: Floats
    paid: Floats
    work: int = 0
