"""E-mail by an SMTP server of yours: one thread an incident, to its owner's addresses."""

from __future__ import annotations

import asyncio
import math
import ssl
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import aiosmtplib
import structlog

from streams.alerts.base import ChannelError, ChannelMemory, Refused, Report, Unreachable
from streams.alerts.email_message import composed, subject_of
from streams.alerts.memory import Notes
from streams.alerts.words import cut, hidden

ATTEMPT_S = 20.0
_SHOWN = 300
Tls = Literal["starttls", "tls", "none"]

log = structlog.get_logger()


class Email:
    """
    A message for all that is there to be read: to the owner's addresses where *owners* has them, else to *to*.

    Raises:
        ValueError: nobody to write to, or a password that would be sent in the clear. No secret is shown.
        OSError: *ca_file* cannot be read.
    """

    max_age_s: ClassVar[float] = math.inf

    def __init__(
        self,
        memory: ChannelMemory,
        *,
        host: str,
        sender: str,
        to: Sequence[str],
        port: int = 587,
        tls: Tls = "starttls",
        username: str = "",
        password: str = "",
        owners: Mapping[str, Sequence[str]] | None = None,
        ca_file: str = "",
    ) -> None:
        if not to:
            raise ValueError("alerts.email.to: is empty; write the addresses for what has no owner's own")
        if password and tls == "none":
            raise ValueError("alerts.email.tls: none would send the password in the clear; write starttls or tls")
        self.name = "email"
        self._notes = Notes(memory, self.name)
        self._host, self._port, self._tls = host, port, tls
        self._sender, self._to, self._owners = sender, tuple(to), dict(owners or {})
        self._username, self._password = username, password
        self._context = ssl.create_default_context(cafile=ca_file or None)
        self._quoted = hidden(password, f"\0{username}\0{password}" if password else "")

    def wants(self, notice: Report) -> bool:
        """All that is there to be read."""
        return notice.level != "log" or notice.kind != "news"

    async def notify(self, notice: Report) -> None:
        """Send the message; see ``Channel.notify``."""
        # Clients thread by the subject, too: an incident keeps the one that it began with.
        began = self._notes.of(notice)
        subject = began.get("subject") or subject_of(notice)
        to = self._owners.get(notice.owner) or self._to
        message = composed(
            notice,
            sender=self._sender,
            to=to,
            subject=subject,
            is_reply=bool(began) and began.get("notice_id") != notice.notice_id,
        )
        await self._send(bytes(message), to, notice.notice_id)
        if not began:
            await self._notes.keep(notice, subject=subject, notice_id=notice.notice_id)

    async def probe(self) -> str:
        """Greet the server and log in, as before a message; see ``Probed.probe``."""
        client = self._client()
        where = f"{self._host}:{self._port}"
        try:
            async with asyncio.timeout(ATTEMPT_S):
                async with client:
                    await client.ehlo()
                    return f"{where} greets{', and knows the login' if self._username else ''}; nothing was sent"
        except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
            raise self._meaning(error, where) from None

    def _client(self) -> aiosmtplib.SMTP:
        return aiosmtplib.SMTP(
            hostname=self._host,
            port=self._port,
            username=self._username or None,
            password=self._password or None,
            use_tls=self._tls == "tls",
            start_tls=self._tls == "starttls",
            tls_context=None if self._tls == "none" else self._context,
            # Without it, aiosmtplib asks the name service, and everything waits for that.
            local_hostname=self._sender.rpartition("@")[2],
            timeout=ATTEMPT_S / 2,
        )

    async def _send(self, message: bytes, to: Sequence[str], notice_id: str) -> None:
        where = f"{self._host}:{self._port}"
        try:
            async with asyncio.timeout(ATTEMPT_S):
                async with self._client() as client:
                    refused, _ = await client.sendmail(self._sender, list(to), message)
        except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
            raise self._meaning(error, where) from None
        for address, answer in refused.items():  # the others have it, and must not get it again
            why = self._quoted(f"{answer.code} {answer.message}")
            log.warning("email_not_taken_for", address=address, why=why, notice_id=notice_id)

    def _meaning(self, error: BaseException, where: str) -> ChannelError:
        """What became of the attempt; 4yz passes, 5yz does not (RFC 5321, 4.2.1)."""
        cause = error.__cause__ or error.__context__
        if isinstance(error, ssl.SSLCertVerificationError) or isinstance(cause, ssl.SSLCertVerificationError):
            return Refused(f"{where}: its certificate is not one to be trusted; name its authority as alerts.email.ca_file")
        if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
            return self._answered(min(error.recipients, key=lambda one: one.code), where, "; see alerts.email.to and owners")
        if isinstance(error, aiosmtplib.SMTPAuthenticationError):
            return self._answered(error, where, "; see alerts.email.username and password")
        if isinstance(error, aiosmtplib.SMTPSenderRefused):
            return self._answered(error, where, "; see alerts.email.sender")
        if isinstance(error, aiosmtplib.SMTPResponseException):
            return self._answered(error, where, "")
        if isinstance(error, aiosmtplib.SMTPNotSupported) or "STARTTLS" in str(error):
            said = self._quoted(str(error))[:_SHOWN]
            return Refused(f"{where}: {said}; see alerts.email.tls (starttls, tls, none) and port")
        return Unreachable(f"{type(error).__name__} at {where}")

    def _answered(self, error: aiosmtplib.SMTPResponseException, where: str, cure: str) -> ChannelError:
        said = cut(self._quoted(f"{error.code} {error.message}"), _SHOWN)
        if 400 <= error.code < 500 or error.code <= 0:
            return Unreachable(f"{said} from {where}")
        return Refused(f"{said} from {where}{cure}")
