"""
Put measured tables into docs/statistics.md: what stands there is what a run printed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "statistics.md"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """
    Return a table in Markdown.
    """
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def write(name: str, text: str, page: Path = PAGE) -> None:
    """
    Replace what stands between ``<!-- measured: name -->`` and ``<!-- end -->``; raise ValueError without these.
    """
    whole = page.read_text(encoding="utf-8")
    pattern = rf"(<!-- measured: {re.escape(name)} -->\n).*?(<!-- end -->)"
    if len(re.findall(pattern, whole, flags=re.DOTALL)) != 1:
        raise ValueError(f"name is {name!r}: {page.name} has no single place marked with it")
    page.write_text(re.sub(pattern, lambda m: f"{m[1]}{text}\n{m[2]}", whole, flags=re.DOTALL), encoding="utf-8")
