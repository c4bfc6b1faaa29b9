"""``python -m bench observe|kill|judge|replay [--json]``: measure ours, the limit and the peers."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path
from typing import Any


def main(arguments: list[str]) -> int:
    """Run one benchmark and print what it found."""
    names = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if _runs(path))
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("name", choices=names)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    chosen = parser.parse_args(arguments)
    found: dict[str, Any] = importlib.import_module(f"bench.{chosen.name}").run()
    print(json.dumps(found) if chosen.json else table(found))
    return 0


def table(found: dict[str, Any]) -> str:
    """Return the figures one a line, for people."""
    peers = found.get("peers", {})
    rows = [("ours", found["ours"]), ("limit", found["limit"]), *peers.items()]
    rows += [(name, value) for name, value in found.items() if name not in ("ours", "limit", "peers", "unit")]
    width = max(len(str(name)) for name, _ in rows)
    lines = [f"{name:<{width}}  {_number(value)}" for name, value in rows]
    return "\n".join([f"{'':<{width}}  {found['unit']}", *lines])


def _number(value: Any) -> str:
    if isinstance(value, float) and abs(value) < 100:
        return f"{value:,.3g}"
    return f"{value:,.0f}" if _is_number(value) else f"{value}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _runs(path: Path) -> bool:
    return not path.stem.startswith("_") and "\ndef run() -> " in path.read_text()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
