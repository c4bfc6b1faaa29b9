"""A real SMTP server (aiosmtpd) with STARTTLS and a login, which keeps what it takes and fails when it is asked to."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

from tests.kafka.authority import Authority
from tests.support.alerts.api import DROPPED, SILENT

USER, PASSWORD = "guardian", "sm7p-s3cr3t-w0rd"


@dataclass
class MailServer:
    """*faults* are answers to the next messages; *bounced* are addresses that are not taken."""

    port: int = 0
    ca_file: Path = Path()
    taken: list[tuple[list[str], EmailMessage]] = field(default_factory=list)
    faults: deque[int] = field(default_factory=deque)
    bounced: dict[str, str] = field(default_factory=dict)
    password: str = PASSWORD
    asks_for_login: bool = True

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:  # noqa: ARG002, N802
        if address in self.bounced:
            return self.bounced[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        if self.faults:
            fault = self.faults.popleft()
            if fault == SILENT:
                await asyncio.sleep(30.0)
            if fault in (SILENT, DROPPED):
                server.transport.abort()
            return f"{fault} no: AUTH PLAIN {PASSWORD}"
        assert session.authenticated or not self.asks_for_login, "a message came without a login"
        message = message_from_bytes(envelope.content, policy=default)
        assert isinstance(message, EmailMessage)
        self.taken.append((envelope.rcpt_tos, message))
        return "250 OK"

    def authenticate(self, _server: Any, _session: Any, _envelope: Any, mechanism: str, data: Any) -> AuthResult:  # noqa: ARG002
        known = isinstance(data, LoginPassword) and (data.login, data.password) == (USER.encode(), self.password.encode())
        return AuthResult(success=known, handled=False)


@asynccontextmanager
async def mail_server(folder: Path, *, tls: str = "starttls") -> AsyncIterator[MailServer]:
    """Run the server on a free local port; *tls* is ``starttls``, ``tls`` or ``none``, with a login for the first two."""
    authority = Authority(folder, "mail-ca")
    certificate, key = authority.issue("mail")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    mail = MailServer(ca_file=authority.file, asks_for_login=tls != "none")
    loop = asyncio.get_running_loop()

    def protocol() -> SMTP:
        return SMTP(
            mail,
            hostname="mail.test",
            tls_context=context if tls == "starttls" else None,
            require_starttls=tls == "starttls",
            # Not with TLS from the first byte, of which it knows nothing, and warns.
            auth_required=tls == "starttls",
            auth_require_tls=tls == "starttls",
            authenticator=mail.authenticate,
            loop=loop,
        )

    server = await loop.create_server(protocol, "127.0.0.1", 0, ssl=context if tls == "tls" else None)
    mail.port = server.sockets[0].getsockname()[1]
    try:
        yield mail
    finally:
        server.close()
