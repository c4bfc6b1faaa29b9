"""Apache Kafka's own jars, from Maven Central by Maven, kept in the user's cache directory."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

VERSION = "4.3.0"
DOWNLOAD_S = 300.0

_POM = f"""\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>dev.rolloutguardian</groupId><artifactId>test-kafka</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-nop</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
"""


def _directory() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "rollout-guardian" / f"kafka-{VERSION}"


def cached_jars() -> Path | None:
    """The directory of the jars, if they were got before."""
    directory = _directory()
    return directory if directory.is_dir() else None


def jars() -> Path:
    """
    The directory of the jars; the first call downloads them (44 MB).

    Raises:
        RuntimeError: Maven could not; the text holds what it said.
    """
    directory = _directory()
    if directory.is_dir():
        return directory
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent) as making:
        pom = Path(making, "pom.xml")
        pom.write_text(_POM)
        options = [f"-DoutputDirectory={making}/jars", "-DincludeScope=runtime"]
        maven = subprocess.run(
            ["mvn", "-q", "-B", "-f", str(pom), "dependency:copy-dependencies", *options],
            capture_output=True,
            text=True,
            timeout=DOWNLOAD_S,
            check=False,
        )
        if maven.returncode:
            raise RuntimeError(f"Maven could not get Kafka {VERSION}:\n{maven.stdout[-2000:]}{maven.stderr[-2000:]}")
        try:
            Path(making, "jars").rename(directory)
        except OSError:  # another run was quicker
            shutil.rmtree(Path(making, "jars"), ignore_errors=True)
    return directory
