"""
The clients themselves, from npm, Maven Central and PyPI, kept in the user's cache directory.

Each is a directory of its own, named after what is in it. It is made beside its place and moved there when it is whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

DOWNLOAD_S = 300.0
ANSWER_S = 20.0
NODE_LEAST, JAVA_LEAST = 20, 17
_NODE = {"@openfeature/server-sdk": "1.23.0", "@grpc/grpc-js": "1.14.7"}
NODE_PINNED = {
    **_NODE, "@openfeature/flagd-provider": "0.13.4", "@openfeature/ofrep-provider": "0.1.3",
    "@openfeature/web-sdk": "1.10.0", "@openfeature/ofrep-web-provider": "0.4.3",
}  # fmt: skip
NODE_NEWEST = {**_NODE, "@openfeature/flagd-provider": "0.16.1"}
PYTHON_PINNED = ("openfeature-provider-flagd==0.3.0", "openfeature-sdk==0.10.0")
_JAVA = """\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>dev.rolloutguardian</groupId><artifactId>test-clients</artifactId><version>1</version>
  <dependencies>
    <dependency>
      <groupId>dev.openfeature.contrib.providers</groupId><artifactId>flagd</artifactId><version>0.11.15</version>
    </dependency>
    <dependency><groupId>dev.openfeature</groupId><artifactId>sdk</artifactId><version>1.22.0</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-nop</artifactId><version>2.0.16</version></dependency>
  </dependencies>
</project>
"""
_CLIENT = Path(__file__).parent / "Client.java"


def why_none() -> str:
    """Why the clients cannot be had here; empty if they can."""
    return _why_no("node", NODE_LEAST, "--version", "npm") or _why_no("java", JAVA_LEAST, "-version", "mvn")


def node_modules(packages: dict[str, str]) -> Path:
    """
    The directory that holds these packages of npm.

    Raises:
        RuntimeError: npm could not get them; the text holds what it said.
    """

    def make(making: Path) -> None:
        (making / "package.json").write_text(json.dumps({"private": True, "dependencies": packages}))
        _run(["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(making)])

    return _kept("node", json.dumps(packages), make) / "node_modules"


def java_classes() -> str:
    """
    The class path of the Java client and all that it needs.

    Raises:
        RuntimeError: Maven could not get it, or it does not compile; the text holds what was said.
    """

    def make(making: Path) -> None:
        (making / "pom.xml").write_text(_JAVA)
        options = [f"-DoutputDirectory={making / 'jars'}", "-DincludeScope=runtime"]
        _run(["mvn", "-q", "-B", "-f", str(making / "pom.xml"), "dependency:copy-dependencies", *options])
        if shutil.which("javac"):  # without it, each start compiles the source
            _run(["javac", "-cp", f"{making / 'jars'}/*", "-d", str(making / "classes"), str(_CLIENT)])

    kept = _kept("java", _JAVA + _CLIENT.read_text(), make)
    return f"{kept / 'jars'}/*{os.pathsep}{kept / 'classes'}"


def java_command() -> list[str]:
    """What starts the Java client; see `java_classes`."""
    classes = java_classes()
    compiled = Path(classes.rpartition(os.pathsep)[2], "Client.class").is_file()
    # Little memory, one thread for rubbish, and no compiling for speed: it starts sooner, and asks little.
    options = ["-Xmx192m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
    return ["java", *options, "-cp", classes, "Client" if compiled else str(_CLIENT)]


def python_of(packages: tuple[str, ...]) -> Path:
    """
    A Python that has these packages.

    Raises:
        RuntimeError: they cannot be got; the text holds what was said.
    """

    def make(making: Path) -> None:
        uv = [sys.executable, "-m", "uv"]
        _run([*uv, "venv", "-q", "--relocatable", "--python", sys.executable, str(making / "venv")])
        _run([*uv, "pip", "install", "-q", "--python", str(making / "venv" / "bin" / "python"), *packages])

    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return _kept("python", f"{version} {packages}", make) / "venv" / "bin" / "python"


def _kept(kind: str, content: str, make: Callable[[Path], None]) -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rollout-guardian"
    directory = cache / f"clients-{kind}-{hashlib.sha256(content.encode()).hexdigest()[:12]}"
    if directory.is_dir():
        return directory
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, ignore_cleanup_errors=True) as making:
        made = Path(making, "made")
        made.mkdir()
        make(made)
        try:
            made.rename(directory)
        except OSError:  # another run was quicker
            pass
    return directory


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=DOWNLOAD_S, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[0]} could not get the clients:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def _why_no(name: str, least: int, flag: str, getter: str) -> str:
    if not shutil.which(name):
        return f"there is no {name}; {least} or newer is needed"
    done = subprocess.run([name, flag], capture_output=True, text=True, timeout=ANSWER_S, check=False)
    version = re.search(r"(\d+)[.\d]*", done.stdout + done.stderr)
    if version is None or int(version[1]) < least:
        return f"{name} is older than {least}"
    return "" if shutil.which(getter) else f"there is {name}, but no {getter} to get the clients with"
