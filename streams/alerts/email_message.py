"""How a notice reads as an e-mail: plain, as HTML with its chart inside, and in the thread of its incident."""

from __future__ import annotations

import hashlib
import html
from collections.abc import Sequence
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from streams.alerts.base import Report
from streams.alerts.words import clean, cut, heading, one_line, story_of

SUBJECT_LONGEST = 150
_TEXT_LONGEST = 200_000
_PAGE = """\
<!doctype html>
<html><body style="font-family: sans-serif; max-width: 50em">
<h2>{title}</h2>
<p style="white-space: pre-wrap">{text}</p>
{chart}<p>{links}</p>
<div style="white-space: pre-wrap; font-family: monospace">{body}</div>
<p style="color: #666">{where}</p>
</body></html>
"""


def subject_of(notice: Report) -> str:
    """Return one line: the title, or the beginning of the sentence."""
    return cut(heading(notice), SUBJECT_LONGEST)


def composed(notice: Report, *, sender: str, to: Sequence[str], subject: str, is_reply: bool) -> EmailMessage:
    """Return the whole message; the same notice has the same Message-ID, the same incident the same References."""
    message = EmailMessage(policy=SMTP)
    message["From"] = sender
    message["To"] = ", ".join(to)
    message["Subject"] = f"Re: {subject}" if is_reply else subject
    message["Date"] = format_datetime(datetime.fromisoformat(notice.at))
    domain = sender.rpartition("@")[2]
    message["Message-ID"] = _id(notice.notice_id, domain)
    if story := story_of(notice):
        # A message that never was, so that any one that is lost or deleted leaves the others together.
        message["References"] = message["In-Reply-To"] = _id(f"incident:{story}", domain)
    message["Auto-Submitted"] = "auto-generated"
    message["X-Auto-Response-Suppress"] = "All"
    message.set_content(_plain(notice), cte="quoted-printable")
    message.add_alternative(_html(notice), subtype="html", cte="quoted-printable")
    if notice.chart:
        page = message.get_payload()[1]  # type: ignore[index]
        page.add_related(notice.chart, "image", "png", cid="<chart>", filename="chart.png", disposition="inline")  # type: ignore[union-attr]
    return message


def _plain(notice: Report) -> str:
    links = "\n".join(f"{one_line(link.text)}: {one_line(link.href)}" for link in notice.links)
    parts = [clean(notice.text), links, clean(notice.body), _where(notice)]
    return cut("\n\n".join(part for part in parts if part), _TEXT_LONGEST) + "\n"


def _html(notice: Report) -> str:
    title = _escaped(heading(notice))
    return _PAGE.format(
        title=title,
        text=_escaped(notice.text),
        chart=f'<p><img src="cid:chart" alt="{title}" width="800" style="max-width: 100%"></p>\n' if notice.chart else "",
        links=" · ".join(f'<a href="{_escaped(link.href)}">{_escaped(link.text)}</a>' for link in notice.links),
        body=_escaped(notice.body),
        where=_escaped(_where(notice)),
    )


def _where(notice: Report) -> str:
    parts = (one_line(notice.owner), one_line(notice.environment), notice.at)
    return " · ".join(part for part in parts if part)


def _escaped(text: str) -> str:
    return cut(clean(text), _TEXT_LONGEST, html.escape)


def _id(named: str, domain: str) -> str:
    return f"<{hashlib.sha256(named.encode(errors='surrogatepass')).hexdigest()[:32]}@{domain}>"
