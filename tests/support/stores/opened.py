"""Stores on the stand-ins of vendors, ready to be asked; each with the vendor that it asks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from streams.stores.flagsmith.client import FlagsmithBackend
from streams.stores.http import open_session
from streams.stores.launchdarkly.client import LaunchDarklyBackend
from streams.stores.shares.backend import Backend
from streams.stores.shares.store import SharesStore
from streams.stores.split.client import SplitBackend
from tests.support.remembered import remembered
from tests.support.stores import flagsmith as fs
from tests.support.stores import launchdarkly as ld
from tests.support.stores import split as sp
from tests.support.stores.vendor import Vendor, serving

RINGS = ("employees", "beta")


@asynccontextmanager
async def opened(vendor: Vendor, **settings: Any) -> AsyncIterator[SharesStore]:
    """A store on *vendor*, with *settings* that are others than usual."""
    prefix = sp.PREFIX if isinstance(vendor, sp.Split) else ""
    async with serving(vendor, prefix), open_session() as session:
        made: Backend
        common: dict[str, Any] = {"url": vendor.url, "environment": "production", "timeout_s": 2.0}
        if isinstance(vendor, ld.LaunchDarkly):
            own = {"token": ld.TOKEN, "project": ld.PROJECT, "environment_key": "production", "rings": RINGS}
            made = LaunchDarklyBackend(session, **{**common, **own, **settings})
        elif isinstance(vendor, fs.Flagsmith):
            keys = {"token": fs.TOKEN, "project": fs.PROJECT, "environment_key": fs.ENVIRONMENT}
            made = FlagsmithBackend(session, **{**common, **keys, **settings})
        else:
            ids = {"token": sp.TOKEN, "workspace": sp.WORKSPACE, "environment_id": "production"}
            made = SplitBackend(session, **{**common, **ids, **settings})
        yield SharesStore(remembered(made), call_s=20.0)
