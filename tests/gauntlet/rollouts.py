"""
Labelled rollouts: a nasty world, and what the treatment does in it, or nothing.

Every rollout has the same policy, an ordinary one: it watches errors, the slow end of latency, ratings, shares and
silence, with a budget of one false alarm in a thousand.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

from guardian.policy import Policy, parse_policy
from tests.support.recorded import FLAG, Feedback, Harm, Incident, Outage, World

ONSET_S, LATE_ONSET_S = 20.0, 90.0
SILENT_S = 10.0
GUARDRAILS = [
    {"when": "error_rate > 1.2x control", "then": "kill"},
    {"when": "latency_p95 > 1.2x control", "then": "pause"},
    {"when": "csat < control - 0.3", "then": "pause"},
    {"when": "sample_ratio off", "then": "hold"},
    {"when": f"no_data for {SILENT_S:g}s", "then": "kill"},
]

PLAIN = World(error=0.02, users=200_000, feedback=Feedback(ratings=0.3))


def split(part: float, rps: float) -> World:
    return replace(PLAIN, rps=rps, share=((0.0, part),))


HALF = split(0.5, 60.0)
RAMP = replace(PLAIN, rps=100.0, share=((0.0, 0.1), (15.0, 0.25), (30.0, 0.5)))
WORLDS: dict[str, World] = {
    "1 %": split(0.01, 600.0),
    "5 %": split(0.05, 200.0),
    "10 %": split(0.1, 150.0),
    "50 %": HALF,
    "ramp": RAMP,
    "ramp, drift and incident": replace(
        RAMP, drift=0.4, drift_s=40.0, incidents=(Incident(from_s=22.0, to_s=27.0, times=10.0),)
    ),
    "incidents": replace(HALF, incidents=(Incident(5.0, 12.0, 20.0), Incident(32.0, 36.0, 50.0))),
    "heavy and broken users": replace(HALF, users=10_000, activity_sigma=2.0, broken=0.01),
    "slow successes": replace(HALF, latency_ms=2_000.0, failed_latency_ms=30.0),
    "slow failures": replace(HALF, latency_ms=80.0, failed_latency_ms=4_000.0),
    "duplicates": replace(HALF, duplicates=0.3),
    "late outcomes": replace(HALF, late=0.05, late_s=20.0),
    "an outage": replace(HALF, outages=(Outage(8.0, 13.0), Outage(26.0, 30.0, of_outcomes_alone=True))),
}
"""By what is nasty about them."""

HARMS: dict[str, Harm] = {
    "small": Harm(errors=3.0),
    "large": Harm(errors=15.0),
    "late": Harm(errors=6.0),
    "tail": Harm(slower=8.0, slower_part=0.15),
    "rating": Harm(csat_drop=0.95),
    "silent": Harm(silent=True),
    "mute": Harm(mute=True),
}
"""By what they are; each begins at ``ONSET_S``, the late one at ``LATE_ONSET_S``."""

HEALTHY_S = 45.0
"""How long a rollout without harm is watched."""
FOUND_WITHIN_S = {
    "small": 300.0, "large": 60.0, "late": 150.0, "tail": 120.0, "rating": 200.0, "silent": 40.0, "mute": 40.0,
}  # fmt: skip
"""How long after its onset harm is to be found in; later is missed."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """A rollout of which is known whether it is harmful (``harm`` names what it suffers; empty: nothing)."""

    nasty: str
    harm: str
    world: World

    @property
    def onset_s(self) -> float:
        """When its harm begins."""
        return self.world.harm.from_s if self.world.harm is not None else self.world.seconds

    @property
    def name(self) -> str:
        """What a failing test says of it."""
        return f"{self.harm or 'healthy'} in {self.nasty}, seed {self.world.seed}"


def policy_of(world: World) -> Policy:
    """
    Return the policy, with a stage for each share of the world.

    A recorded ramp goes on whatever the engine thinks of it, so that shares are no sign of harm there.
    """
    begins = [begin_s for begin_s, _ in world.share]
    stages: list[dict[str, object]] = [{"share": f"{100.0 * share:g}%"} for _, share in world.share]
    for at, (from_s, to_s) in enumerate(pairwise(begins)):
        stages[at]["for"] = f"{to_s - from_s:g}s"
    guardrails = [one for one in GUARDRAILS if len(stages) == 1 or one["when"] != "sample_ratio off"]
    budget = {"per_rollout": 0.001, "per_day": 0.001}
    return parse_policy(
        {"flag": FLAG, "environment": "production", "false_kills": budget, "guardrails": guardrails, "stages": stages}
    )


def healthy(seeds: range) -> Iterator[Labelled]:
    """Yield a rollout without harm for each world and seed."""
    for seed in seeds:
        for nasty, world in WORLDS.items():
            yield Labelled(nasty, "", replace(world, seed=seed, seconds=HEALTHY_S))


def harmful(seeds: range) -> Iterator[Labelled]:
    """Yield a rollout with each harm, for each world and seed."""
    for seed in seeds:
        for nasty, world in WORLDS.items():
            for name, harm in HARMS.items():
                from_s = LATE_ONSET_S if name == "late" else ONSET_S
                placed = replace(world, seed=seed, seconds=from_s + FOUND_WITHIN_S[name], harm=replace(harm, from_s=from_s))
                yield Labelled(nasty, name, placed)
