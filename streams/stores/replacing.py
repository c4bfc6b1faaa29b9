"""A file that others read while it changes: what is in it is replaced at once and whole, and each time by something newer."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

NEW_MODE = 0o644
_NEWER_NS = (1_000_000, 1_000_000_000, 2_000_000_000)
"""By so much a file must be newer to be seen, on file systems of ever coarser times."""
_LEFT_OVER_S = 60.0

Stamp = tuple[int, int, int]
"""What tells one content of a file from another without reading it: inode, size, time of change."""


def replace(path: Path, content: bytes, *, just_before: Callable[[], None] = lambda: None) -> Stamp | None:
    """
    Put *content* in the file's place, at once and for good, with a time after the one it had; its rights stay.

    What is returned tells this content from any other that is put there later. Where *path* is a link, what it
    leads to is replaced. *just_before* that is done it may still be stopped, by raising.

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
        stamp = stamp_of(Path(making))
        just_before()
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


def stamp_of(path: Path) -> Stamp | None:
    """The stamp of what is there now; ``None`` where nothing is."""
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
