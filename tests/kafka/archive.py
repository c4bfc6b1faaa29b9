"""Kafka's classes as a Java of this machine has them once they are loaded: brokers start in half the time with them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from tests.kafka.jars import jars


def _file() -> Path:
    """Where it is kept, beside the jars; another Java has another one."""
    java = Path(shutil.which("java") or "java").resolve()
    return jars().with_name(f"{jars().name}-{sha256(str(java).encode()).hexdigest()[:12]}.jsa")


def reading() -> list[str]:
    """The option by which Java reads the archive, if there is one; one that does not fit any more is passed over by Java."""
    return [f"-XX:SharedArchiveFile={_file()}", "-Xlog:disable", "-Xlog:all=error:stderr"] if _file().exists() else []


def make(run: Callable[[list[str]], object]) -> None:
    """Make the archive if there is none: *run* a broker with these options, and end it in good order."""
    if (file := _file()).exists():
        return
    with tempfile.TemporaryDirectory(dir=file.parent) as making:
        made = Path(making, "made.jsa")
        run([f"-XX:ArchiveClassesAtExit={made}"])
        if made.exists():
            made.rename(file)
