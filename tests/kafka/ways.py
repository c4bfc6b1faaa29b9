"""Where a real Kafka can be had on this machine: ``KAFKA_BOOTSTRAP``, else Java with Maven, else Docker."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from enum import Enum
from pathlib import Path

from tests.kafka.jars import cached_jars

JAVA_LEAST = 17
ANSWER_S = 20.0


class NoKafkaError(Exception):
    """No real Kafka can be had here; the text says what was looked for and what to do."""


class Way(Enum):
    """How a real Kafka is had."""

    GIVEN = "KAFKA_BOOTSTRAP"
    JAVA = "Java"
    DOCKER = "Docker"


def find_way() -> Way:
    """
    The way to take, in the order of the class.

    Raises:
        NoKafkaError: there is none.
    """
    if os.environ.get("KAFKA_BOOTSTRAP"):
        return Way.GIVEN
    without_java = why_no_java(cached_jars())
    if not without_java:
        return Way.JAVA
    without_docker = _why_no_docker()
    if not without_docker:
        return Way.DOCKER
    raise NoKafkaError(f"KAFKA_BOOTSTRAP is not set; {without_java}; {without_docker}")


def can_own() -> bool:
    """Whether a test can have a broker of its own to stop and kill, whatever ``find_way`` says."""
    return not why_no_java(cached_jars())


def why_no_java(jars: Path | None, what: str = "Kafka") -> str:
    """Why *what* cannot be run by Java here, whose *jars* are there already or are to be got; empty if it can."""
    if not shutil.which("java"):
        return f"there is no Java (it needs {JAVA_LEAST} or newer)"
    said = subprocess.run(["java", "-version"], capture_output=True, text=True, timeout=ANSWER_S, check=False).stderr
    version = re.search(r'version "(\d+)', said)
    if version is None or int(version[1]) < JAVA_LEAST:
        return f"Java is older than {JAVA_LEAST} ({said.splitlines()[0] if said else 'it says no version'})"
    if not shutil.which("mvn") and jars is None:
        return f"there is Java, but no Maven (mvn) to get {what} with"
    return ""


def _why_no_docker() -> str:
    if not shutil.which("docker"):
        return "there is no Docker"
    try:
        answer = subprocess.run(["docker", "info"], capture_output=True, timeout=ANSWER_S, check=False)
    except subprocess.TimeoutExpired:
        return f"no Docker engine answers within {ANSWER_S:g} s"
    return "" if answer.returncode == 0 else "there is a docker command, but no engine answers it"
