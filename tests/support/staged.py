"""A rollout in two stages that nothing is wrong with, and the calendars that keep it waiting."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from guardian.policy import Policy
from tests.support.courses import Course, between, told
from tests.support.sums import World
from tests.support.traffic import T0_MS, policy

CALM = [{"when": "error_rate > 50%", "then": "kill"}]
STAGES = [{"share": "10%", "for": "10s"}, {"share": "50%", "for": "1h"}]


def utc(at_s: float) -> str:
    return datetime.fromtimestamp(T0_MS / 1_000 + at_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def terms(stages: Sequence[Any] | None = None, **more: Any) -> Policy:
    return policy(**{"guardrails": CALM, "stages": list(stages or STAGES)} | more)


def world(seconds: float = 30.0, rps: float = 100.0, **more: Any) -> World:
    return World(seconds=seconds, rps=rps, **more)


def course(asked: Policy, *wishes: Any, seconds: float = 30.0, answer: str = "applied", **more: Any) -> Course:
    return Course().play([told(asked), *between(world(seconds, **more).entries(), *wishes)], answer)


def waits(played: Course) -> tuple[str, ...]:
    return played.views[-1].waits


FREEZE = {"freeze": [{"from": utc(-100.0), "to": utc(20.0)}]}
OPEN = {"hours": {"days": "mon", "from": "16:14", "to": "17:00", "zone": "Europe/Berlin"}}
SHUT = {"hours": {"days": "tue-fri", "from": "09:00", "to": "17:00", "zone": "Europe/Berlin"}}
