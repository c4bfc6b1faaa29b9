"""Apache Kafka's own jars, from Maven Central by Maven, kept in the user's cache directory."""

from __future__ import annotations

from pathlib import Path

from tests.support.maven import cached, copied

VERSION = "4.3.0"
_NAME = f"kafka-{VERSION}"

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


def cached_jars() -> Path | None:
    """The directory of the jars, if they were got before."""
    return cached(_NAME)


def jars() -> Path:
    """
    The directory of the jars; the first call downloads them (44 MB).

    Raises:
        RuntimeError: Maven could not; the text holds what it said.
    """
    return copied(_NAME, _POM)
