"""Measured tables in the docs: what stands there is what a run printed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "statistics.md"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def check(name: str, page: Path) -> None:
    """
    Return if the page has a place for what is called *name*, so that nothing is measured for nothing.

    Raises:
        OSError: there is no such page.
        ValueError: it has no such place.
    """
    _split(name, page)


def write(name: str, text: str, page: Path = PAGE) -> None:
    """
    Put *text* between ``<!-- measured: name -->`` and ``<!-- end -->``, in the place of what stands there.

    Raises:
        OSError: there is no such page.
        ValueError: it has no such place, or several.
    """
    before, after = _split(name, page)
    page.write_text(f"{before}{text}\n{after}", encoding="utf-8")


def _split(name: str, page: Path) -> tuple[str, str]:
    whole = page.read_text(encoding="utf-8")
    pattern = rf"(?P<before>.*<!-- measured: {re.escape(name)} -->\n).*?(?P<after><!-- end -->.*)"
    found = re.fullmatch(pattern, whole, flags=re.DOTALL)
    if found is None or found["before"].count(f"<!-- measured: {name} -->") != 1:
        raise ValueError(f"name is {name!r}: {page.name} has no single place marked with it")
    return found["before"], found["after"]
