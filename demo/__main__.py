"""
``python -m demo``: a shop, a bug, a kill.

``DEMO_SECONDS=n`` ends it by itself; ``DEMO_BUG=0`` or ``--healthy`` ships no bug, and then nothing may be killed.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys

from demo.director import Director


def main() -> int:
    """Return 0 if the bug was killed and the healthy flag was not."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--healthy", action="store_true", help="ship no bug: nothing may be killed")
    options = parser.parse_args()
    given = os.environ.get("DEMO_SECONDS", "").strip()
    try:
        seconds = float(given) if given else None
    except ValueError:
        print(f"DEMO_SECONDS: a number of seconds is wanted, not {given!r}", file=sys.stderr)
        return 2
    with_bug = not options.healthy and os.environ.get("DEMO_BUG", "1") != "0"

    async def play() -> int:
        return await Director(seconds, with_bug=with_bug).run()

    return asyncio.run(play())


if __name__ == "__main__":
    sys.exit(main())
