"""A Kafka that lets nobody in without a name: SCRAM over TLS on one port, certificates on another, and ACLs on both."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from demo.ports import free_ports
from streams.rights import Right
from tests.kafka.authority import Authority
from tests.kafka.server import KafkaServer

WAIT_S = 15.0
_KINDS = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "transactional-id": ResourceType.TRANSACTIONAL_ID,
}
_OPERATIONS = {
    "Read": AclOperation.READ,
    "Write": AclOperation.WRITE,
    "Describe": AclOperation.DESCRIBE,
    "DescribeConfigs": AclOperation.DESCRIBE_CONFIGS,
    "Create": AclOperation.CREATE,
}


class SecureKafka:
    """A broker with *users*, who have no rights before ``grant``; ``admin`` may do everything."""

    def __init__(self, workdir: Path, users: Iterable[str]) -> None:
        workdir.mkdir(parents=True)
        self._workdir = workdir
        self.authority = Authority(workdir)
        self.passwords = {name: secrets.token_hex(16) for name in (*users, "admin")}
        self.scram, self.mutual = (f"127.0.0.1:{port}" for port in free_ports(2))
        certificate, key = self.authority.issue("broker")
        self.server = KafkaServer(
            workdir / "broker",
            properties=self._properties(certificate, key),
            users=self.passwords,
            client=self.librdkafka("admin"),
        )

    @contextmanager
    def running(self) -> Iterator[AdminClient]:
        """Yields admin's client while the broker runs."""
        self.server.begin()
        with self.server:
            yield AdminClient(self.librdkafka("admin"))

    def security(self, user: str) -> dict[str, Any]:
        """What settings say under ``kafka.security`` for a user with a password; the password is in a file."""
        kept = self._workdir / f"{user}.password"
        kept.write_text(self.passwords[user])
        named = {"protocol": "SASL_SSL", "username": user, "password_file": str(kept)}
        return named | {"ca_file": str(self.authority.file)}

    def certified(self, user: str) -> dict[str, Any]:
        """The same for a user with a certificate."""
        certificate, key = self.authority.issue(user)
        files = {"ca_file": self.authority.file, "cert_file": certificate, "key_file": key}
        return {"protocol": "SSL", **{name: str(file) for name, file in files.items()}}

    def librdkafka(self, user: str) -> dict[str, str]:
        """What a client of librdkafka is told, independent of the guardian's own settings."""
        return {
            "bootstrap.servers": self.scram,
            "security.protocol": "SASL_SSL",
            "sasl.mechanisms": "SCRAM-SHA-512",
            "sasl.username": user,
            "sasl.password": self.passwords[user],
            "ssl.ca.location": str(self.authority.file),
        }

    def _properties(self, certificate: Path, key: Path) -> Mapping[str, str]:
        controller = free_ports(1)[0]
        chain = "".join(file.read_text() for file in (key, certificate, self.authority.file))
        store = self._workdir / "broker.pem"
        store.write_text(chain)
        scram = "org.apache.kafka.common.security.scram.ScramLoginModule required"
        login = f'{scram} username="admin" password="{self.passwords["admin"]}";'
        return {
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            "listeners": f"SASL_SSL://{self.scram},SSL://{self.mutual},CONTROLLER://127.0.0.1:{controller}",
            "listener.security.protocol.map": "SASL_SSL:SASL_SSL,SSL:SSL,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "SASL_SSL",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(store),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.authority.file),
            "listener.name.ssl.ssl.client.auth": "required",
            "ssl.principal.mapping.rules": "RULE:^CN=(.*?)$/$1/",
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "sasl.mechanism.inter.broker.protocol": "SCRAM-SHA-512",
            "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": login,
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            # The controller's own port is plain, on this machine alone; nobody else has no name.
            "super.users": "User:admin;User:ANONYMOUS",
        }


def grant(admin: AdminClient, user: str, rights: Iterable[Right]) -> None:
    """Give a user these rights."""
    for future in admin.create_acls([_binding(user, right) for right in rights]).values():
        future.result(WAIT_S)


def revoke(admin: AdminClient, user: str, right: Right) -> None:
    """Take one right away again."""
    made = _binding(user, right)
    wanted = AclBindingFilter(
        made.restype, made.name, made.resource_pattern_type, made.principal, made.host, made.operation, made.permission_type
    )
    for future in admin.delete_acls([wanted]).values():
        assert future.result(WAIT_S), f"there was no {right}"


def _binding(user: str, right: Right) -> AclBinding:
    pattern = ResourcePatternType.PREFIXED if right.is_prefix else ResourcePatternType.LITERAL
    operation = _OPERATIONS[right.operation]
    return AclBinding(_KINDS[right.kind], right.name, pattern, f"User:{user}", "*", operation, AclPermissionType.ALLOW)
