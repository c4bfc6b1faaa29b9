"""What became of kills that were not carried out, in words (``guardian.hindsight``)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from guardian.decisions import HindsightView
from guardian.explain import clean, quoted, sentence
from guardian.numerals import among, duration

SEEN = ("confirmed", "contradicted", "open", "missed")


def retold(one: HindsightView) -> str:
    """Return what became of one kill that was not carried out, in one sentence."""
    variation, off = clean(one.variation), one.off_at
    if one.seen == "missed":
        said = f"{clean(one.by)} turned {variation} off at {_clock(off)}, and the guardian had said nothing against it"
        return sentence("Missed", said)
    rule = quoted(one.guardrail, one.segment)
    if one.by:
        said = f"{clean(one.by)} turned {variation} off {_between(one)} after the guardian would have, by {rule}"
    elif off:
        said = f"{variation} was shown to nobody from {_clock(off)} on, {_between(one)} after {rule} would have killed it"
    elif one.seen == "confirmed":
        said = f"what started after {rule} would have killed {variation} breaks it as well"
    elif one.seen == "contradicted":
        said = f"what started after {rule} would have killed {variation} shows that it is not so"
    else:
        said = f"what started after {rule} would have killed {variation} does not show yet whether it was right"
    when, failed = "in between" if off else "since", among(one.failed, "unit")
    cost = f"{among(one.starts, 'request')} {when}, {failed} failed for the first time"
    return sentence(one.seen.capitalize(), f"{said}; {cost}")


def counted(found: Iterable[HindsightView]) -> str:
    """Return how many were confirmed, contradicted and so on: ``2 confirmed, 1 open``; nothing for none."""
    seen = [one.seen for one in found]
    return ", ".join(f"{seen.count(kind)} {kind}" for kind in SEEN if kind in seen)


def _clock(rfc3339: str) -> str:
    return f"{datetime.fromisoformat(rfc3339):%H:%M:%S}"


def _between(one: HindsightView) -> str:
    passed = datetime.fromisoformat(one.off_at) - datetime.fromisoformat(one.decided_at)
    return duration(max(passed.total_seconds() * 1_000.0, 0.0))
