"""A trial's findings as a table for people."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence

from tests.support.pages import table as markdown
from tests.torture.faults import TIME_S
from tests.torture.findings import LATE_MOST_S, STORE_MOST_S, Found

MOST = 5
"""So many of what was wrong are told one by one."""
STEADY_TABLE, STORM_TABLE = "torture", "storm"
"""What a page calls the place of the table: of faults that leave time to take over, and of those that do not."""


def table(found: Found) -> str:
    """Return the findings as Markdown; times have limits where faults leave time for what they are about."""
    late_most, store_most, most = ((f"{one:.0f} s" if found.leaves_time else "") for one in (LATE_MOST_S, STORE_MOST_S, TIME_S))
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
        ("a verdict later than undisturbed", _spread(found.late_s), late_most),
        ("a verdict later than undisturbed, or than the last fault before it", _spread(found.after_fault_s), ""),
        ("a kill in the store after its decision", _spread(found.in_store_s), store_most),
        *((f"{worker} taken over", _spread(times), most) for worker, times in found.takeover_s.items()),
        ("all heard of again after a broker's death, or the last fault after it", _spread(found.recovery_s), ""),
        ("all heard of again after no host was there, from when one was started", _spread(found.return_s), ""),
        ("what was wrong", _some(found.wrong), "nothing"),
        *([("what was slow", _some(found.slow), "nothing")] if found.leaves_time else []),
    ]
    return markdown([f"seed {found.seed}", "measured", "limit"], rows)


def _some(texts: Sequence[str]) -> str:
    more = [f"and {len(texts) - MOST} more"] if len(texts) > MOST else []
    return "; ".join([*texts[:MOST], *more]).replace("|", "/") or "nothing"


def _counts(counted: Counter[str]) -> str:
    return ", ".join(f"{times} {name}" for name, times in sorted(counted.items()))


def _spread(times_s: Sequence[float]) -> str:
    if not times_s:
        return "none could be told apart"
    return f"median {statistics.median(times_s):.1f} s, at most {max(times_s):.1f} s (n = {len(times_s)})"
