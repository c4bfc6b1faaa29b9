"""The served document as a file, for flagd and for providers that read one; whole at every moment, and always valid."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path

import structlog

from streams.stores.flagd.documents import Documents
from streams.stores.replacing import Stamp, replace, stamp_of

LOOK_S = 0.5
"""So often the file is looked at: somebody may have changed or removed it, or made the directory writable again."""
AGAIN_S = 5.0
"""So long after a change it is written once more; see `FlagFile`."""

log = structlog.get_logger(__name__)


class FlagFile:
    """
    Keeps *path* to what *documents* serves, while ``run`` runs: at its start, at every change, and where others changed it.

    ``problem`` says why it cannot; it is tried again until it can. Readers compare times, so each content is newer than
    the last. A reader that takes the time after reading (the official Python provider, at its start) may have
    read the content before; so it is written once more a while after each change.
    """

    def __init__(self, path: Path | str, documents: Documents, *, look_s: float = LOOK_S) -> None:
        self.path, self.problem, self.written = Path(path), "", 0
        self._documents, self._look_s = documents, look_s
        self._text, self._again_s = "", float("inf")
        self._stamp: Stamp | None = None

    async def run(self) -> None:
        """Keep it until cancelled."""
        changed = asyncio.Event()
        forget = self._documents.subscribe(changed.set)
        try:
            while True:
                changed.clear()
                await self._keep()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._look_s):
                        await changed.wait()
        finally:
            forget()

    async def _keep(self) -> None:
        text = self._documents.text
        try:
            is_again = time.monotonic() >= self._again_s
            is_ours = self._stamp == await asyncio.to_thread(stamp_of, self.path)
            if text != self._text or is_again or not is_ours:
                self._stamp = await asyncio.to_thread(replace, self.path, text.encode())
                self._again_s = float("inf") if is_again and text == self._text else time.monotonic() + AGAIN_S
                self._text = text
                self.written += 1
        except OSError as error:
            self._say(f"flagd.file {self.path} is not written: {error.strerror or error}")
        else:
            self._say("")

    def _say(self, problem: str) -> None:
        if problem and problem != self.problem:
            log.error("flag_file_not_written", path=str(self.path), reason=problem)
        elif self.problem and not problem:
            log.info("flag_file_written_again", path=str(self.path))
        self.problem = problem
