"""The same broker in a container, where there is a Docker engine but no Java."""

from __future__ import annotations

import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from demo.ports import free_ports
from tests.kafka.jars import VERSION
from tests.kafka.server import READY_S, takes_requests

IMAGE = f"apache/kafka:{VERSION}"
PULL_S = 600.0


@contextmanager
def container() -> Iterator[str]:
    """
    Run the broker for as long as the context lasts; yields its address.

    Raises:
        RuntimeError: the image cannot be had, or the broker does not start.
    """
    (port,) = free_ports(1)
    name = f"guardian-kafka-{uuid.uuid4().hex[:8]}"
    published = f"127.0.0.1:{port}:{port}"
    _docker("run", "--detach", "--rm", "--name", name, "--publish", published, *_environment(port), IMAGE)
    try:
        deadline_s = time.monotonic() + READY_S
        while not takes_requests(f"127.0.0.1:{port}"):
            if time.monotonic() > deadline_s:
                raise RuntimeError(f"{IMAGE} does not take requests:\n{_docker('logs', '--tail', '40', name)}")
        yield f"127.0.0.1:{port}"
    finally:
        _docker("rm", "--force", name)


def _environment(port: int) -> list[str]:
    properties = {
        "NODE_ID": "1",
        "PROCESS_ROLES": "broker,controller",
        "LISTENERS": f"PLAINTEXT://:{port},CONTROLLER://:19093",
        "ADVERTISED_LISTENERS": f"PLAINTEXT://127.0.0.1:{port}",
        "CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "CONTROLLER_QUORUM_VOTERS": "1@localhost:19093",
        "LISTENER_SECURITY_PROTOCOL_MAP": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        "NUM_PARTITIONS": "4",
        "AUTO_CREATE_TOPICS_ENABLE": "false",
        "OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
    }
    return [part for name, value in properties.items() for part in ("--env", f"KAFKA_{name}={value}")]


def _docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=PULL_S, check=False)
    if done.returncode:
        raise RuntimeError(f"docker {arguments[0]}: {done.stderr.strip()}")
    return done.stdout + done.stderr
