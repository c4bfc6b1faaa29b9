"""What a seed makes: rollouts with their policies, harm, users, clocks, and what goes wrong."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from guardian.config import JudgeConfig
from guardian.dating import AHEAD_MS

ENVIRONMENT, CONTROL, TREATMENT, OTHER = "production", "control", "treatment", "other"
RING = "staff"
RING_EVERY = 4
"""Every so many-th unit is of the ring."""
GUARDRAILS: dict[str, tuple[str, str]] = {
    "relative": ("error_rate > 1.2x control", "errors"),
    "margin": ("error_rate > control + 5%", "errors"),
    "fixed": ("error_rate > 20%", "errors"),
    "slower": ("latency_p95 > 1.5x control", "slow"),
    "too_slow": ("latency_p95 > 300ms", "slow"),
    "csat": ("csat < control - 0.3", "csat"),
    "ratio": ("sample_ratio off", ""),
    "silence": ("no_data for 3s", "silent"),
}
"""
Guardrails by name: what is written, and the harm that it is sure to see.

``sample_ratio`` is sure of none: without stages nobody has said what share is meant.
"""
FIXED = (GUARDRAILS["fixed"][0], GUARDRAILS["too_slow"][0])
"""What a guardrail with a fixed bound says of a flag may be another flag's harm."""
STANDING = ("kill", "kill", "kill", "kill_flag", "pause", "hold")
"""What a guardrail may do where there are no stages."""
ACTIONS = (*STANDING, "step_back")
Stages = tuple[dict[str, str], ...]
STAGES: tuple[Stages, ...] = (
    (),
    ({"share": "20%", "for": "5s"}, {"share": "50%"}),
    ({"share": "10%", "for": "4s"}, {"share": "30%", "for": "5s"}, {"share": "50%"}),
)
RINGS: Stages = ({"ring": RING, "for": "4s"}, {"share": "20%", "for": "5s"}, {"share": "50%"})
SEVERAL: Stages = ({"share": "20%", "for": "4s"}, {"share": "40%", "for": "5s"}, {"share": "60%"})
UNITS = 3_000
LATEST_S = 6.0
"""What comes late comes so much later at most."""
USERS_REST_S = 2.0
"""So long before the end the last request is made."""
SOURCES = {"source 0", "source 1"}
LAG_MAX_S = JudgeConfig().lag_max_ms / 1_000
WORKERS, WRONG = (*sorted(SOURCES), "act", "people"), 0.1
"""Whose clocks may be far ahead, and in how many of all seeds one of them is."""
PER_ROLLOUT, PER_STEP, PER_DAY = 0.002, 0.001, 0.001


@dataclass(frozen=True, slots=True)
class Rollout:
    """
    One flag: its policy as people write it, the share under test it begins with, and what treatment does to its users.

    Other variations under test do no harm.
    """

    flag: str
    document: dict[str, Any]
    share: float
    harm: str
    harm_from_s: float
    variations: tuple[str, ...] = (TREATMENT,)

    @property
    def key(self) -> str:
        """``environment|flag``."""
        return f"{ENVIRONMENT}|{self.flag}"

    def seen_by(self, document: dict[str, Any]) -> list[dict[str, Any]]:
        """The guardrails of a policy that see its harm."""
        sees = dict(GUARDRAILS.values())
        return [one for one in document["guardrails"] if self.harm and sees[one["when"]] == self.harm]


@dataclass(slots=True)
class Faults:
    """
    What goes wrong until it is quiet.

    ``moments`` holds the chance of a crash at each kind of moment, ``crashes`` processes and when they die anyway.
    ``outages_s`` are times in which a source is not read, ``store_down_s`` those in which the store is away.
    """

    moments: dict[str, float] = field(default_factory=dict)
    crashes: list[tuple[float, str]] = field(default_factory=list)
    zombies_s: list[float] = field(default_factory=list)
    outages_s: list[tuple[float, float, int]] = field(default_factory=list)
    store_down_s: list[tuple[float, float]] = field(default_factory=list)
    store_unknown: float = 0.0
    refused: float = 0.0
    aborted: float = 0.0
    repeated: float = 0.0
    late: float = 0.0
    lost: float = 0.0
    people: list[tuple[float, str, int]] = field(default_factory=list)
    meddling: float = 0.0

    @property
    def longest_outage_s(self) -> float:
        """The longest time in which one of the sources is not read, where outages follow on each other."""
        return max(_longest_s(sorted(one[:2] for one in self.outages_s if one[2] in (number, -1))) for number in (0, 1))


def _longest_s(outages_s: list[tuple[float, float]]) -> float:
    longest_s, began_s, ends_s = 0.0, 0.0, 0.0
    for at_s, for_s in outages_s:
        if at_s > ends_s:
            began_s = at_s
        ends_s = max(ends_s, at_s + for_s)
        longest_s = max(longest_s, ends_s - began_s)
    return longest_s


@dataclass(frozen=True, slots=True)
class Scene:
    """A world to be played: all of it follows from the seed."""

    seed: int
    seconds: float
    quiet_from_s: float
    rollouts: tuple[Rollout, ...]
    faults: Faults
    requests_a_second: float
    errors: float
    by_topic: bool
    skews_ms: dict[str, int]
    deadline_s: float
    tells: bool
    """Whether the store tells what it serves."""

    @property
    def is_far_ahead(self) -> bool:
        """Whether the clock of a source is."""
        return max(self.skews_ms[source] for source in SOURCES) > AHEAD_MS

    @property
    def has_ratings(self) -> bool:
        """Whether users are asked."""
        return any("csat" in str(rollout.document["guardrails"]) for rollout in self.rollouts)


def scene(seed: int) -> Scene:
    """Draw the world of a seed."""
    dice = random.Random(f"scene {seed}")
    loses = dice.random() < 0.3
    quiet_from_s = dice.uniform(8.0, 13.0)
    many = dice.choice((1, 1, 1, 2, 3))
    skewed = dice.random() < 0.5
    names = ("service 0", "service 1", "source 0", "source 1", "act", "people")
    wrong = _wrong(random.Random(f"clock {seed}"))
    return Scene(
        seed=seed,
        # Whose clock is far ahead finds all outcomes late: for those it is waited as long as for any.
        seconds=quiet_from_s + 15.0 + (LAG_MAX_S if wrong.keys() & SOURCES else 0.0),
        quiet_from_s=quiet_from_s,
        # One of them harms at most: two would hide each other, as each raises the other's control.
        rollouts=tuple(
            _rollout(dice, random.Random(f"kind {seed} {number}"), f"flag-{number}", may_harm=number == 0)
            for number in range(many)
        ),
        faults=_faults(dice, quiet_from_s, many, loses=loses),
        requests_a_second=dice.uniform(40.0, 70.0),
        errors=dice.choice((0.0, 0.01, 0.03)),
        by_topic=dice.random() < 0.5,
        skews_ms={name: dice.randrange(-800, 800) if skewed else 0 for name in names} | wrong,
        # Of the times in which the store is away some are longer than that.
        deadline_s=dice.choice((2.0, 60.0)),
        tells=random.Random(f"tells {seed}").random() < 0.4,
    )


def _wrong(dice: random.Random) -> dict[str, int]:
    """Once in a while a clock that is ahead by more than clocks may be; it has dice of its own, as it came later."""
    return {dice.choice(WORKERS): dice.randrange(20_000, 7_200_000)} if dice.random() < WRONG else {}


def _rollout(dice: random.Random, kind: random.Random, flag: str, *, may_harm: bool) -> Rollout:
    """Draw a rollout; *kind* has its own dice, so that what was found without rings is found again."""
    names = dice.sample(sorted(GUARDRAILS), dice.choice((1, 1, 2, 3)))
    stages = dice.choice(STAGES)
    variations = (TREATMENT, OTHER) if kind.random() < 0.25 else (TREATMENT,)
    if kind.random() < 0.25 or len(variations) > 1:
        stages = kind.choice((RINGS, SEVERAL) if len(variations) > 1 else (RINGS,))
    if stages == RINGS or len(variations) > 1:
        names = [name for name in names if name != "ratio"] or ["relative"]
    guardrails = [_guardrail(dice, name, ACTIONS if stages else STANDING) for name in names]
    document: dict[str, Any] = {
        "flag": flag, "environment": ENVIRONMENT, "owner": "team", "guardrails": guardrails,
        "min_units": dice.choice((3, 3, 12)),
        "false_kills": {"per_rollout": PER_ROLLOUT, "per_step": PER_STEP, "per_day": PER_DAY},
    }  # fmt: skip
    if stages:
        document["stages"] = list(stages)
    if stages == RINGS or len(variations) > 1:
        document |= {"variations": list(variations), "min_starts": 20}
    harm = GUARDRAILS[names[0]][1] if may_harm and dice.random() < 0.7 else ""
    share = float(stages[0].get("share", "0%").rstrip("%")) / 100 if stages else dice.choice((0.2, 0.5))
    # What was never seen is not missed.
    return Rollout(flag, document, share, harm, dice.uniform(3.0 if harm == "silent" else 0.0, 7.0), variations)


def _guardrail(dice: random.Random, name: str, actions: tuple[str, ...]) -> dict[str, Any]:
    guardrail: dict[str, Any] = {"when": GUARDRAILS[name][0], "then": dice.choice(actions)}
    if name in ("relative", "slower") and dice.random() < 0.3:
        guardrail["segments"] = ["country"]
    return guardrail


def _faults(dice: random.Random, quiet_from_s: float, many: int, *, loses: bool) -> Faults:
    """Draw what goes wrong; where a broker *loses* decisions, they are sent again after newer ones."""

    def often(chance: float, most: int = 2) -> list[float]:
        return [dice.uniform(1.0, quiet_from_s) for _ in range(dice.randint(1, most))] if dice.random() < chance else []

    moments = {
        "decided": 0.3, "part kept": 0.01, "stored": 0.3, "answered": 0.2, "folded": 0.02, "applied": 0.002,
    }  # fmt: skip
    crashing = [name for name in moments if dice.random() < 0.4]
    repeated = 0.02 if "folded" not in crashing and dice.random() < 0.3 else 0.0
    processes = ["judge", "act"] if repeated else ["judge", "act", "observe 0", "observe 1"]
    wishes = ("kill", "pause", "resume", "resume", "changed", "weights", "policy", "policy")
    return Faults(
        moments={name: moments[name] for name in crashing},
        crashes=[(at_s, dice.choice(processes)) for at_s in often(0.5, 3)],
        zombies_s=often(0.35, 1),
        outages_s=[(at_s, dice.uniform(0.5, 5.0), dice.choice((0, 1, -1))) for at_s in often(0.3)],
        store_down_s=[(at_s, dice.uniform(0.5, 8.0)) for at_s in often(0.3)],
        store_unknown=dice.choice((0.0, 0.0, 0.3)),
        refused=0.3 if loses else 0.0,
        aborted=dice.choice((0.0, 0.0, 0.1)),
        repeated=repeated,
        late=dice.choice((0.0, 0.0, 0.05)),
        lost=dice.choice((0.0, 0.0, 0.05)),
        people=[(at_s, dice.choice(wishes), dice.randrange(many)) for at_s in often(0.6, 3)],
        meddling=dice.choice((0.0, 0.7)),
    )
