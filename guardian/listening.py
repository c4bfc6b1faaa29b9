"""
Whose events count: Kafka vouches for the topic that an event stands in, and for nothing else of who wrote it.

A policy may name the topics whose events count for its rollout. What stands in others is as if it had not been sent.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from guardian.policy import Policy
from guardian.state import RolloutState

NAMED_MAX = 5
"""Of the topics whose events do not count, so many are told of by their names."""


def topic_of(source: str) -> str:
    """Return the topic of a source, ``topic/partition``."""
    return source.rpartition("/")[0]


def is_heard(policy: Policy, source: str) -> bool:
    """Say whether what comes of the source counts."""
    return not policy.topics or topic_of(source) in policy.topics


def note_unheard(state: RolloutState, source: str) -> bool:
    """Remember the topic of a source that is not heard, for people; say whether that is news."""
    topic = topic_of(source)
    if topic in state.unheard or len(state.unheard) >= NAMED_MAX:
        return False
    state.unheard = [*state.unheard, topic]
    state.to_show = True
    return True


def unheard(state: RolloutState, policy: Policy) -> list[str]:
    """Return some of the topics that hold events of the rollout which do not count under this policy."""
    return [topic for topic in state.unheard if topic not in policy.topics] if policy.topics else []


def topic_notes(policy: Policy, exposures: Collection[str]) -> Iterator[str]:
    """Yield what is worth knowing of the topics that a policy names, where *exposures* are those meant for exposures."""
    if policy.topics and exposures and not set(policy.topics) & set(exposures):
        yield (
            f"topics names none of those for exposures ({', '.join(exposures)}): who was exposed counts only as far as "
            f"{', '.join(policy.topics)} {'tells' if len(policy.topics) == 1 else 'tell'} it"
        )
