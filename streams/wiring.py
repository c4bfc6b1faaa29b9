"""The composition root: the one place that chooses which classes do the work, by name and lazily."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import TYPE_CHECKING, Any

from guardian.ports import FlagStore, StoreCapabilities
from streams.scaling import processor_of
from streams.settings import Settings
from streams.status import Status

if TYPE_CHECKING:
    from streams.outlet import Outlet

Processor = Callable[[Settings, Status], Coroutine[Any, Any, None]]

PROCESSORS: dict[str, str] = {
    "store": "streams.store:run_store",
    "observe": "streams.observe:run_observe",
    "judge": "streams.judge:run_judge",
    "act": "streams.act:run_act",
    "report": "streams.report:run_report",
    "api": "streams.apps.api:run_api",
}
"""Every processor in the order of starting; a process imports only its own."""


def processor(name: str) -> Processor:
    """
    Return the processor called *name*, ready to run; ``observe-2`` is another worker of ``observe``.

    Raises:
        KeyError: there is none of this name.
    """
    module, _, function = PROCESSORS[processor_of(name)].partition(":")
    run: Callable[..., Coroutine[Any, Any, None]] = getattr(importlib.import_module(module), function)
    return functools.partial(run, open_store=open_flag_store) if name == "act" else run


def processors_of(settings: Settings) -> list[str]:
    """The processors that a guardian with these settings consists of, in the order of starting."""
    return [name for name in PROCESSORS if name != "store" or settings.store == "flagd"]


def open_flag_store(settings: Settings, outlet: Outlet) -> contextlib.AbstractAsyncContextManager[FlagStore]:
    """The flag store that act changes, for as long as act runs."""
    return _webhook_store(settings) if settings.store == "webhook" else _flagd_store(settings, outlet)


def store_capabilities(settings: Settings) -> StoreCapabilities:
    """What that store can do."""
    if settings.store == "webhook":
        from streams.stores.webhook.adapter import WebhookStore

        return WebhookStore.capabilities
    from streams.stores.flagd.adapter import FlagdStore

    return FlagdStore.capabilities


@contextlib.asynccontextmanager
async def _webhook_store(settings: Settings) -> AsyncIterator[FlagStore]:
    """A store of somebody's own, which keeps what was decided by itself."""
    from streams.stores.webhook.adapter import WebhookStore
    from streams.stores.webhook.client import Client, open_session

    given = settings.webhook_store
    async with open_session() as session:
        client = Client(
            session,
            url=given.url,
            secret=given.secret.get_secret_value(),
            environment=given.environment,
            timeout_s=given.timeout_s,
        )
        yield WebhookStore(client, environment=given.environment)


@contextlib.asynccontextmanager
async def _flagd_store(settings: Settings, outlet: Outlet) -> AsyncIterator[FlagStore]:
    """Flagd-sync, with all that was decided before already known."""
    from streams.flag_state import Records, rewrite, write_record
    from streams.reading import Follower
    from streams.stores.flagd.adapter import FlagdStore

    records = Records()
    follower = Follower(settings, settings.topics.flag_state, records.take)
    following = asyncio.ensure_future(follower.run())
    store = FlagdStore(
        functools.partial(write_record, outlet, settings.topics),
        records.get,
        f"{settings.flagd.host}:{settings.flagd.port}",
        environment=settings.flagd.environment,
    )
    try:
        await follower.caught_up.wait()
        await rewrite(outlet, settings.topics, records.overwritten())
        yield store
    finally:
        await store.close()
        following.cancel()
        await asyncio.wait({following})
