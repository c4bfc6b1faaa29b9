from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from openfeature import api
from openfeature.hook import clear_hooks

from tests.streams.instrument.kafka import Broker, Proxy, proxied


@pytest.fixture(scope="session")
def broker() -> Broker:
    return Broker()


@pytest.fixture
async def proxy(broker: Broker) -> AsyncIterator[Proxy]:
    async for proxy in proxied(broker):
        yield proxy


@pytest.fixture
def clean_openfeature() -> Iterator[None]:
    clear_hooks()
    yield
    clear_hooks()
    api.clear_providers()
