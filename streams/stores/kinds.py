"""Every kind of flag store, by the word that settings have for it. A new one is its file and its line here."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from streams.fields import StoreSection

if TYPE_CHECKING:
    import aiohttp

    from guardian.ports import StoreCapabilities
    from streams.stores.shares.backend import Backend

KINDS: Mapping[str, str] = MappingProxyType(
    {
        "flagd": "streams.stores.flagd.kind",
        "flagsmith": "streams.stores.flagsmith.kind",
        "flipt": "streams.stores.flipt.kind",
        "goff": "streams.stores.goff.kind",
        "launchdarkly": "streams.stores.launchdarkly.kind",
        "split": "streams.stores.split.kind",
        "togglz": "streams.stores.togglz",
        "unleash": "streams.stores.unleash.kind",
        "webhook": "streams.stores.webhook.kind",
    }
)
"""Modules whose ``KIND`` is a `Kind`; one is imported where settings name it."""


@dataclass(frozen=True, slots=True)
class Kind:
    """
    A kind of store: what its *settings* are, what it can do, and how its *backend* is made of them.

    ``None`` for *backend* is the guardian's own server, which is no store of shares. Where the store has no place for
    the guardian's record (*keeps_record* is false), that is kept in ``guardian.flag-state.v1``. Of a store that *tells*
    judge knows what each flag gives whom.
    """

    settings: type[StoreSection]
    capabilities: StoreCapabilities
    backend: Callable[[Any, aiohttp.ClientSession], Backend] | None
    keeps_record: bool = True
    tells: bool = False

    @property
    def needs_flag_state(self) -> bool:
        """Whether what was decided is kept in ``guardian.flag-state.v1``."""
        return self.backend is None or not self.keeps_record


def kind_of(name: str) -> Kind:
    """
    The kind called *name*.

    Raises:
        KeyError: there is none.
    """
    kind: Kind = importlib.import_module(KINDS[name]).KIND
    return kind


def propagation_ms(store: StoreSection) -> int:
    """Return how long the slowest clients of a store take to follow a change: as it is set, or as is usual for its kind."""
    return round(store.propagation_s * 1_000 or kind_of(store.kind).capabilities.slowest_propagation_ms)
