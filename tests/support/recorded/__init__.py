"""
Recorded rollouts of a made-up service: event files of any size, made from a seed in a moment.

``record(World(...))`` makes the events of a healthy rollout; ``World(harm=Harm(...))`` those of a harmful one.
"""

from __future__ import annotations

from tests.support.recorded.lines import FLAG, Recording, record
from tests.support.recorded.world import T0_MS, Feedback, Harm, Incident, Outage, World

__all__ = ["FLAG", "T0_MS", "Feedback", "Harm", "Incident", "Outage", "Recording", "World", "record"]
