"""What is done to whom, and when: a schedule that its seed alone decides."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import NamedTuple

CALM_S = 4.0
"""Before the first fault, all has begun."""
STEADY_S, STORM_S = (10.0, 16.0), (1.5, 6.0)
"""Between a fault and the next, at the least and at most: time to take over, or none, while others still last."""
TIME_S = 10.0
"""So long anybody may take to take over."""
KILLS = {"observe": 4, "judge": 4, "act": 2, "host": 2, "broker": 2}
"""How often each is killed, in proportion: a worker under its supervisor, a whole host with all its workers, a broker."""
OTHERS = {"sleep": 1, "leave": 1}
"""Beside the kills, in the same proportion: a worker is stopped and wakes up as a zombie, a host leaves in good order."""
AWAY_S = {"host": (0.5, 9.0), "broker": (0.5, 6.0), "sleep": (3.0, 12.0), "leave": (0.5, 9.0)}
"""For how long it is gone; a killed worker is started again by its supervisor."""
WORKERS = ("observe", "judge", "act")


class Fault(NamedTuple):
    """At ``after_s`` from the fault before, ``kind`` happens to ``who`` of host or broker ``number``, for ``away_s``."""

    after_s: float
    kind: str
    who: str
    number: int
    away_s: float

    @property
    def is_kill(self) -> bool:
        """Whether something dies without a warning."""
        return self.kind in KILLS


class Terms(NamedTuple):
    """Which faults happen (of ``only`` these kinds; all where it is empty), and how long from one to the next."""

    only: tuple[str, ...] = ()
    pause_s: tuple[float, float] = STEADY_S

    @property
    def leaves_time(self) -> bool:
        """Whether there is time to take over from each fault to the next: so that it can be told how long that took."""
        return self.pause_s[0] >= TIME_S


STEADY, STORM = Terms(), Terms(pause_s=STORM_S)


def schedule(seed: int, kills: int, hosts: int, brokers: int, terms: Terms = STEADY) -> Iterator[Fault]:
    """
    Yield faults until so many of them were kills.

    Raises:
        ValueError: none of those kinds kills.
    """
    dice, done = random.Random(f"faults {seed}"), 0
    weights = {kind: weight for kind, weight in (KILLS | OTHERS).items() if not terms.only or kind in terms.only}
    if not weights.keys() & KILLS.keys():
        raise ValueError(f"{', '.join(terms.only)}: nothing dies of that; kinds are {', '.join(KILLS | OTHERS)}")
    while done < kills:
        kind = dice.choices(list(weights), list(weights.values()))[0]
        who = kind if kind in WORKERS else (dice.choice(WORKERS) if kind == "sleep" else kind)
        number = dice.randrange(brokers if kind == "broker" else hosts)
        away_s = dice.uniform(*AWAY_S.get(kind, (0.0, 0.0)))
        after_s = dice.uniform(*terms.pause_s) + (CALM_S if not done else 0.0)
        done += kind in KILLS
        yield Fault(after_s, kind, who, number, away_s)
