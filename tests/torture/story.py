"""What users do, request by request, known before anybody reads it: the same seed, the same story."""

from __future__ import annotations

import json
import random
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from tests.support.events import exposure, outcome

USERS = 4_000
ERROR_RATE, HARM_RATE = 0.01, 0.4
HARM_S = 20.0
"""A harmful treatment is seen for so long; after that everybody gets control, as after a kill."""
REPEATED, MALFORMED = 0.02, 0.005
"""Parts of all records that come twice, and of requests beside which comes something unreadable."""
HARMFUL_PART = 0.5
"""Of the flags."""
LATENCY_S = 0.03
AROUND_S = 10.0
"""It is a flag's turn from so long before its harm to so long after."""
ANY_PART = 0.2
"""Of all requests, those under any flag."""

Totals = Counter[tuple[str, str, str]]
"""How many ``exposures``, ``outcomes`` and ``errors`` there are, by flag, variation and which of the three."""


class Written(NamedTuple):
    """A record to be written so many seconds after the beginning; ``TIME`` in its value is when it happened."""

    at_s: float
    is_outcome: bool
    key: bytes
    value: bytes


@dataclass
class Story:
    """
    Requests under *flags* flags, *rate* a second, for *seconds*; each evaluates one of them.

    Half of the flags do harm, one after the other, and each of them must be killed. Most requests are under flags whose
    turn it is, and under as many healthy ones: however many flags there are, harm shows. ``totals`` and ``malformed``
    are what has been told so far.
    """

    seed: int
    seconds: float
    flags: int = 8
    rate: float = 120.0
    totals: Totals = field(default_factory=Counter)
    malformed: int = 0

    @cached_property
    def names(self) -> list[str]:
        """All flags."""
        return [f"torture-{number}" for number in range(self.flags)]

    def _flag(self, dice: random.Random, at_s: float) -> str:
        """A flag whose turn it is, or a healthy one beside it, and now and then any."""
        begins_s, names = self._begins_s, self.names
        turns = range(bisect_left(begins_s, at_s - HARM_S - AROUND_S), bisect_right(begins_s, at_s + AROUND_S))
        if not turns or dice.random() < ANY_PART:
            return dice.choice(names)
        turn, is_healthy = dice.choice(turns), dice.random() < 0.5
        return names[min(turn + len(begins_s), len(names) - 1) if is_healthy else turn]

    @cached_property
    def _begins_s(self) -> list[float]:
        return list(self.harm_from_s.values())

    @cached_property
    def harm_from_s(self) -> dict[str, float]:
        """When each harmful flag begins to do harm."""
        harmful = self.names[: round(self.flags * HARMFUL_PART)]
        last_s = max(self.seconds - HARM_S, 5.0)
        return {name: 5.0 + (last_s - 5.0) * at / max(len(harmful), 1) for at, name in enumerate(harmful)}

    def tell(self) -> Iterator[Written]:
        """Yield every record in its order; an exposure before its outcome."""
        dice, number = random.Random(self.seed), 0
        waiting: list[Written] = []
        while (at_s := number / self.rate) < self.seconds:
            while waiting and waiting[0].at_s <= at_s:
                yield from self._twice(dice, waiting.pop(0))
            began, ended = self._request(dice, number, at_s)
            yield from self._twice(dice, began)
            waiting.append(ended)
            if dice.random() < MALFORMED:
                self.malformed += 1
                yield Written(at_s, dice.random() < 0.5, began.key, b'{"specversion":"1.0","id":"%d' % number)
            number += 1
        for record in waiting:
            yield from self._twice(dice, record)

    def _twice(self, dice: random.Random, record: Written) -> Iterator[Written]:
        yield record
        if dice.random() < REPEATED:
            yield record

    def _request(self, dice: random.Random, number: int, at_s: float) -> tuple[Written, Written]:
        user, flag = f"user-{dice.randrange(USERS)}", self._flag(dice, at_s)
        harm_s = self.harm_from_s.get(flag)
        if is_over := harm_s is not None and at_s >= harm_s + HARM_S:
            # Where the kill is late, whoever was treated before would be seen under two variations that no change explains.
            user = f"later-{user}"
        is_treated = hash_of(user, flag) and not is_over
        shown = "treatment" if is_treated else "control"
        is_harmed = shown == "treatment" and harm_s is not None and at_s >= harm_s
        failed = dice.random() < (HARM_RATE if is_harmed else ERROR_RATE)
        self.totals.update({(flag, shown, "exposures"): 1, (flag, shown, "outcomes"): 1, (flag, shown, "errors"): int(failed)})
        common = {"context_id": user, "time": "TIME", "source": "/torture", "id": str(number)}
        began = exposure(flag, shown, **common)
        ended = outcome({flag: shown}, outcome="error" if failed else "ok", latency_ms=1_000 * LATENCY_S, **common)
        key = user.encode()
        return (
            Written(at_s, False, key, json.dumps(began).encode()),
            Written(at_s + LATENCY_S, True, key, json.dumps(ended).encode()),
        )


def hash_of(user: str, flag: str) -> bool:
    """Whether a user is in the treatment half of a flag, always the same."""
    return random.Random(f"{flag} {user}").random() < 0.5
