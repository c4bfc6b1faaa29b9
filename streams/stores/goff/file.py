"""A file that others read and edit: read as text, and replaced at once or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from guardian.ports import StoreError, StoreUnavailable
from streams.stores.replacing import replace, stamp_of
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
        with _locked(target):
            before = stamp_of(target)

            def look_again() -> None:
                if stamp_of(target) != before:
                    raise NotTaken("somebody has saved the file meanwhile")

            replace(target, change(read_text(target)).encode(), just_before=look_again)


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
