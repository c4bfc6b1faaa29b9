"""What is installed from the project is what is run: locks, package data, the command."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def locked(name: str) -> dict[str, frozenset[str]]:
    """Each pinned requirement of a lock file (with its marker) and the hashes that it may have."""
    text = re.sub(r"\\\n\s+", " ", (ROOT / name).read_text())
    found = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            requirement, *hashes = line.split(" --hash=")
            found[requirement.strip()] = frozenset(one.strip() for one in hashes)
    return found


def names_in(lock: dict[str, frozenset[str]]) -> set[str]:
    return {re.split(r"[=\[ ;]", requirement)[0] for requirement in lock}


def names_of(requirements: list[str]) -> set[str]:
    return {re.split(r"[<>=~!;\[ ]", requirement)[0].lower().replace("_", "-") for requirement in requirements}


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-run.lock"])
def test_the_lock_pins_and_hashes_everything(name):
    """
    Every requirement of a lock has one version and hashes, and none an address that only one place can reach.
    """
    lock = locked(name)

    assert lock
    assert [] == [one for one in lock if not re.match(r"[a-z0-9-]+==[^ ;]+( ; .+)?$", one)]
    for requirement, hashes in lock.items():
        assert hashes, requirement
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", one) for one in hashes), requirement
    assert not re.search(r"https?://|--index-url|--find-links", (ROOT / name).read_text())


def test_the_locks_hold_what_the_project_asks_for():
    """
    A requirement that was added to the project is in the locks: `make lock` was run.
    """
    extras = PROJECT["optional-dependencies"]
    everything = PROJECT["dependencies"] + [one for extra in extras.values() for one in extra]
    to_run = PROJECT["dependencies"] + extras["build"] + extras["demo"] + extras["instrument"]

    assert names_of(everything) <= names_in(locked("requirements.lock"))
    assert names_of(to_run) <= names_in(locked("requirements-run.lock"))


def test_what_is_run_is_what_is_tested():
    """
    The image's lock holds no package that the tests' lock does not, in the same version with the same hashes.
    """
    tested = locked("requirements.lock")

    assert {} == {one: hashes for one, hashes in locked("requirements-run.lock").items() if tested.get(one) != hashes}


def test_the_wheel_holds_what_runs(tmp_path):
    """
    A wheel of the project, built as the image builds it, has every module and every file beside them, and the command.
    """
    # A copy: building leaves files behind, and would take up those of the last time.
    for package in ("guardian", "streams", "demo"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run([*command, "--wheel-dir", "wheels", "."], cwd=tmp_path, capture_output=True, text=True)
    assert 0 == done.returncode, done.stderr
    (wheel,) = tmp_path.glob("wheels/*.whl")
    held = zipfile.ZipFile(wheel).namelist()

    wanted = [
        str(path.relative_to(ROOT))
        for package in ("guardian", "streams", "demo")
        for path in (ROOT / package).rglob("*")
        if path.suffix in (".py", ".html", ".js", ".css", ".svg", ".json", ".yaml") and "__pycache__" not in path.parts
    ]
    assert [] == [name for name in wanted if name not in held]
    assert not any(name.startswith(("tests/", "bench/")) for name in held)
    (entry_points,) = [name for name in held if name.endswith("entry_points.txt")]
    assert b"guardian = streams.apps.cli:main" in zipfile.ZipFile(wheel).read(entry_points)
