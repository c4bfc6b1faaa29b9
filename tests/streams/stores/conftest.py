"""A sync server on a copy of the sample document, and clean-up of the clients' threads."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from openfeature import api

from streams.stores.flagd.server import FlagdStoreServer
from tests.streams.stores.support import SAMPLE


@pytest.fixture
def base_path(tmp_path: Path) -> Path:
    return Path(shutil.copy(SAMPLE, tmp_path / "flags.json"))


@pytest.fixture
async def server(base_path: Path) -> AsyncIterator[FlagdStoreServer]:
    async with FlagdStoreServer(base_path, port=0, poll_s=0.02) as running:
        yield running
        await asyncio.to_thread(api.shutdown)
