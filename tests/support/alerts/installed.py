"""The real Alertmanager: the one on the path, or Debian's package, installed by whoever may."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

PACKAGE = "prometheus-alertmanager"
_NAMES = (PACKAGE, "alertmanager")
GET_S = 120.0


class NoAlertmanagerError(Exception):
    """It cannot be had here; the text says what was looked for."""


def alertmanager() -> str:
    """
    Return its program; the first call installs it (11 MB), where that is allowed.

    Debian's looks for its templates under ``/usr/share``, so that it cannot just be unpacked into a cache.

    Raises:
        NoAlertmanagerError: there is none, and no way to get it.
    """
    if found := _found():
        return found
    if not shutil.which("apt-get") or os.geteuid() != 0:
        raise NoAlertmanagerError(f"there is no {' nor '.join(_NAMES)} on the path; as root: apt-get install {PACKAGE}")
    # One worker of the tests installs, the others wait for it.
    with Path(tempfile.gettempdir(), f"installing-{PACKAGE}").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        said = "" if _found() else _install()
    if not (found := _found()):
        raise NoAlertmanagerError(f"apt-get does not install {PACKAGE}: {said.strip()[-300:]}")
    return found


def _found() -> str:
    return next(filter(None, map(shutil.which, _NAMES)), "")


def _install() -> str:
    install = ("install", "-y", "-qq", "--no-install-recommends", PACKAGE)
    said = _apt(*install)
    if said:  # perhaps there are no lists of packages yet
        said = _apt("update", "-qq") or _apt(*install)
    return said


def _apt(*words: str) -> str:
    """What it complained of; nothing where it worked."""
    # On a runlevel of 1 no service is started: tests start their own.
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    command = ["apt-get", "-o", "DPkg::Lock::Timeout=60", *words]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=GET_S, check=False)
    return (done.stderr or "it says nothing") if done.returncode else ""
