"""One table of the topics: name, partitions, how long each is kept."""

from __future__ import annotations

from dataclasses import dataclass

DAY_MS = 86_400_000
STAMPS, BROKERS = "message.timestamp.type", "LogAppendTime"


@dataclass(frozen=True, slots=True)
class Topics:
    """Names of all topics; each is configurable, inputs may be several."""

    exposures: tuple[str, ...] = ("flag.exposures.v1",)
    outcomes: tuple[str, ...] = ("flag.outcomes.v1",)
    feedback: tuple[str, ...] = ("flag.feedback.v1",)
    journal: str = "guardian.journal.v1"
    rollouts: str = "guardian.rollouts.v1"
    decisions: str = "guardian.decisions.v1"
    receipts: str = "guardian.receipts.v1"
    flag_state: str = "guardian.flag-state.v1"
    incidents: str = "guardian.incidents.v1"
    dead_letters: str = "guardian.dead-letters.v1"

    @property
    def inputs(self) -> tuple[str, ...]:
        """The users' event topics, each once."""
        return tuple(dict.fromkeys((*self.exposures, *self.outcomes, *self.feedback)))

    @property
    def own(self) -> dict[str, dict[str, str]]:
        """The guardian's topics and how each is kept (Kafka topic settings)."""
        return {
            # Stamped by brokers, an entry cannot be dated later than it was kept (`guardian.dating`).
            self.journal: {"retention.ms": str(30 * DAY_MS), STAMPS: BROKERS},
            self.rollouts: {"cleanup.policy": "compact"},
            self.decisions: {"retention.ms": str(90 * DAY_MS)},
            self.receipts: {"retention.ms": str(90 * DAY_MS)},
            # Before it hides the one in force, a record that was written too late is seen (`flag_state.rewrite`).
            self.flag_state: {"cleanup.policy": "compact", "min.compaction.lag.ms": str(DAY_MS)},
            # Likewise: of two records of one incident the newer counts, wherever it stands.
            self.incidents: {"cleanup.policy": "compact", "min.compaction.lag.ms": str(DAY_MS)},
            self.dead_letters: {"retention.ms": str(30 * DAY_MS)},
        }
