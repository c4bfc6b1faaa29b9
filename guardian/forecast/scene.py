"""What is played, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass

from guardian.forecast.assumed import Assumed
from guardian.forecast.harm import Harm
from guardian.lines import Kind, Line, has_account, is_of_requests, lines_of, part_of_all
from guardian.policy import Guardrail, Policy
from guardian.sequential.checks import Bools, Floats
from guardian.support import is_run


@dataclass(frozen=True, slots=True)
class Watched:
    """A guardrail, the line that it reads for all traffic, and the part of a variation's budget that it has for that."""

    guardrail: Guardrail
    line: Line | None
    part: float

    @property
    def kind(self) -> Kind | None:
        """What its line sums; None where it reads the failures among all requests."""
        return None if self.line is None else self.line.kind

    @property
    def is_narrow(self) -> bool:
        """Whether its signal is narrowed to a part of the outcomes."""
        return self.line is not None and self.line.cut != ""


def watched_of(policy: Policy) -> list[Watched | None]:
    """Return, for each guardrail of the policy, what a forecast plays; None for what is no test, or not run live."""
    lines = lines_of(policy)
    found: list[Watched | None] = []
    for at, guardrail in enumerate(policy.guardrails):
        if not has_account(guardrail) or not is_run(guardrail, policy):
            found.append(None)
            continue
        line = None if is_of_requests(guardrail, policy) else next(one for one in lines.lines if at in one.guardrails)
        found.append(Watched(guardrail, line, part_of_all(guardrail, policy)))
    return found


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

    ``guardrails`` read the same line and act together. Runs end with the strictest action that a guardrail here asks
    for.
    """

    policy: Policy
    assumed: Assumed
    phases: tuple[Phase, ...]
    guardrails: tuple[Watched, ...]
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
