"""E-mail, to a real SMTP server: threads, both kinds of text and the chart, who gets it, TLS, logins and what may go wrong."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from dataclasses import replace
from email.headerregistry import Address
from email.message import EmailMessage
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from structlog.testing import capture_logs

from streams.alerts.base import Link, Refused, Unreachable
from streams.alerts.email import Email
from streams.alerts.memory import ShortMemory
from tests.streams.alerts.notices import answered, decided, resolved
from tests.support.alerts.smtp import PASSWORD, USER, MailServer, mail_server


@pytest.fixture
async def mail(tmp_path: Path) -> AsyncIterator[MailServer]:
    async with mail_server(tmp_path) as mail:
        yield mail


def channel(mail: MailServer, memory: ShortMemory | None = None, **more: Any) -> Email:
    options: dict[str, Any] = {
        "host": "127.0.0.1", "port": mail.port, "sender": "guardian@example.com", "to": ("oncall@example.com",),
        "username": USER, "password": PASSWORD, "ca_file": str(mail.ca_file),
    }  # fmt: skip
    return Email(memory or ShortMemory(), **options | more)


def chart() -> bytes:
    image = io.BytesIO()
    Image.new("RGB", (800, 400), "white").save(image, "PNG")
    return image.getvalue()


class Tags(HTMLParser):
    """The tags of a page, and what leads out of it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.leads: list[str | None] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.leads += [value for name, value in attrs if name in ("href", "src")]


async def test_it_is_read_as_text_and_as_a_page_with_the_chart_inside(mail):
    """
    A mail has the sentence and the links as plain text and as HTML, and the chart as an image of that page.
    """
    notice = replace(decided(), title="Killed & gone", chart=chart(), links=(Link("Undo", "https://g.example.com/?a=1&b=2"),))
    await channel(mail).notify(notice)
    ((to, message),) = mail.taken
    plain, page = message.get_body(("plain",)), message.get_body(("html",))
    assert plain is not None
    assert page is not None
    (image,) = [part for part in message.walk() if part.get_content_type() == "image/png"]
    html = Tags(page.get_content())

    assert ["oncall@example.com"] == to
    assert ("Killed & gone", "auto-generated") == (message["Subject"], message["Auto-Submitted"])
    assert notice.text in plain.get_content()
    assert "Undo: https://g.example.com/?a=1&b=2" in plain.get_content()
    assert notice.text in page.get_content()
    assert ["cid:chart", "https://g.example.com/?a=1&b=2"] == html.leads
    assert ("<chart>", "inline") == (image["Content-ID"], image.get_content_disposition())
    assert notice.chart == image.get_content()


async def test_an_incident_is_a_thread(mail):
    """
    All mails of an incident refer to the same and keep the first one's subject; another incident is another thread.
    """
    memory, first = ShortMemory(), replace(decided(), title="Killed")
    news = replace(answered("not_effective"), title="Not effective", incident=first.incident, opened_at=first.opened_at)
    other = replace(first, notice_id="other", opened_at="2027-01-01T00:00:00.000Z", title="Killed anew")
    for notice in (first, news, resolved(first), other):
        await channel(mail, memory).notify(notice)
    messages = [message for _, message in mail.taken]

    assert ["Killed", "Re: Killed", "Re: Killed", "Killed anew"] == [message["Subject"] for message in messages]
    assert 4 == len({message["Message-ID"] for message in messages})
    first_to_third, fourth = {message["References"] for message in messages[:3]}, messages[3]["References"]
    assert len(first_to_third) == 1
    assert fourth not in first_to_third
    assert all(message["In-Reply-To"] == message["References"] for message in messages)


async def test_a_repeat_is_the_same_mail(mail):
    """
    A notice that is sent again, whether anybody knows of the first time or not, has the same Message-ID and subject.
    """
    memory, notice = ShortMemory(), decided()
    for kept in (memory, memory, ShortMemory()):
        await channel(mail, kept).notify(notice)

    assert 1 == len({(message["Message-ID"], message["Subject"], message["References"]) for _, message in mail.taken})


async def test_an_owner_gets_what_is_theirs(mail):
    """
    An owner with addresses gets their notices there, all of them; what has no such owner goes to the others.
    """
    owners = {"team-checkout": ("a@example.com", "b@example.com")}
    await channel(mail, owners=owners).notify(decided())
    await channel(mail, owners=owners).notify(decided(owner="team-cart"))

    assert [["a@example.com", "b@example.com"], ["oncall@example.com"]] == [to for to, _ in mail.taken]
    assert "a@example.com, b@example.com" == mail.taken[0][1]["To"]


async def test_an_address_that_is_not_taken_keeps_nobody_else_from_theirs(mail):
    """
    Where one of several addresses is not taken, the others get it and the log says which; where none is, it is refused.
    """
    mail.bounced = {"gone@example.com": "550 no such user"}
    with capture_logs() as logs:
        await channel(mail, to=("gone@example.com", "oncall@example.com")).notify(decided())
    with pytest.raises(Refused, match=r"550 no such user .*see alerts\.email\.to and owners"):
        await channel(mail, to=("gone@example.com",)).notify(decided())
    mail.bounced = {"gone@example.com": "450 later"}
    with pytest.raises(Unreachable, match="450 later"):
        await channel(mail, to=("gone@example.com",)).notify(decided())

    assert [["oncall@example.com"]] == [to for to, _ in mail.taken]
    assert ["gone@example.com"] == [line["address"] for line in logs]


HOSTILE = "Killed\r\nBcc: evil@example.com\r\n\r\n<script>alert(1)</script> שלום 🙈 \ud800\x00 " + "x" * 10_000


async def test_nothing_that_is_said_becomes_a_header_or_a_tag(mail):
    """
    Line ends in a title, an owner or a link add no header and no recipient; markup in them is shown, not obeyed.
    """
    href = 'https://g.example.com/"><img src=x>\r\nBcc: evil@example.com'
    notice = replace(
        decided(), title=HOSTILE, text=HOSTILE, body=HOSTILE, owner=HOSTILE, links=(Link(HOSTILE, href),),
        notice_id=HOSTILE, incident=HOSTILE,
    )  # fmt: skip
    await channel(mail).notify(notice)
    ((to, message),) = mail.taken
    page = message.get_body(("html",))
    assert page is not None

    assert ["oncall@example.com"] == to
    assert {
        "From", "To", "Subject", "Date", "Message-ID", "References", "In-Reply-To", "Auto-Submitted", "MIME-Version",
        "X-Auto-Response-Suppress", "Content-Type", "X-Peer", "X-MailFrom", "X-RcptTo",
    } >= set(message.keys())  # fmt: skip
    assert message["Subject"].startswith("Killed Bcc: evil@example.com <script>alert(1)</script> שלום 🙈")
    assert len(message["Subject"]) <= 150
    assert not {"script", "img"} & set(Tags(page.get_content()).tags)
    assert "<script>alert(1)</script> שלום 🙈" in (plain_of(message))


def plain_of(message: EmailMessage) -> str:
    plain = message.get_body(("plain",))
    assert plain is not None
    text: str = plain.get_content()
    return text


@pytest.mark.parametrize("tls", ["tls", "none"])
async def test_other_ways_to_connect(tmp_path, tls):
    """
    TLS from the first byte works with a login, and none without one.
    """
    async with mail_server(tmp_path, tls=tls) as mail:
        more: dict[str, Any] = {"username": "", "password": ""} if tls == "none" else {}
        await channel(mail, tls=tls, **more).notify(decided())

    assert [Address(addr_spec="guardian@example.com")] == [one for _, message in mail.taken for one in message["From"].addresses]


async def test_a_server_without_starttls_gets_no_password(tmp_path):
    """
    Where STARTTLS is asked for and not offered, nothing is sent in the clear, and it is said what to look at.
    """
    async with mail_server(tmp_path, tls="none") as mail:
        with pytest.raises(Refused, match=r"see alerts\.email\.tls"):
            await channel(mail).notify(decided())

    assert [] == mail.taken


async def test_a_certificate_of_nobody_known_is_not_trusted(mail):
    """
    A certificate of an authority that is not known is a refusal that names the setting.
    """
    with pytest.raises(Refused, match=r"certificate .*alerts\.email\.ca_file"):
        await channel(mail, ca_file="").notify(decided())

    assert [] == mail.taken


async def test_a_wrong_password_is_a_refusal_that_shows_none(mail):
    """
    A wrong password is refused, with the settings to look at and without the password.
    """
    with pytest.raises(Refused, match=r"535 .*see alerts\.email\.username and password") as failed:
        await channel(mail, password="w0rds-that-are-wrong").notify(decided())

    assert "w0rds" not in str(failed.value)


async def test_nobody_there_is_worth_another_try():
    """
    A server that does not answer is worth another try.
    """
    with pytest.raises(Unreachable, match=r"at 127\.0\.0\.1:9$"):
        await channel(MailServer(port=9), ca_file="").notify(decided())


@pytest.mark.parametrize(
    ("more", "said"),
    [({"to": ()}, r"alerts\.email\.to: is empty"), ({"tls": "none"}, r"alerts\.email\.tls: none would send the password")],
)
def test_what_cannot_be_right_is_refused_at_the_start(more, said):
    """
    Nobody to write to, or a password in the clear, is an error at the start that shows no password.
    """
    with pytest.raises(ValueError, match=said) as failed:
        channel(MailServer(), ca_file="", **more)

    assert PASSWORD not in str(failed.value)
