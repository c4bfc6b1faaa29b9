"""Jars that tests run, from Maven Central by Maven, kept in the user's cache directory."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

DOWNLOAD_S = 300.0


def _directory(name: str) -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "rollout-guardian" / name


def cached(name: str) -> Path | None:
    """The directory of the jars called *name* (which holds their version), if they were got before."""
    directory = _directory(name)
    return directory if directory.is_dir() else None


def copied(name: str, pom: str) -> Path:
    """
    The directory of the jars that *pom* depends on; the first call downloads them.

    Raises:
        RuntimeError: Maven could not; the text holds what it said.
    """
    directory = _directory(name)
    if directory.is_dir():
        return directory
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent) as making:
        file = Path(making, "pom.xml")
        file.write_text(pom)
        options = [f"-DoutputDirectory={making}/jars", "-DincludeScope=runtime"]
        maven = subprocess.run(
            ["mvn", "-q", "-B", "-f", str(file), "dependency:copy-dependencies", *options],
            capture_output=True,
            text=True,
            timeout=DOWNLOAD_S,
            check=False,
        )
        if maven.returncode:
            raise RuntimeError(f"Maven could not get {name}:\n{maven.stdout[-2000:]}{maven.stderr[-2000:]}")
        try:
            Path(making, "jars").rename(directory)
        except OSError:  # another run was quicker
            shutil.rmtree(Path(making, "jars"), ignore_errors=True)
    return directory
