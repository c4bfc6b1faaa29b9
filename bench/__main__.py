"""``python -m bench observe|kill|faces|judge|engine|gauntlet|memory|replay [--json]``: measure ours, the limit and the peers."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench._stores import STORES
from tests.support.pages import check, write


def main(arguments: list[str]) -> int:
    """Run one benchmark and print what it found."""
    names = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if _runs(path))
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("name", choices=names)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("--page", type=Path, help="a page of docs/ that has a place for what this one measures: poison, soak")
    parser.add_argument("--store", choices=STORES, help="kill: the flag store that kills are carried out at (flagd)")
    chosen = parser.parse_args(arguments)
    if chosen.store and chosen.name != "kill":
        parser.error("--store goes with kill")
    given = {"store": chosen.store} if chosen.store else {}
    measuring = importlib.import_module(f"bench.{chosen.name}")
    if chosen.page:
        try:
            check(chosen.name, chosen.page)
        except (OSError, ValueError) as error:
            parser.error(f"--page: {error}")
    found: dict[str, Any] = measuring.run(**given)
    print(json.dumps(found) if chosen.json else table(found))
    if chosen.page:
        write(chosen.name, measuring.markdown(found), chosen.page)
    return 0


def table(found: dict[str, Any]) -> str:
    """Return the figures one a line, for people."""
    rows = list(_rows({name: value for name, value in found.items() if name != "unit"}))
    width = max(len(name) for name, _ in rows)
    return "\n".join([f"{'':<{width}}  {found['unit']}", *(f"{name:<{width}}  {value}" for name, value in rows)])


def _rows(found: dict[str, Any], of: str = "") -> Iterator[tuple[str, str]]:
    for name, value in found.items():
        if isinstance(value, dict):
            yield from _rows(value, of if name == "peers" else f"{of}{name} ")
        elif isinstance(value, int | float):
            yield f"{of}{name}", f"{value:,.3g}" if abs(value) < 100 else f"{value:,.0f}"
        else:
            yield f"{of}{name}", "-" if value is None else str(value)


def _runs(path: Path) -> bool:
    return not path.stem.startswith("_") and "\ndef run(" in path.read_text()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
