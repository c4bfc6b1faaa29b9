"""Whatever Apprise can tell (Teams, Telegram, Matrix, SMS and some 150 more): plain words, one try each."""

from __future__ import annotations

import asyncio
import importlib
import logging
import math
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import structlog

from streams.alerts.base import Report, Unreachable
from streams.alerts.words import clean, cut, heading, one_line

ATTEMPT_S = 15.0
_REMEMBERED = 1_000
_BODY_LONGEST = 30_000
_THREADS = 4

log = structlog.get_logger()


class Apprise:
    """
    Every notice that is there to be read, to each of *urls*; who has taken it is not told again when others fail.

    Apprise says only whether it worked: whatever does not is tried again.

    Raises:
        ValueError: Apprise is not installed, or knows no such service. Addresses hold secrets and are not shown.
    """

    max_age_s: ClassVar[float] = math.inf

    def __init__(self, *, urls: Sequence[str]) -> None:
        self.name = "apprise"
        self._library = _library()
        self._services = [self._service(number, url) for number, url in enumerate(urls, 1)]
        self._taken: OrderedDict[str, set[int]] = OrderedDict()
        # Its own threads: what hangs there must not keep others from theirs.
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="apprise")

    def wants(self, notice: Report) -> bool:
        """All that is there to be read."""
        return notice.level != "log" or notice.kind != "news"

    async def notify(self, notice: Report) -> None:
        """Tell all services that have not taken it yet; see ``Channel.notify``."""
        taken = self._taken.setdefault(notice.notice_id, set())
        while len(self._taken) > _REMEMBERED:
            self._taken.popitem(last=False)
        waiting = [number for number in range(len(self._services)) if number not in taken]
        done = await asyncio.gather(*(self._tell(self._services[number], notice) for number in waiting))
        taken |= {number for number, is_done in zip(waiting, done, strict=True) if is_done}
        failed = [str(number + 1) for number, is_done in zip(waiting, done, strict=True) if not is_done]
        if failed:
            raise Unreachable(f"Apprise could not tell number {', '.join(failed)} of alerts.apprise.urls")

    async def _tell(self, service: Any, notice: Report) -> bool:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(ATTEMPT_S):
                return bool(await loop.run_in_executor(self._threads, self._notify, service, notice))
        except TimeoutError:
            return False

    def _notify(self, service: Any, notice: Report) -> bool:
        library = self._library
        types = library.NotifyType
        kind = types.SUCCESS if notice.kind == "resolved" else types.FAILURE if notice.level == "page" else types.INFO
        attach = None
        if notice.chart:
            memory = importlib.import_module("apprise.attachment.memory").AttachMemory
            attach = memory(content=notice.chart, name="chart.png", mimetype="image/png")
        return bool(
            service.notify(
                title=heading(notice)[:250],
                body=_body(notice),
                notify_type=kind,
                body_format=library.NotifyFormat.TEXT,
                attach=attach,
            )
        )

    def _service(self, number: int, url: str) -> Any:
        service = self._library.Apprise()
        if not service.add(url):
            raise ValueError(f"alerts.apprise.urls: Apprise knows no service for number {number} of them (apprise --help)")
        return service


def _library() -> Any:
    try:
        library = importlib.import_module("apprise")
    except ImportError:
        raise ValueError("alerts.apprise.urls: Apprise is not installed: pip install 'rollout-guardian[apprise]'") from None
    # It logs addresses, which hold secrets.
    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
    return library


def _body(notice: Report) -> str:
    links = "\n".join(f"{one_line(link.text)}: {link.href}" for link in notice.links)
    parts = (clean(notice.text), links, clean(notice.body))
    return cut("\n\n".join(part for part in parts if part), _BODY_LONGEST)
