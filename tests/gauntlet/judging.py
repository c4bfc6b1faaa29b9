"""One rollout through the gauntlet: the real fold and the real engine, as ``guardian replay`` runs them."""

from __future__ import annotations

from dataclasses import dataclass

from guardian.decisions import Decision
from guardian.events import parse_time
from streams.apps.replay import REPLAYED, Observer, Replay, Report, entries, patience_ms
from tests.gauntlet.offline import Known, found
from tests.gauntlet.rollouts import SILENT_S, Labelled, policy_of
from tests.support.recorded import T0_MS, record

NEW_UNITS = "sample_ratio off"
"""What reads new units, which it need not wait for outcomes for."""
GOES_ON = frozenset({"advance", "complete"})


@dataclass(frozen=True, slots=True)
class Verdict:
    """
    What was said of a rollout first: ``at_s`` is when, ``read_s`` up to which start the tests had read all outcomes.

    Nothing was said where ``action`` is empty. ``offline`` is when the same tests knew it offline, None where they
    never did (of a healthy rollout it is not asked).
    """

    rollout: Labelled
    action: str = ""
    guardrail: str = ""
    said: str = ""
    at_s: float = 0.0
    read_s: float = 0.0
    offline: Known | None = None

    @property
    def is_right(self) -> bool:
        """Whether an alarm is about harm that had begun."""
        return bool(self.action) and self.at_s > self.rollout.onset_s

    @property
    def delay_s(self) -> float:
        """From the onset of harm to the decision."""
        return self.at_s - self.rollout.onset_s


def judged(rollout: Labelled, *, offline: bool = True) -> Verdict:
    """Return the first verdict of the engine on a rollout, with what the tests say of it offline."""
    recording = record(rollout.world)
    policy = policy_of(rollout.world)
    report, config = Report(), REPLAYED
    replay = Replay([policy], report, config)
    given = entries(recording.recorded(), Observer(report, [policy]), patience_ms([policy], config))
    for made in replay.decisions(given):
        at_s = _second(made)
        # The end of a recording is a silence, too, and none of the service's.
        if made.action not in GOES_ON and at_s < rollout.world.seconds:
            state = replay._bank.rollouts[policy.key]
            closed_ms = (state.arrivals if made.guardrail == NEW_UNITS else state.population).closed_ms
            known = found(recording, policy, SILENT_S) if offline and rollout.harm else None
            read_s = (closed_ms - T0_MS) / 1_000
            return Verdict(rollout, made.action, made.guardrail, made.explanation, at_s, read_s, known)
    return Verdict(rollout)


def _second(made: Decision) -> float:
    return (parse_time(made.decided_at) - T0_MS) / 1_000
