"""Users of services that evaluate the flags as they are served, and what these services tell of them."""

from __future__ import annotations

import asyncio
import heapq
import random
import zlib
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import msgspec

from tests.simulation.scene import (
    CONTROL,
    ENVIRONMENT,
    LATEST_S,
    RING,
    RING_EVERY,
    TREATMENT,
    UNITS,
    USERS_REST_S,
    Rollout,
)
from tests.simulation.shelf import EVERYBODY, Served

if TYPE_CHECKING:
    from tests.simulation.world import World

EVERY_MS = 100
Told = list[tuple[str, str, int]]
"""What a record tells: flag key, variation, and 0 for an exposure or 1 for an outcome."""


class Users:
    """Requests at a steady rate; each evaluates every flag and ends once."""

    def __init__(self, world: World) -> None:
        self._world, self._scene = world, world.scene
        self._dice = random.Random(f"users {world.scene.seed}")
        self._numbers, self._has_ratings = 0, world.scene.has_ratings
        self._due: list[tuple[float, int, int, bytes, Told]] = []
        self.served: list[dict[str, Served]] = [
            {rollout.flag: world.shelf.served(rollout.flag) for rollout in self._scene.rollouts} for _ in range(2)
        ]
        """What is served of each flag, as each service knows it."""
        self.shown_s: dict[str, list[float]] = defaultdict(list)
        """When treatment was shown, by flag; whether that was told or not."""

    async def live(self) -> None:
        """Make requests until the end."""
        loop, mean = self._world.loop, self._scene.requests_a_second * EVERY_MS / 1_000
        while loop.time() < self._scene.seconds - USERS_REST_S:
            for _ in range(int(mean) + (self._dice.random() < mean % 1)):
                self._request(loop.time() - self._dice.uniform(0.0, EVERY_MS / 1_000))
            self._deliver(loop.time())
            await asyncio.sleep(EVERY_MS / 1_000)
        while self._due:
            self._deliver(loop.time())
            await asyncio.sleep(EVERY_MS / 1_000)

    def _request(self, now_s: float) -> None:
        dice, service = self._dice, self._dice.randrange(2)
        unit = f"u{dice.randrange(UNITS)}"
        shown = {rollout.flag: self._variation(service, rollout, unit) for rollout in self._scene.rollouts}
        harms = {
            rollout.harm for rollout in self._scene.rollouts
            if shown[rollout.flag] == TREATMENT and now_s >= rollout.harm_from_s
        }  # fmt: skip
        told = [
            rollout.flag for rollout in self._scene.rollouts
            if rollout.harm != "silent" or shown[rollout.flag] != TREATMENT or now_s < rollout.harm_from_s
        ]  # fmt: skip
        for flag, variation in shown.items():
            if variation == TREATMENT:
                self.shown_s[flag].append(now_s)
        for flag in told:
            self._say(now_s, service, unit, "exposure", [(flag, shown[flag])], {"flag_key": flag, "variant": shown[flag]})
        latency_s = 0.06 * dice.lognormvariate(0.0, 0.5) * (8.0 if "slow" in harms else 1.0)
        failed = dice.random() < (0.5 if "errors" in harms else self._scene.errors)
        country = dice.choice(("DE", "FR"))
        flags = {flag: shown[flag] for flag in told}
        if flags and not self._happens(now_s, self._scene.faults.lost):
            late_s = dice.uniform(0.5, LATEST_S) if self._happens(now_s, self._scene.faults.late) else 0.0
            self._say(now_s + latency_s, service, unit, "outcome", list(flags.items()), {
                "flags": flags, "outcome": "error" if failed else "ok", "latency_ms": round(latency_s * 1_000, 1),
                "attributes": {"country": country},
            }, late_s)  # fmt: skip
            if self._has_ratings and dice.random() < 0.5:
                score = dice.choice((1, 1, 2) if "csat" in harms else (3, 4, 5, 5))
                said = {"flags": flags, "kind": "rating", "score": score}
                self._say(now_s + latency_s + 0.5, service, unit, "feedback", [], said)

    def _variation(self, service: int, rollout: Rollout, unit: str) -> str:
        place = zlib.crc32(f"{rollout.flag}/{unit}".encode()) / 2**32
        served = self.served[service][rollout.flag]
        shares = served[RING if int(unit[1:]) % RING_EVERY == 0 and RING in served else EVERYBODY]
        if place < shares[TREATMENT]:
            return TREATMENT
        # From the other end, so that who has one keeps it while both grow.
        others = [one for one in rollout.variations if one != TREATMENT and place >= 1.0 - shares[one]]
        return others[0] if others else CONTROL

    def _happens(self, now_s: float, chance: float) -> bool:
        return now_s < self._scene.quiet_from_s and self._dice.random() < chance

    def _say(
        self, at_s: float, service: int, unit: str, kind: str, told: list[tuple[str, str]], data: dict[str, Any],
        late_s: float = 0.0,
    ) -> None:  # fmt: skip
        self._numbers += 1
        time_ms = self._world.ms(at_s) + self._scene.skews_ms[f"service {service}"]
        event = {
            "type": kind, "id": str(self._numbers), "source": f"/service/{service}", "time": time_ms,
            "environment": ENVIRONMENT, "context_id": unit, "service_name": f"service-{service}", **data,
        }  # fmt: skip
        source = (kind != "exposure") if self._scene.by_topic else zlib.crc32(unit.encode()) & 1
        which = 0 if kind == "exposure" else 1
        keys = [(f"{ENVIRONMENT}|{flag}", variation, which) for flag, variation in told]
        heapq.heappush(self._due, (at_s + late_s, self._numbers, int(source), msgspec.json.encode(event), keys))

    def _deliver(self, now_s: float) -> None:
        while self._due and self._due[0][0] <= now_s:
            _, _, source, record, told = heapq.heappop(self._due)
            self._world.inputs[source].append(record)
            self._world.told[source].append(told)
            if self._happens(now_s, self._scene.faults.repeated):
                # A service that got no answer sends it again; the same (source, id) counts once.
                self._world.inputs[source].append(record)
                self._world.told[source].append([])
