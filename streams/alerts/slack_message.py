"""How a notice reads in Slack: blocks behind a coloured bar, every text escaped and within Slack's lengths."""

from __future__ import annotations

import re
from typing import Any

from streams.alerts.base import Report
from streams.alerts.words import clean, cut, heading, one_line

_FALLBACK_LONGEST = 3_000
_SECTION_LONGEST = 3_000
_FIELD_LONGEST = 500
_HREF_LONGEST = 2_000
_LABEL_LONGEST = 75
_SECTIONS_MOST = 12
_COLOURS = {"page": "#cf222e", "chat": "#bf8700", "log": "#6e7781"}
_OVER = "#1a7f37"
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_HEADLINE = re.compile(r"^#{1,6} +(.+?)#*$", re.MULTILINE)
_BOLD = re.compile(r"\*\*(\S(?:[^*\n]*\S)?)\*\*")


def wants(notice: Report) -> bool:
    """Whether people may want to read it: all but what is for the log alone."""
    return notice.level != "log" or notice.kind != "news"


def message(notice: Report) -> dict[str, Any]:
    """Return ``text`` (shown where blocks are not) and one attachment of blocks."""
    text = cut(one_line(notice.text), _FALLBACK_LONGEST, escaped)
    return {
        "text": text or "Rollout Guardian",
        "attachments": [{"color": colour(notice), "blocks": _blocks(notice)}],
        "unfurl_links": False,
        "unfurl_media": False,
    }


def colour(notice: Report) -> str:
    """Return green for what is over, else by how much it matters."""
    return _OVER if notice.kind in ("resolved", "report") else _COLOURS[notice.level]


def escaped(character: str) -> str:
    """Return what Slack shows as this character, and takes for nothing else."""
    return _ENTITIES.get(character, character)


def _blocks(notice: Report) -> list[dict[str, Any]]:
    title = cut(heading(notice), _FIELD_LONGEST, escaped)
    text = cut(clean(notice.text), _SECTION_LONGEST - _FIELD_LONGEST - 10, escaped)
    said = [f"*{title}*\n{text}" if notice.title else text, *_sections(notice.body)]
    blocks: list[dict[str, Any]] = [_section(part) for part in said if part.strip()]
    if notice.links:
        blocks.append(_section(cut_links(notice)))
    where = " · ".join(part for part in (one_line(notice.owner), one_line(notice.environment)) if part)
    if where:
        blocks.append({"type": "context", "elements": [{"type": "plain_text", "text": cut(where, _FIELD_LONGEST)}]})
    return blocks


def cut_links(notice: Report) -> str:
    """Return the links as Slack writes them; those that do not fit are left out whole."""
    shown, used = [], 0
    for one in notice.links:
        href = cut(re.sub(r"[|<>\s]", _percent, one.href), _HREF_LONGEST, escaped)
        label = cut(one_line(one.text).replace("|", "¦"), _LABEL_LONGEST, escaped) or "link"
        written = f"<{href}|{label}>"
        used += len(written) + 3
        if used <= _SECTION_LONGEST:
            shown.append(written)
    return " · ".join(shown) or "…"


def _percent(found: re.Match[str]) -> str:
    return f"%{ord(found[0]):02X}"


def _sections(body: str) -> list[str]:
    """Markdown as Slack's own kind of it, in parts that are no longer than a section and end with a line."""
    parts: list[str] = []
    for line in clean(body).split("\n"):
        written = cut(line, _SECTION_LONGEST - 10, escaped)
        written = _BOLD.sub(r"*\1*", _HEADLINE.sub(r"*\1*", written))
        if parts and len(parts[-1]) + len(written) < _SECTION_LONGEST - 10:
            parts[-1] += f"\n{written}"
        else:
            parts.append(written)
    return parts if len(parts) <= _SECTIONS_MOST else [*parts[: _SECTIONS_MOST - 1], "… (cut: the whole of it is on the page)"]


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text, "verbatim": True}}
