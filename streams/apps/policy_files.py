"""Policy files as they stand now: read again when one has changed."""

from __future__ import annotations

from collections.abc import Container, Iterable
from datetime import UTC, datetime
from pathlib import Path

from streams.policies import ALONE, Beside, PolicyFile, files_in, read_policies

Stamps = dict[str, tuple[int, int]]
"""When each file was last written (nanoseconds since the epoch), and its size in bytes; (0, 0) for one that is not there."""


class PolicyFiles:
    """
    ``files`` is what the paths held when they were last read; nothing before the first ``look``.

    Where it is told which rollouts are *known*, a new one whose calendar is over is a problem.
    """

    def __init__(self, paths: Iterable[Path], known: Container[str] | None = None) -> None:
        self.files: list[PolicyFile] = []
        self._known = known
        self._paths = tuple(paths)
        self._read: Stamps | None = None
        self._seen: Stamps | None = None

    def look(self, *, patient: bool = False) -> bool:
        """
        Read the files again if one has changed, come or gone, and say whether they were read.

        With *patient* only once all have stood still from one look to the next: half a file may be a policy, too.
        """
        now = _stamps(self._paths)
        if now == self._read:
            return False
        moving, self._seen = now != self._seen, now
        if patient and moving and self._read is not None:
            return False
        beside = ALONE if self._known is None else Beside(now=datetime.now(UTC), known=self._known)
        self.files, self._read = read_policies(self._paths, beside=beside), now
        return True

    @property
    def problems(self) -> list[str]:
        """Everything that is wrong in them, as ``file:line: what``."""
        return [str(problem) for file in self.files for problem in file.problems]


def _stamps(paths: Iterable[Path]) -> Stamps:
    return {str(file): _stamp(file) for path in paths for file in files_in(path) if isinstance(file, Path)}


def _stamp(file: Path) -> tuple[int, int]:
    try:
        found = file.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size
