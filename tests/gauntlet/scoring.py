"""What the gauntlet says of the guardian: how often it is right, and how much later than it could have been."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from tests.gauntlet.judging import Verdict


@dataclass(slots=True)
class Scored:
    """
    Verdicts, counted.

    ``right`` are alarms about harm that had begun, ``false`` all others; ``missed`` are harmful rollouts without any
    alarm. The delays of those that were found both live and offline are in ``live_s`` (until the decision), ``read_s``
    (until the newest start that its tests had read), ``offline_s`` and ``came_s`` (until what that took had arrived).
    """

    harmful: int = 0
    healthy: int = 0
    right: int = 0
    false: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    live_s: float = 0.0
    read_s: float = 0.0
    offline_s: float = 0.0
    came_s: float = 0.0

    def take(self, verdict: Verdict) -> None:
        """Count a verdict."""
        rollout = verdict.rollout
        self.harmful, self.healthy = self.harmful + bool(rollout.harm), self.healthy + (not rollout.harm)
        if verdict.is_right:
            self.right += 1
            known = verdict.offline
            if known is not None and known.at_s > rollout.onset_s:
                self.live_s += verdict.delay_s
                self.read_s += max(verdict.read_s - rollout.onset_s, 0.0)
                self.offline_s += known.at_s - rollout.onset_s
                self.came_s += known.came_s - rollout.onset_s
        elif verdict.action:
            self.false.append(f"{rollout.name}: {verdict.said}")
        elif rollout.harm:
            self.missed.append(rollout.name)

    @property
    def precision(self) -> float:
        """Part of the alarms that were right; 1 where there were none."""
        alarms = self.right + len(self.false)
        return self.right / alarms if alarms else 1.0

    @property
    def recall(self) -> float:
        """Part of the harmful rollouts that were found after their harm began; 1 where there were none."""
        return self.right / self.harmful if self.harmful else 1.0

    @property
    def in_events(self) -> float:
        """Starts that the tests had read at the decision, over those that they need offline (of the mean delays)."""
        return self.read_s / self.offline_s if self.offline_s else 1.0

    @property
    def in_time(self) -> float:
        """Time from the onset to the decision, over that until it is known offline (of the mean delays)."""
        return self.live_s / self.offline_s if self.offline_s else 1.0

    @property
    def in_arrivals(self) -> float:
        """The same, over the time until all had arrived that is needed to know it offline."""
        return self.live_s / self.came_s if self.came_s else 1.0


def scored(verdicts: Iterable[Verdict]) -> Scored:
    """Return what all verdicts come to."""
    found = Scored()
    for verdict in verdicts:
        found.take(verdict)
    return found


def by(verdicts: Iterable[Verdict], name: Callable[[Verdict], str]) -> dict[str, Scored]:
    """Return the same for each group of verdicts of the same name."""
    found: defaultdict[str, Scored] = defaultdict(Scored)
    for verdict in verdicts:
        found[name(verdict)].take(verdict)
    return dict(found)
