"""A trial's findings as a table for people, put where docs/reliability.md keeps it."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.torture.findings import LATE_MOST_S, STORE_MOST_S, TAKEOVER_MOST_S, Found

BEGIN, END = "<!-- torture: begin -->", "<!-- torture: end -->"


def table(found: Found) -> str:
    """Return the findings as Markdown."""
    killed = Counter(one.fault.who for one in found.struck if one.fault.is_kill)
    beside = Counter(one.fault.kind for one in found.struck if not one.fault.is_kill)
    rows = [
        ("kills survived", f"{found.kills} ({_counts(killed)})", ""),
        ("beside them", _counts(beside) or "none", ""),
        ("events sent, each known before", f"{found.sent:,}", ""),
        ("events summed in the journal", f"{found.counted:,}", "as many"),
        ("lost, doubled", f"{found.lost}, {found.doubled}", "0, 0"),
        ("unreadable records, each once among the dead letters", f"{found.dead:,}", "as many"),
        ("verdicts", str(found.verdicts), "those of the undisturbed run"),
        ("a verdict later than undisturbed, or than the last fault before it", _spread(found.late_s), f"{LATE_MOST_S:.0f} s"),
        ("a kill in the store after its decision", _spread(found.in_store_s), f"{STORE_MOST_S:.0f} s"),
        *((f"{worker} taken over", _spread(times), f"{TAKEOVER_MOST_S:.0f} s") for worker, times in found.takeover_s.items()),
        ("what was wrong", "; ".join(found.wrong) or "nothing", "nothing"),
        ("what was slow", "; ".join(found.slow) or "nothing", "nothing"),
    ]
    lines = [f"| {what} | {said} | {limit} |" for what, said, limit in rows]
    return "\n".join([f"| seed {found.seed} | measured | limit |", "|---|---|---|", *lines])


def put(found: Found, page: Path) -> None:
    """
    Put the table between its two marks on a page.

    Raises:
        ValueError: the page has no such marks.
    """
    before, after = marks(page)
    page.write_text(f"{before}{BEGIN}\n{table(found)}\n{END}{after}")


def marks(page: Path) -> tuple[str, str]:
    """
    Return what stands before and after the two marks of a page.

    Raises:
        OSError: there is no such page.
        ValueError: it has no such marks.
    """
    before, mark, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not mark or not end:
        raise ValueError(f"{page}: there are no {BEGIN} and {END}")
    return before, after


def _counts(counted: Counter[str]) -> str:
    return ", ".join(f"{times} {name}" for name, times in sorted(counted.items()))


def _spread(times_s: Sequence[float]) -> str:
    if not times_s:
        return "none could be told apart"
    return f"median {statistics.median(times_s):.1f} s, at most {max(times_s):.1f} s (n = {len(times_s)})"
