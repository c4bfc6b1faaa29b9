"""How Kafka is reached, and what its clients are told."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, SecretStr, model_validator

from guardian.errors import wrong
from streams.fields import ExistingFile, Section, Servers, Text

if TYPE_CHECKING:
    from faust.types import CredentialsT


class Security(Section):
    """How clients show who they are, and know whom they speak to."""

    protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    username: str = ""
    password: SecretStr = SecretStr("")
    password_file: str = ""
    ca_file: ExistingFile = ""
    cert_file: ExistingFile = ""
    key_file: ExistingFile = ""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        with_password, with_tls = self.protocol.startswith("SASL"), self.protocol.endswith("SSL")
        if with_password and not (self.username and self.password):
            raise wrong(f"protocol {self.protocol} needs username and password")
        if self.username and not with_password:
            raise wrong(f"protocol {self.protocol} sends no username; write protocol: SASL_SSL, or drop the username")
        if (self.ca_file or self.cert_file) and not with_tls:
            raise wrong(f"protocol {self.protocol} is not encrypted; write SSL or SASL_SSL, or drop the files")
        if bool(self.cert_file) != bool(self.key_file):
            raise wrong("cert_file and key_file go together; write both or neither")
        try:
            self.tls()
        except (ssl.SSLError, OSError) as error:
            raise wrong(f"ca_file, cert_file and key_file cannot be used: {error}") from None
        return self

    def tls(self) -> ssl.SSLContext | None:
        """
        What connections are encrypted with, if they are.

        Raises:
            ssl.SSLError: one of the files holds no certificate or key, or they do not fit each other.
        """
        if not self.protocol.endswith("SSL"):
            return None
        context = ssl.create_default_context(cafile=self.ca_file or None)
        if self.cert_file:
            context.load_cert_chain(self.cert_file, self.key_file)
        return context


class Kafka(Section):
    """The cluster and the names that the guardian has in it."""

    bootstrap: Servers = "localhost:9092"
    embedded: bool = False
    group_prefix: Text = Field("guardian", pattern=r"^[A-Za-z0-9._-]+$")
    security: Security = Security()

    def client_options(self) -> dict[str, Any]:
        """What any client of aiokafka needs to connect: address and security."""
        return {"bootstrap_servers": self.bootstrap, **self.security_options()}

    def security_options(self) -> dict[str, Any]:
        """``client_options`` without the address."""
        security = self.security
        options: dict[str, Any] = {"security_protocol": security.protocol}
        if context := security.tls():
            options["ssl_context"] = context
        if security.protocol.startswith("SASL"):
            options["sasl_mechanism"] = security.sasl_mechanism
            options["sasl_plain_username"] = security.username
            options["sasl_plain_password"] = security.password.get_secret_value()
        return options

    def librdkafka_options(self) -> dict[str, str]:
        """The same as ``client_options`` for a client of librdkafka (confluent-kafka)."""
        security = self.security
        options = {"bootstrap.servers": self.bootstrap, "security.protocol": security.protocol}
        if security.protocol.startswith("SASL"):
            options["sasl.mechanisms"] = security.sasl_mechanism
            options["sasl.username"] = security.username
            options["sasl.password"] = security.password.get_secret_value()
        if security.protocol.endswith("SSL"):
            files = {"ca": security.ca_file, "certificate": security.cert_file, "key": security.key_file}
            options |= {f"ssl.{name}.location": file for name, file in files.items() if file}
        return options

    def faust_credentials(self) -> CredentialsT | None:
        """The same for Faust; ``None`` where it needs none."""
        from faust.auth import SASLCredentials, SSLCredentials

        security, context = self.security, self.security.tls()
        if security.protocol.startswith("SASL"):
            return SASLCredentials(
                username=security.username,
                password=security.password.get_secret_value(),
                mechanism=security.sasl_mechanism,
                ssl_context=context,
            )
        return SSLCredentials(context) if context else None
