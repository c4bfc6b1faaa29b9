"""What the topics are called."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from guardian.errors import wrong
from streams.fields import Section, TopicList, TopicName
from streams.topics import Topics

_DEFAULT = Topics()


class TopicNames(Section):
    """The fields of ``streams.topics.Topics``."""

    exposures: TopicList = _DEFAULT.exposures
    outcomes: TopicList = _DEFAULT.outcomes
    feedback: TopicList = _DEFAULT.feedback
    journal: TopicName = _DEFAULT.journal
    rollouts: TopicName = _DEFAULT.rollouts
    decisions: TopicName = _DEFAULT.decisions
    receipts: TopicName = _DEFAULT.receipts
    flag_state: TopicName = _DEFAULT.flag_state
    incidents: TopicName = _DEFAULT.incidents
    dead_letters: TopicName = _DEFAULT.dead_letters

    @model_validator(mode="after")
    def _apart(self) -> Self:
        topics = Topics(**self.model_dump())
        if len(topics.own) < len(_DEFAULT.own):
            raise wrong("two of the guardian's own topics have the same name; give each its own")
        if both := sorted(set(topics.own) & set(topics.inputs)):
            raise wrong(f"{both[0]} is an input and one of the guardian's own topics; give each its own")
        if not topics.exposures and not topics.outcomes:
            raise wrong("there is nothing to read; name a topic under exposures or outcomes")
        return self
