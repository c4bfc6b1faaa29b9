"""One Kafka broker of one's own (KRaft, no Docker), which a test may stop, kill and start again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from demo.ports import free_ports
from tests.kafka import archive
from tests.kafka.jars import jars

READY_S = 60.0
STOP_S = 20.0
ASK_S = 1.0


class KafkaServer:
    """
    A broker process; its data survives ``kill`` and ``restart``, and stays in *workdir* when it ends.

    *ports* are those of clients and of controllers, free ones by default; brokers of one *cluster* share its id.
    One that *is_short_lived* is not compiled as well as it could be: that takes longer than it gives back.
    *users* may log in by SCRAM, each with a password; *client* is how librdkafka asks whether the broker is up.
    """

    def __init__(
        self,
        workdir: Path,
        *,
        properties: Mapping[str, str] | None = None,
        heap_mb: int = 768,
        is_short_lived: bool = False,
        ports: tuple[int, int] | None = None,
        cluster: str = "",
        users: Mapping[str, str] | None = None,
        client: Mapping[str, str] | None = None,
    ) -> None:
        port, controller_port = ports or free_ports(2)
        self.bootstrap = f"127.0.0.1:{port}"
        self.workdir = workdir
        self._heap_mb = heap_mb
        self._compiler = ["-XX:TieredStopAtLevel=1"] if is_short_lived else []
        self._cluster = cluster or new_cluster_id()
        self._users = users or {}
        self._client = client or {"bootstrap.servers": self.bootstrap}
        self._properties = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
            "listeners": f"PLAINTEXT://{self.bootstrap},CONTROLLER://127.0.0.1:{controller_port}",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": str(workdir / "data"),
            "num.partitions": "4",
            # A killed broker is let in again as soon as the controller has noticed that it was gone.
            "broker.session.timeout.ms": "3000",
            "broker.heartbeat.interval.ms": "500",
            # As in well-kept clusters: a topic that nobody made is an error, not a surprise.
            "auto.create.topics.enable": "false",
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "4",
            "transaction.abort.timed.out.transaction.cleanup.interval.ms": "500",
            "group.initial.rebalance.delay.ms": "0",
            **(properties or {}),
        }
        self._more_options: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def start(cls, workdir: Path, *, properties: Mapping[str, str] | None = None, heap_mb: int = 768) -> Self:
        """
        Start a broker that keeps its data in *workdir*; return once it takes requests.

        Raises:
            RuntimeError: it cannot be had or does not start; the text holds what it said.
        """
        server = cls(workdir, properties=properties, heap_mb=heap_mb)
        server.begin()
        return server

    def begin(self) -> None:
        """
        Start the broker for the first time; return once it takes requests.

        Raises:
            RuntimeError: as ``start``.
        """
        self.format()
        self.restart()

    def restart(self) -> None:
        """Start the broker again, on the same ports with the same data, after ``stop`` or ``kill``."""
        self.launch()
        self.wait()

    @property
    def is_running(self) -> bool:
        """Whether it was launched and neither stopped nor killed since."""
        return self._process is not None

    def launch(self) -> None:
        """Start the broker's process, and do not wait for it."""
        assert self._process is None, "the broker runs already"
        with Path(self.workdir, "kafka.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*dies_with(os.getpid()), *self._java("kafka.Kafka", str(self._file))],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a Ctrl-C is for the tests, which then stop it in good order
            )

    def stop(self) -> None:
        """End the broker in good order; nothing if it does not run."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the broker as a power cut does."""
        self._end(signal.SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def _file(self) -> Path:
        return self.workdir / "server.properties"

    def format(self) -> None:
        """
        Make the folder in which it keeps its data.

        Raises:
            RuntimeError: that did not work; the text holds what it said.
        """
        if not self._more_options:
            prepare()
        self.workdir.mkdir(parents=True, exist_ok=True)
        self._file.write_text("".join(f"{name}={value}\n" for name, value in self._properties.items()))
        users = [f"SCRAM-SHA-512=[name={name},password={password}]" for name, password in self._users.items()]
        more = [word for user in users for word in ("--add-scram", user)]
        command = self._java("kafka.tools.StorageTool", "format", "-t", self._cluster, "-c", str(self._file), *more)
        done = subprocess.run(command, capture_output=True, text=True, timeout=READY_S, check=False)
        if done.returncode:
            raise RuntimeError(f"Kafka's storage could not be made:\n{done.stdout}{done.stderr}")

    def _java(self, *command: str) -> list[str]:
        # A short-lived broker gains more from a quick start than from the best garbage collector.
        options = [f"-Xmx{self._heap_mb}m", "-XX:+UseSerialGC", *self._compiler, *self._more_options]
        return ["java", *options, *archive.reading(), "-cp", f"{jars()}/*", *command]

    def wait(self) -> None:
        """
        Return once it takes requests.

        Raises:
            RuntimeError: it does not; the text holds what it said.
        """
        assert self._process is not None, "launch it first"
        deadline_s = time.monotonic() + READY_S
        while not takes_requests(**self._client):
            if self._process.poll() is not None or time.monotonic() > deadline_s:
                self.kill()
                said = Path(self.workdir, "kafka.log").read_text(errors="replace")[-4000:]
                raise RuntimeError(f"Kafka does not take requests at {self.bootstrap}:\n{said}")

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def prepare() -> None:
    """
    Get what every broker needs, if it is not there: Kafka's jars, and its classes as Java has them once they are loaded.

    Raises:
        RuntimeError: it cannot be had; the text holds what was said.
    """
    archive.make(_run_once)


def _run_once(options: list[str]) -> None:
    """Start a broker with these options of Java, and end it in good order."""
    with tempfile.TemporaryDirectory() as place:
        server = KafkaServer(Path(place), is_short_lived=True)
        server._more_options = options
        with server:
            server.begin()


def new_cluster_id() -> str:
    """Kafka writes a UUID as 22 characters of base64 and refuses a leading dash; hexadecimal digits are both."""
    return uuid.uuid4().hex[:22]


def takes_requests(bootstrap: str = "", **options: str) -> bool:
    """Whether a broker answers there, asked for up to a second; *options* are more that librdkafka is told."""
    named = {"bootstrap.servers": bootstrap} if bootstrap else {}
    client = AdminClient({**named, **options, "log_level": 0, "reconnect.backoff.max.ms": 200})
    try:
        return bool(client.list_topics(timeout=ASK_S).brokers)
    except KafkaException:
        return False


_DIES_WITH = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
if os.getppid() != int(sys.argv[1]):  # it died just before
    sys.exit(1)
os.execvp(sys.argv[2], sys.argv[2:])
"""


def dies_with(parent: int) -> list[str]:
    """
    What a command is started by, so that tests that are killed leave no broker behind.

    A process of its own, not something between fork and exec: there the threads of a test's gRPC may hang.
    """
    return [sys.executable, "-I", "-S", "-c", _DIES_WITH, str(parent)] if sys.platform == "linux" else []
