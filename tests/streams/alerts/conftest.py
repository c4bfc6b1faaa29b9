from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.support.pagerduty import EventsApi, events_api


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def api() -> AsyncIterator[EventsApi]:
    async with events_api() as api:
        yield api
