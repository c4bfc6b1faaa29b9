"""The requests of a world, as columns: one entry a request, in the order of their starts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tests.support.recorded.world import Harm, Incident, Weights, World

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

UNHARMED = Harm()
QUALITY_SPREAD = 10.0
"""a + b of the beta law of the quality score: a spread of 0.12 around 0.8."""


@dataclass(frozen=True, slots=True)
class Requests:
    """
    All requests of a world, of shape ``(n,)`` each.

    ``is_treated``: under the treatment; ``is_harmed``: and hurt by it. ``is_heard``: its exposure was sent;
    ``is_ended``: its outcome, too. ``attributes`` and ``operation`` are positions in the world's names.
    """

    start_s: Floats
    user: Ints
    is_treated: Bools
    is_harmed: Bools
    is_failed: Bools
    latency_ms: Floats
    is_heard: Bools
    is_ended: Bools
    operation: Ints
    attributes: dict[str, Ints]
    quality: Floats
    converted: Bools


def requests(world: World, rng: np.random.Generator) -> Requests:
    """Return the requests of the world; a user has the same variation for as long as the share stands still."""
    harm = world.harm or UNHARMED
    n = int(rng.poisson(world.rps * world.seconds))
    start_s = np.sort(rng.uniform(0.0, world.seconds, n))
    activity = np.cumsum(rng.lognormal(0.0, world.activity_sigma, world.users))
    user = np.searchsorted(activity, rng.uniform(0.0, activity[-1], n), side="right")
    attributes = {
        name: _drawn(weights, hashed(user, f"{name} {world.seed}")) for name, weights in world.attributes.items()
    }
    operation = _drawn(world.operations, rng.random(n))
    treated = hashed(user, f"share {world.seed}") < _share(world, start_s)
    harmed = treated & (start_s >= harm.from_s) & _has(world, harm, attributes, operation)
    swing = 1.0 + world.drift * np.sin(2.0 * np.pi * start_s / world.drift_s)
    failed = rng.random(n) < _error(world, harm, start_s, user, harmed) * swing
    gone = harmed & (hashed(user, f"lost {world.seed}") < harm.lost) | (harmed & harm.silent)
    endless = harmed & ((rng.random(n) < harm.hang) | harm.mute)
    quality = _quality(world, rng, n) - np.where(harmed, harm.quality_drop, 0.0)
    bought = (world.conversion or 0.0) * np.where(harmed, harm.conversion, 1.0)
    return Requests(
        start_s=start_s, user=user, is_treated=treated, is_harmed=harmed, is_failed=failed,
        latency_ms=_latency(world, harm, rng, harmed, failed) * swing,
        is_heard=~gone, is_ended=~gone & ~endless,
        operation=operation, attributes=attributes,
        quality=np.clip(quality, 0.0, 1.0), converted=rng.random(n) < bought,
    )  # fmt: skip


def hashed(user: Ints, salt: str) -> Floats:
    """Return a number in [0, 1) for each user, the same for the same salt (the finalizer of splitmix64)."""
    key = np.uint64(int.from_bytes(salt.encode(), "little") % (2**64 - 59))
    z = (user.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) + key
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z = (z ^ (z >> np.uint64(shift))) * np.uint64(factor)
    return np.asarray((z ^ (z >> np.uint64(31))) >> np.uint64(11), dtype=np.float64) / 2.0**53


def _drawn(weights: Weights, dice: Floats) -> Ints:
    edges = np.cumsum(list(weights.values()))
    return np.searchsorted(edges / edges[-1], dice, side="right")


def _share(world: World, start_s: Floats) -> Floats:
    begins, shares = (np.array(column) for column in zip(*world.share, strict=True))
    return np.asarray(shares[np.searchsorted(begins, start_s, side="right") - 1])


def _has(world: World, harm: Harm, attributes: dict[str, Ints], operation: Ints) -> Bools:
    has: Bools = np.ones(operation.size, dtype=bool)
    for name, value in harm.only.items():
        column, names = (operation, world.operations) if name == "operation" else (attributes[name], world.attributes[name])
        has &= column == list(names).index(value)
    return has


def _error(world: World, harm: Harm, start_s: Floats, user: Ints, harmed: Bools) -> Floats:
    broken = hashed(user, f"broken {world.seed}") < world.broken
    chance = np.where(broken, world.broken_error, world.error) * np.where(harmed, harm.errors, 1.0)
    for incident in world.incidents:
        chance = chance * np.where(_is_in(incident, start_s), incident.times, 1.0)
    return chance


def _is_in(incident: Incident, start_s: Floats) -> Bools:
    return (incident.from_s <= start_s) & (start_s < incident.to_s)


def _latency(world: World, harm: Harm, rng: np.random.Generator, harmed: Bools, failed: Bools) -> Floats:
    n = len(harmed)
    slow = harmed & (rng.random(n) < harm.slower_part)
    usual = np.where(failed, world.failed_latency_ms, world.latency_ms)
    return usual * np.exp(rng.normal(0.0, world.latency_sigma, n)) * np.where(slow & ~failed, harm.slower, 1.0)


def _quality(world: World, rng: np.random.Generator, n: int) -> Floats:
    mean = 0.5 if world.quality is None else world.quality
    return rng.beta(QUALITY_SPREAD * mean, QUALITY_SPREAD * (1.0 - mean), n)
