"""The guardian's own server as a kind of store; what it serves is said in the section ``flagd``."""

from __future__ import annotations

from streams.fields import StoreSection
from streams.stores.flagd.adapter import FlagdStore
from streams.stores.kinds import Kind

KIND = Kind(settings=StoreSection, capabilities=FlagdStore.capabilities, backend=None, tells=True)
