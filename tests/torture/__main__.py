"""``python -m tests.torture``: strike a guardian, and count what became of every event."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

from tests.kafka import Brokers, KafkaServer, NoKafkaError, can_own, find_way
from tests.support.pages import check, write
from tests.torture.faults import STEADY_S, STORM_S, Terms
from tests.torture.telling import STEADY_TABLE, STORM_TABLE, table
from tests.torture.trial import run_trial


def main() -> int:
    """Print what was done and what was found; 1 if anything was lost, doubled or late, 2 if it cannot be tried here."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10_000))
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--folder", type=Path, help="where to keep everything that was written (default: nowhere)")
    parser.add_argument("--page", type=Path, help="a page into which the table is put (docs/reliability.md)")
    parser.add_argument("--only", default="", help="these kinds of faults alone, with commas between (judge,observe)")
    parser.add_argument("--storm", action="store_true", help="faults every 1.5 to 6 s, which leave no time (default: 10 to 16)")
    parser.add_argument("--every", type=float, default=0.0, help="seconds from one to the next")
    given = parser.parse_args()
    name = STORM_TABLE if given.storm else STEADY_TABLE
    if given.page is not None:
        try:
            check(name, given.page)
        except (OSError, ValueError) as error:
            parser.error(f"--page: {error}")
    pause_s = (given.every, given.every) if given.every else STORM_S if given.storm else STEADY_S
    terms = Terms(tuple(filter(None, given.only.split(","))), pause_s)
    try:
        find_way()
    except NoKafkaError as error:
        print(f"three brokers of one's own are needed: {error}", file=sys.stderr)
        return 2
    if not can_own():
        print("three brokers of one's own are needed: install Java 17 or newer and Maven", file=sys.stderr)
        return 2
    print(f"seed {given.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="guardian-torture-") as made:
        folder = given.folder or Path(made)
        folder.mkdir(parents=True, exist_ok=True)
        with Brokers.start(folder / "kafka") as brokers, KafkaServer.start(folder / "calm-kafka") as calm:
            say = lambda text: print(text, flush=True)  # noqa: E731
            found = run_trial(brokers, calm.bootstrap, folder, given.seed, given.kills, say, terms)
    print(table(found))
    if given.page is not None:
        write(name, table(found), given.page)
    return 1 if found.wrong or found.slow else 0


if __name__ == "__main__":
    sys.exit(main())
