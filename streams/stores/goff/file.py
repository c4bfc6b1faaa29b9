"""A file that others read and edit: read as text, and replaced at once or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from guardian.ports import StoreError, StoreUnavailable
from streams.stores.shares.backend import NotTaken
from streams.stores.shares.flag import Malformed

LOCK_S = 1.0
"""How long another guardian's change is waited for."""
_POLL_S = 0.005


def read_text(path: Path) -> str:
    """
    What the file holds.

    Raises:
        Malformed: it is no UTF-8.
        StoreUnavailable: it is not there now, or cannot be read.
        StoreError: the guardian may not read it.
    """
    with _told(path, "read"):
        try:
            return path.read_bytes().decode()
        except UnicodeDecodeError as error:
            raise Malformed(f"it is no UTF-8: {error}") from None


def change_text(path: Path, change: Callable[[str], str]) -> None:
    """
    Replace what the file holds by what *change* makes of it, under the lock that all guardians take.

    Editors take no lock: what one of them saves while *change* thinks is found and stays. What is saved in the
    microseconds between that look and the replacement is lost.

    Raises:
        NotTaken: somebody else has changed it meanwhile; nothing was done.
        StoreUnavailable, StoreError: as `read_text`, or it cannot be written; nothing was done.
    """
    with _told(path, "write"):
        target = Path(os.path.realpath(path))
        with _locked(target), _beside(target) as made:
            before = _stamp(target)
            text = change(read_text(target))
            _fill(made, text)
            _as_before(made, target)
            # Who compares times must find it newer, whatever the clock of whoever wrote it before.
            os.utime(made, ns=(time.time_ns(), max(time.time_ns(), before[0] + 1_000_000)))
            if _stamp(target) != before:
                raise NotTaken("somebody has saved the file meanwhile")
            made.replace(target)


@contextlib.contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """A new file in the same folder, gone at the end unless it has taken another place."""
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".new")
    os.close(handle)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _fill(made: Path, text: str) -> None:
    with made.open("wb") as file:
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def _locked(target: Path) -> Iterator[None]:
    """Hold the lock of the file's folder, which outlives replacements of the file."""
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        deadline_s = time.monotonic() + LOCK_S
        while True:
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline_s:
                    raise StoreUnavailable(f"{target}: somebody else holds the lock of its folder for {LOCK_S:g} s") from None
                time.sleep(_POLL_S)
        yield
    finally:
        os.close(folder)


@contextlib.contextmanager
def _told(path: Path, what: str) -> Iterator[None]:
    try:
        yield
    except PermissionError:
        raise StoreError(f"{path}: may not {what} it; give the guardian's user the right to {what} it and its folder") from None
    except OSError as error:
        raise StoreUnavailable(f"{path}: cannot {what} it: {error.strerror}") from None


def _as_before(made: Path, target: Path) -> None:
    """Give the new file the rights and the owner of the old one, as far as that may be done."""
    was = target.stat()
    made.chmod(was.st_mode & 0o7777)
    with contextlib.suppress(PermissionError):
        os.chown(made, was.st_uid, was.st_gid)


def _stamp(path: Path) -> tuple[int, int, int]:
    was = path.stat()
    return was.st_mtime_ns, was.st_size, was.st_ino
