"""
How long kills take from a store's receipt to the last exposure, as it was in the last ones: by store and by service.

What is learned can only make the guardian more patient. That clients were fast until now is no reason to wake somebody
sooner, but where a store's clients ask for news every fifteen seconds, three seconds of patience are a false alarm a kill.
"""

from __future__ import annotations

from typing import TypeVar
from zlib import crc32

import msgspec

from guardian.decisions import PropagationView
from guardian.journal import ReceiptEntry
from guardian.names import Millis

KEPT = 64
"""Kills that are remembered, of each store and of each of its services."""
STORES_MAX = 16
SERVICES_MAX = 32
LEARNED_AT = 5
"""Kills of a store before it is believed."""
QUANTILE_PERCENT = 95
LONGEST_MS = 86_400_000
"""Nothing is remembered as longer than a day: whoever writes entries may write any number."""

Took = dict[int, Millis]
"""By the kill (a hash of its decision and variation), in the order in which they came: a repeat changes nothing."""


Held = TypeVar("Held")


class OfStore(msgspec.Struct, gc=False):
    """The last kills of one store: of all its clients, and of each service."""

    took: Took = {}
    services: dict[str, Took] = {}


class Propagation(msgspec.Struct, gc=False):
    """What was learned of the stores, by their names; bounded, and it forgets what was long ago."""

    stores: dict[str, OfStore] = {}

    def learn(self, entry: ReceiptEntry) -> None:
        """Take a lesson (``journal.is_lesson``) in; one that was taken in before says nothing new."""
        kill = crc32(f"{entry.decision_id}|{entry.variation}".encode())
        store = _of(self.stores, entry.store, STORES_MAX, OfStore())
        _add(store.took, kill, entry.took_ms)
        for service, took_ms in entry.services.items():
            _add(_of(store.services, service, SERVICES_MAX, {}), kill, took_ms)

    def bound_ms(self, store: str, least_ms: Millis, most_ms: Millis) -> Millis:
        """
        Return how long clients of a store have after a kill: what nearly all of its kills took, within these bounds.

        A kill that took longer than ``most_ms`` had a client that was stuck: it says nothing of the store.
        """
        held = self.stores.get(store)
        within = [took_ms for took_ms in held.took.values() if took_ms <= most_ms] if held is not None else []
        if len(within) < LEARNED_AT:
            return least_ms
        return min(max(_quantile(within, QUANTILE_PERCENT), least_ms), most_ms)

    def rows(self, store: str) -> tuple[PropagationView, ...]:
        """Return what was learned of a store: of all its clients first, then of the services by name."""
        held = self.stores.get(store)
        if held is None:
            return ()
        found: list[tuple[str | None, Took]] = [(None, held.took), *sorted(held.services.items())]
        return tuple(_row(store, service, list(took.values())) for service, took in found)


def _of(held: dict[str, Held], name: str, most: int, new: Held) -> Held:
    """Return what is held under a name; a new one takes the place of the one that was there first, where they are too many."""
    if name not in held and len(held) >= most:
        del held[next(iter(held))]
    return held.setdefault(name, new)


def _add(took: Took, kill: int, took_ms: Millis) -> None:
    took[kill] = min(max(took_ms, 0), LONGEST_MS)
    if len(took) > KEPT:
        del took[next(iter(took))]


def _row(store: str, service: str | None, took: list[Millis]) -> PropagationView:
    return PropagationView(
        store=store, service=service, count=len(took), median_ms=_quantile(took, 50),
        p95_ms=_quantile(took, QUANTILE_PERCENT), longest_ms=max(took),
    )  # fmt: skip


def _quantile(values: list[Millis], percent: int) -> Millis:
    """Return the smallest value that so many percent are not above."""
    return sorted(values)[-(-len(values) * percent // 100) - 1]
