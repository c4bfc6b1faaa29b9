"""The served document as a file, for flagd and for providers that read one; whole at every moment, and always valid."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
import time
from pathlib import Path

import structlog

from streams.stores.flagd.documents import Documents

LOOK_S = 0.5
"""So often the file is looked at: somebody may have changed or removed it, or made the directory writable again."""
AGAIN_S = 5.0
"""So long after a change it is written once more; see `FlagFile`."""
NEW_MODE = 0o644
_NEWER_NS = (1_000_000, 1_000_000_000, 2_000_000_000)
"""By so much a file must be newer to be seen, on file systems of ever coarser times."""
_LEFT_OVER_S = 60.0

log = structlog.get_logger(__name__)

Stamp = tuple[int, int, int]
"""What tells one content of a file from another without reading it: inode, size, time of change."""


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
            is_ours = self._stamp == await asyncio.to_thread(_stamp_of, self.path)
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


def replace(path: Path, content: bytes) -> Stamp | None:
    """
    Put *content* in the file's place, at once and for good, with a time after the one it had; its rights stay.

    What is returned tells this content from any other that is put there later. Where *path* is a link, what it
    leads to is replaced.

    Raises:
        OSError: it cannot be written; what was there is there still.
    """
    target = Path(os.path.realpath(path))
    prefix = f".{target.name}."
    _sweep(target.parent, prefix)
    handle, making = tempfile.mkstemp(prefix=prefix, suffix=".guardian", dir=target.parent)
    try:
        with open(handle, "wb") as file:  # noqa: PTH123 - of a handle
            file.write(content)
            file.flush()
            _as_before(file.fileno(), target)
            os.fsync(file.fileno())
        _make_newer(Path(making), _changed_ns(target))
        # Before it takes its place: after that it may be another's already.
        stamp = _stamp_of(Path(making))
        Path(making).replace(target)
    except BaseException:
        Path(making).unlink(missing_ok=True)
        raise
    directory = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return stamp


def _as_before(handle: int, target: Path) -> None:
    try:
        was = target.stat()
    except FileNotFoundError:
        os.fchmod(handle, NEW_MODE)
        return
    try:
        os.fchown(handle, was.st_uid, was.st_gid)
    except PermissionError:
        pass  # another's file in a directory of ours: its name stays, its owner cannot
    os.fchmod(handle, was.st_mode & 0o7777)


def _make_newer(path: Path, than_ns: int) -> None:
    """Give the file a time after *than_ns* as its file system keeps it, and as those see it who count in floats."""
    if _changed_ns(path) >= than_ns + _NEWER_NS[0]:
        return
    for step_ns in _NEWER_NS:
        os.utime(path, ns=(than_ns + step_ns, than_ns + step_ns))
        if _changed_ns(path) > than_ns:
            return


def _changed_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _stamp_of(path: Path) -> Stamp | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _sweep(directory: Path, prefix: str) -> None:
    """Remove what a writer that was killed has left."""
    for left in directory.glob(f"{prefix}*.guardian"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > _LEFT_OVER_S:
                left.unlink()
