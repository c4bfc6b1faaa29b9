"""An event loop whose time is made up, and processes that die in the middle of what they do."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from streams import acting, clocks, judge, judging, keeper, sending, sources
from tests.support.traffic import T0_MS

_owner: contextvars.ContextVar[Process] = contextvars.ContextVar("owner")


class VirtualLoop(asyncio.BaseEventLoop):
    """Waits for nothing: when nobody can go on, it is the time at which somebody can."""

    def __init__(self) -> None:
        super().__init__()
        self._now_s = 0.0
        self._selector = self
        self.set_task_factory(_owned)

    def time(self) -> float:
        return self._now_s

    def select(self, timeout_s: float | None) -> list[Any]:
        assert timeout_s is not None, "nothing will ever happen again"
        self._now_s += timeout_s
        return []

    def _process_events(self, _: list[Any]) -> None:
        pass

    def _write_to_self(self) -> None:
        pass

    @property
    def now_ms(self) -> int:
        """True time, in the milliseconds that everybody's clock is wrong by a little."""
        return T0_MS + round(self._now_s * 1_000)


def _owned(loop: asyncio.AbstractEventLoop, coro: Any, **given: Any) -> asyncio.Task[Any]:
    context = given.get("context")
    owner = context.get(_owner) if context is not None else _owner.get(None)
    if owner is not None and not owner.alive:
        coro.close()
        raise asyncio.CancelledError
    task = asyncio.Task(coro, loop=loop, **given)
    if owner is not None:
        owner.tasks[task] = None
        task.add_done_callback(owner.ended)
    return task


class Process:
    """All tasks that came from one; ``kill`` ends them where they stand, and nothing is said to anybody."""

    def __init__(self, loop: VirtualLoop, name: str, failed: Callable[[str], None]) -> None:
        self.name, self.alive = name, True
        self.tasks: dict[asyncio.Task[Any], None] = {}
        self._loop, self._failed = loop, failed

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Begin to work; a defect in it ends the run."""
        context = contextvars.copy_context()
        context.run(_owner.set, self)
        self._loop.create_task(work, context=context).add_done_callback(self._root_ended)

    def ended(self, task: asyncio.Task[Any]) -> None:
        """Forget a task."""
        self.tasks.pop(task, None)

    def _root_ended(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed(f"{self.name} ended: {error!r}")

    def kill(self) -> None:
        """End all of it."""
        self.alive = False
        for task in list(self.tasks):
            task.cancel()


class _Mute:
    def __getattr__(self, _: str) -> Callable[..., None]:
        return lambda *_, **__: None


@contextmanager
def made_up_time(loop: VirtualLoop, act_skew_ms: int) -> Iterator[None]:
    """The movers' clocks are the loop's, act's wrong by *act_skew_ms*; what they log goes nowhere."""
    calendar = SimpleNamespace(
        now=lambda _: datetime.fromtimestamp((loop.now_ms + act_skew_ms) / 1_000, UTC), fromisoformat=datetime.fromisoformat
    )
    clock = SimpleNamespace(monotonic=loop.time, perf_counter=loop.time, time=lambda: loop.now_ms / 1_000)
    with patch.object(acting, "datetime", calendar), ExitStack() as replaced:
        for module in (acting, sending, judging, keeper):
            replaced.enter_context(patch.object(module, "time", clock))
            replaced.enter_context(patch.object(module, "log", _Mute()))
        for module in (sources, clocks):
            replaced.enter_context(patch.object(module, "log", _Mute()))
        # How long showing took decides when it goes on: that must not be how busy the machine is.
        replaced.enter_context(patch.object(judge, "time", clock))
        yield
