"""An installation as a careful company runs it: each processor under its own name, with its own rights, over TLS."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from demo.ports import free_ports
from streams import wiring
from streams.keys import new_private, private_pem
from streams.rights import Right, rights_of
from streams.settings import Settings, load_settings
from streams.status import Status
from tests.kafka.secure import SecureKafka, grant
from tests.support.events import exposure, outcome
from tests.support.processes import Killable
from tests.support.started import end_process

FLAG = "checkout"
CERTIFIED = ("judge", "api")
"""These show a certificate, all others a password."""
PROCESSES = {"observe": ("observe",), "judge": ("judge",), "act": ("store", "act"), "report": ("report",), "api": ("api",)}
"""The processors that run under each name. Judge is a whole ``guardian run``, which publishes the policies."""
USERS = 200
READ_S = 20.0


class Pager:
    """Takes what is sent to PagerDuty and to the webhook, as they take it."""

    def __init__(self) -> None:
        self.pages: list[dict[str, Any]] = []
        pages = self.pages

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                if self.path == "/pages":
                    pages.append(body)
                self.send_response(202)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Secured:
    """The processes of an installation on *kafka*; ``secrets`` are all that must never be seen anywhere."""

    def __init__(self, folder: Path, kafka: SecureKafka, admin: AdminClient, pager: Pager) -> None:
        self.folder, self.kafka, self.admin, self.pager = folder, kafka, admin, pager
        self._workers: dict[str, Killable] = {}
        self._judge: subprocess.Popen[bytes] | None = None
        self._ports = dict(zip(("judge", "store", "page"), free_ports(3), strict=True))
        key, salt = private_pem(new_private()).decode(), secrets.token_hex(16)
        (folder / "signing.pem").write_text(key)
        (folder / "salt").write_text(salt)
        self.webhook = "whsec_" + "c2VjcmV0IG9mIHRoZSB3ZWJob29rLCBsb25nIGVub3VnaA=="
        self.routing_key = secrets.token_hex(16)
        self.secrets = [*kafka.passwords.values(), key.splitlines()[1], salt, self.webhook[6:], self.routing_key]
        flag = {
            "state": "ENABLED", "variants": {"control": "old", "treatment": "new"}, "defaultVariant": "control",
            "targeting": {"fractional": [["control", 50], ["treatment", 50]]},
        }  # fmt: skip
        (folder / "flags.json").write_text(json.dumps({"flags": {FLAG: flag}}))
        rule = {"when": "error_rate > 1.2x control", "then": "kill"}
        policy = {"flag": FLAG, "environment": "production", "owner": "team", "guardrails": [rule]}
        (folder / "policies.json").write_text(json.dumps(policy))

    def config(self, user: str, **changes: Any) -> Path:
        """Write the settings of a user; what is secret stands in files and variables."""
        name = user.removeprefix("guardian-")
        certified = name in CERTIFIED
        security = self.kafka.certified(user) if certified else self.kafka.security(user)
        document = {
            "kafka": {"bootstrap": self.kafka.mutual if certified else self.kafka.scram, "security": security},
            "partitions": 2,
            "signing": {"key_file": str(self.folder / "signing.pem")},
            "privacy": {"salt_file": str(self.folder / "salt")},
            "flagd": {"port": self._ports["store"], "document": str(self.folder / "flags.json")},
            "health": {"port": self._ports["judge"] if name == "judge" else 0},
            "api": {"port": self._ports["page"]},
            "alerts": {"pagerduty": {"url": f"{self.pager.url}/pages"}, "webhook": {"url": f"{self.pager.url}/hook"}},
            "policies": [str(self.folder / "policies.json")] if user == "guardian-judge" else [],
            **changes,
        }
        if not certified:
            # One of both ways to give a secret: this one is in a variable.
            del security["password_file"]
        file = self.folder / f"{user}.yaml"
        file.write_text(json.dumps(document))
        return file

    def environment(self, user: str) -> dict[str, str]:
        """The variables in which a user's secrets stand."""
        named = {
            "GUARDIAN_ALERTS__PAGERDUTY__ROUTING_KEY": self.routing_key,
            "GUARDIAN_ALERTS__WEBHOOK__SECRET": self.webhook,
        }
        if user.removeprefix("guardian-") not in CERTIFIED:
            named["GUARDIAN_KAFKA__SECURITY__PASSWORD"] = self.kafka.passwords[user]
        return named

    def settings(self, user: str, **changes: Any) -> Settings:
        """The settings of a user as its processes read them."""
        return load_settings(self.config(user, **changes), self.environment(user))

    def grant_all(self) -> None:
        """Give each processor what the table of rights says, and nothing else."""
        for name, processors in PROCESSES.items():
            user = f"guardian-{name}"
            settings = self.settings(user)
            needed = [right for processor in processors for right in rights_of(processor, settings)]
            grant(self.admin, user, dict.fromkeys(needed))
        topics = Settings().topics
        grant(self.admin, "service", [Right("Write", "topic", name) for name in topics.inputs])
        audited = (topics.journal, topics.decisions, topics.receipts)
        grant(self.admin, "auditor", [Right("Read", "topic", name) for name in audited])

    def command(self, *arguments: str, user: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the guardian as a user."""
        command = [sys.executable, "-m", "streams.apps.cli", *arguments, "--config", str(self.config(user))]
        environment = os.environ | self.environment(user)
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)

    @contextmanager
    def running(self) -> Iterator[None]:
        """All processes, until the context ends."""
        with contextlib.ExitStack() as stack:
            said = stack.enter_context(self._said("judge").open("wb"))
            user = "guardian-judge"
            command = [sys.executable, "-m", "streams.apps.cli", "run", "--only", "judge", "--config", str(self.config(user))]
            self._judge = subprocess.Popen(command, env=os.environ | self.environment(user), stdout=said, stderr=said)
            stack.callback(end_process, self._judge)
            for name, processors in PROCESSES.items():
                if name == "judge":
                    continue
                user = f"guardian-{name}"
                given = str(self.config(user)), self.environment(user)
                for processor in processors:
                    worker = Killable(_work, self._said(processor), processor, *given)
                    self._workers[processor] = stack.enter_context(worker)
            yield

    def asked(self, port: str, path: str) -> str:
        """What is answered over HTTP at one of the ports; empty while nobody is there."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._ports[port]}{path}", timeout=2) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            return str(error.read().decode())
        except OSError:
            return ""

    def is_ready(self) -> bool:
        assert self._judge is not None
        ended = [name for name, worker in self._workers.items() if worker.process.exitcode is not None]
        ended += ["judge"] if self._judge.poll() is not None else []
        assert not ended, "\n".join(f"{name} ended:\n{self._said(name).read_text()}" for name in ended)
        is_judging = json.loads(self.asked("judge", "/readyz") or '{"ready": false}')["ready"]
        return is_judging and all(worker.is_ready for worker in self._workers.values())

    def said(self) -> dict[str, str]:
        """What each process has logged."""
        return {name: self._said(name).read_text() for name in ("judge", *self._workers)}

    def _said(self, name: str) -> Path:
        return self.folder / f"{name}.said"

    def until(self, condition: Any, what: str, within_s: float = 60.0) -> Any:
        """What *condition* returns once that is true."""
        deadline_s = time.monotonic() + within_s
        while not (found := condition()):
            if time.monotonic() > deadline_s:
                told = "\n".join(f"--- {name}\n{said[-3000:]}" for name, said in self.said().items())
                raise AssertionError(f"not within {within_s:g} s: {what}\n{told}")
            time.sleep(0.1)
        return found

    def serve(self, producer: Producer, number: int) -> None:
        """One request of some user; of the treatment's, all fail."""
        user = number % USERS
        shown, now_ms = ("control", "treatment")[user % 2], time.time_ns() // 1_000_000
        common = {"context_id": unit(user), "time": now_ms, "source": "/service", "id": str(number)}
        ended = outcome({FLAG: shown}, outcome=("ok", "error")[user % 2], latency_ms=3.0, **common)
        inputs = Settings().topics
        for topic, event in ((inputs.exposures[0], exposure(FLAG, shown, **common)), (inputs.outcomes[0], ended)):
            producer.produce(topic, json.dumps(event).encode(), key=str(user))
        producer.poll(0)

    def records(self, topic: str) -> list[Any]:
        """All that stands in a topic, aborted transactions too, as the administrator reads it."""
        given = {"group.id": "none", "enable.auto.commit": False, "enable.partition.eof": True}
        consumer = Consumer({**self.kafka.librdkafka("admin"), **given, "isolation.level": "read_uncommitted"})
        found: list[Any] = []
        try:
            partitions = consumer.list_topics(topic, timeout=READ_S).topics[topic].partitions
            consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in partitions])
            unread, deadline_s = set(partitions), time.monotonic() + READ_S
            while unread:
                assert time.monotonic() < deadline_s, f"{topic}: not read to its end within {READ_S:g} s"
                record = consumer.poll(0.5)
                if record is None:
                    continue
                if record.error() is None:
                    found.append(record)
                else:
                    assert record.error().code() == KafkaError._PARTITION_EOF, record.error()
                    unread.discard(record.partition())
        finally:
            consumer.close()
        return found


async def _work(status: Status, processor: str, config: str, environment: dict[str, str]) -> None:
    await wiring.processor(processor)(load_settings(config, environment), status)


def unit(number: int) -> str:
    """The id of a user, as no other text is like it."""
    return f"jane.doe-{number:03d}@example.org"
