"""The composition root: the one place that chooses which classes do the work, by name and lazily."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import TYPE_CHECKING, Any

from guardian.ports import FlagStore, StoreCapabilities, in_common
from streams.fields import StoreSection
from streams.scaling import processor_of
from streams.settings import Settings
from streams.status import Status
from streams.stores.kinds import kind_of

if TYPE_CHECKING:
    from streams.flag_state import Records
    from streams.outlet import Outlet
    from streams.stores.shares.backend import Backend

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
    return [name for name in PROCESSORS if name != "store" or settings.serves_flagd]


@contextlib.asynccontextmanager
async def open_flag_store(settings: Settings, outlet: Outlet) -> AsyncIterator[FlagStore]:
    """The flag stores that act changes, as one, for as long as act runs."""
    from streams.stores.targets import Target, Targets

    async with contextlib.AsyncExitStack() as stack:
        topic = _FlagStateTopic(settings, outlet, stack)
        targets = [
            Target(name, section.environment, section.flags, await _opened(name, section, topic, stack))
            for name, section in settings.targets.items()
        ]
        yield targets[0].store if list(settings.targets) == [""] else Targets(targets)


def store_capabilities(settings: Settings) -> StoreCapabilities:
    """What all of these stores can do; the slowest says how long it takes."""
    return in_common([kind_of(section.kind).capabilities for section in settings.targets.values()])


async def _opened(name: str, section: StoreSection, topic: _FlagStateTopic, stack: contextlib.AsyncExitStack) -> FlagStore:
    kind = kind_of(section.kind)
    if kind.backend is None:
        return await topic.flagd_store()
    from streams.stores.http import open_session
    from streams.stores.shares.store import SharesStore

    backend = kind.backend(section, await stack.enter_async_context(open_session()))
    await topic.watch(backend, section.environment, name)
    if not kind.keeps_record:
        backend = await topic.noted(backend, section.environment, name)
    return SharesStore(backend, environment=section.environment)


class _FlagStateTopic:
    """What was decided before, read whole before the first store that needs it is opened, and once for all of them."""

    def __init__(self, settings: Settings, outlet: Outlet, stack: contextlib.AsyncExitStack) -> None:

        self._settings, self._outlet, self._stack = settings, outlet, stack
        self._records: Records | None = None

    async def records(self) -> Records:
        """The newest record of each flag, kept up to date."""
        if self._records is None:
            self._records = await self._stack.enter_async_context(_reading(self._settings, self._outlet))
        return self._records

    async def watch(self, backend: Backend, environment: str, store: str) -> None:
        """Judge hears of what people change, from a store that has a log of it."""
        from streams.noticing import noticing
        from streams.stores.shares.backend import Watched

        if isinstance(backend, Watched):
            told = noticing(backend, self._outlet, journal=self._settings.topics.journal, environment=environment, store=store)
            await self._stack.enter_async_context(told)

    async def noted(self, backend: Backend, environment: str, store: str) -> Backend:
        """A store that has no place for the record of what was decided."""
        from streams.flag_state import write_record
        from streams.stores.shares.noted import Noted

        publish = functools.partial(write_record, self._outlet, self._settings.topics)
        return Noted(backend, publish, (await self.records()).get, environment=environment, store=store)

    async def flagd_store(self) -> FlagStore:
        """The guardian's own server."""
        from streams.flag_state import write_record
        from streams.stores.flagd.adapter import FlagdStore

        settings = self._settings
        store = FlagdStore(
            functools.partial(write_record, self._outlet, settings.topics),
            (await self.records()).get,
            f"{settings.flagd.host}:{settings.flagd.port}",
            environment=settings.flagd.environment,
        )
        self._stack.push_async_callback(store.close)
        return store


@contextlib.asynccontextmanager
async def _reading(settings: Settings, outlet: Outlet) -> AsyncIterator[Records]:
    from streams.flag_state import Records, rewrite
    from streams.reading import Follower

    records = Records()
    follower = Follower(settings, settings.topics.flag_state, records.take)
    following = asyncio.ensure_future(follower.run())
    try:
        await follower.caught_up.wait()
        await rewrite(outlet, settings.topics, records.overwritten())
        yield records
    finally:
        following.cancel()
        await asyncio.wait({following})
