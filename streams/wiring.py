"""The composition root: the one place that chooses which classes do the work, by name and lazily."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import TYPE_CHECKING, Any

from guardian.ports import FlagStore
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
        shared = _Shared(settings, outlet, stack)
        targets = [
            Target(name, section, await _opened(name, section, shared, stack))
            for name, section in settings.targets.items()
        ]
        await shared.hear()
        yield targets[0].store if list(settings.targets) == [""] else Targets(targets)


async def _opened(name: str, section: StoreSection, shared: _Shared, stack: contextlib.AsyncExitStack) -> FlagStore:
    kind = kind_of(section.kind)
    if kind.backend is None:
        return await shared.flagd_store()
    from streams.stores.http import open_session
    from streams.stores.shares.store import SharesStore

    made = kind.backend(section, await stack.enter_async_context(open_session()))
    backend = made if kind.keeps_record else await shared.noted(made, section.environment, name)
    await shared.watch(made, backend, section, name)
    return SharesStore(backend, environment=section.environment)


class _Shared:
    """
    What the stores have in common: what was decided before, read whole before the first that needs it is opened, and who listens.
    """

    def __init__(self, settings: Settings, outlet: Outlet, stack: contextlib.AsyncExitStack) -> None:
        self._settings, self._outlet, self._stack = settings, outlet, stack
        self._records: Records | None = None
        self._nudges: dict[str, Callable[[], None]] = {}

    async def records(self) -> Records:
        """The newest record of each flag, kept up to date."""
        if self._records is None:
            self._records = await self._stack.enter_async_context(_reading(self._settings, self._outlet))
        return self._records

    async def watch(self, made: Backend, backend: Backend, section: StoreSection, name: str) -> None:
        """Judge hears of what people change, and of what flags give whom, from a store that has a log (as it was *made*)."""
        from streams.noticing import Noticing
        from streams.sources import source_of
        from streams.stores.shares.backend import Watched

        if not isinstance(made, Watched):
            return
        source = source_of(self._settings, self._outlet, name, section)
        noticing = Noticing(made, backend.read, source, keeps=functools.partial(section.keeps, section.environment))
        await self._stack.enter_async_context(noticing.looking())
        self._nudges[name] = noticing.nudge

    async def hear(self) -> None:
        """Those stores may say that something has changed, where the settings give them a port."""
        from streams.hooks import hooks

        if self._settings.act.hook_port:
            listening = hooks(self._nudges, host=self._settings.act.hook_host, port=self._settings.act.hook_port)
            await self._stack.enter_async_context(listening)

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
