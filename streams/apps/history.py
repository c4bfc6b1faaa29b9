"""How each rollout came to be as it is: the points behind the page's two charts, bounded in memory."""

from __future__ import annotations

import heapq
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime

from pydantic import BaseModel

from guardian.decisions import Decision, GuardrailView, RolloutView

KEPT_MS = 15 * 60_000
MOST_POINTS = 480
MOST_ROLLOUTS = 1_000
"""Points of the rollouts that changed last; 480 points of two variations take about 150 kB."""
SEGMENTS_KEPT = 5
"""Segments of a view whose evidence is kept: those with the most of it."""

Row = tuple[str, str, str]
"""A guardrail, a variation, a segment."""


class RateLine(BaseModel):
    """The recent error rate of one variation at each time; ``None`` where nothing was seen."""

    variation: str
    rate: list[float | None]


class EvidenceLine(BaseModel):
    """One guardrail's evidence on one variation or a segment of it at each time, and what it had to reach, in nats."""

    guardrail: str
    variation: str
    segment: str = ""
    log_e: list[float | None]
    log_threshold: list[float | None]


class Lines(BaseModel):
    """Columns for charts: ``t`` in epoch milliseconds, every other list as long as it."""

    t: list[int]
    rates: list[RateLine]
    evidence: list[EvidenceLine]


@dataclass(slots=True)
class _Point:
    at_ms: int
    rates: dict[str, float | None] = field(default_factory=dict)
    evidence: dict[Row, tuple[float | None, float | None]] = field(default_factory=dict)
    decided: bool = False


class History:
    """The points of one rollout: all of the last minutes, fewer of what was before."""

    def __init__(self) -> None:
        self._points: list[_Point] = []

    def add_view(self, view: RolloutView) -> None:
        """Add how the rollout stands."""
        self._add(
            _Point(
                millis(view.at),
                {arm.variation: arm.recent_errors / arm.recent_n if arm.recent_n else None for arm in view.arms},
                {_row(row): (row.log_e, row.log_threshold or None) for row in _kept(view)},
            )
        )

    def add_decision(self, decision: Decision) -> None:
        """
        Add the evidence behind a decision; all else is as it was just before.

        The accounts are emptied with a decision, so no view ever shows what led to it.
        """
        if decision.evidence is None:
            return
        at_ms = millis(decision.decided_at)
        before = next((point for point in reversed(self._points) if point.at_ms <= at_ms), _Point(at_ms))
        reached = (decision.evidence.log_e, decision.evidence.log_threshold)
        evidence = before.evidence | {(decision.guardrail, decision.variant, decision.evidence.segment): reached}
        self._add(_Point(at_ms, before.rates, evidence, decided=True))

    def lines(self) -> Lines:
        """Return the points as columns."""
        points = self._points
        variations = dict.fromkeys(name for point in points for name in point.rates)
        rows = dict.fromkeys(key for point in points for key in point.evidence)
        return Lines(
            t=[point.at_ms for point in points],
            rates=[RateLine(variation=name, rate=[point.rates.get(name) for point in points]) for name in variations],
            evidence=[
                EvidenceLine(
                    guardrail=guardrail,
                    variation=variation,
                    segment=segment,
                    log_e=[point.evidence.get((guardrail, variation, segment), _NONE)[0] for point in points],
                    log_threshold=[point.evidence.get((guardrail, variation, segment), _NONE)[1] for point in points],
                )
                for guardrail, variation, segment in rows
            ],
        )

    def _add(self, point: _Point) -> None:
        # Views and decisions travel in different topics: the newest may come a little before the one before it.
        at = len(self._points)
        while at and self._points[at - 1].at_ms > point.at_ms:
            at -= 1
        self._points.insert(at, point)
        newest_ms = self._points[-1].at_ms
        if self._points[0].at_ms < newest_ms - 2 * KEPT_MS:
            self._points = [one for one in self._points if one.at_ms >= newest_ms - KEPT_MS]
        if len(self._points) > MOST_POINTS:
            old = len(self._points) // 2
            thinned = [one for i, one in enumerate(self._points[:old]) if i % 2 or one.decided]
            self._points = [*thinned, *self._points[old:]][-MOST_POINTS:]


class Histories:
    """The histories of the rollouts that changed last."""

    def __init__(self) -> None:
        self._of: OrderedDict[str, History] = OrderedDict()

    def of(self, key: str) -> History:
        """Return the rollout's history, empty if there is none yet."""
        history = self._of.get(key)
        if history is None:
            history = self._of[key] = History()
        self._of.move_to_end(key)
        if len(self._of) > MOST_ROLLOUTS:
            self._of.popitem(last=False)
        return history

    def drop(self, key: str) -> None:
        """Forget a rollout's history."""
        self._of.pop(key, None)


_NONE = (None, None)


def _row(row: GuardrailView) -> Row:
    return row.guardrail, row.variation, row.segment


def _kept(view: RolloutView) -> list[GuardrailView]:
    """All rows but those of the calmer segments: there may be dozens, of a thousand rollouts."""
    whole = [row for row in view.guardrails if not row.segment]
    parts = [row for row in view.guardrails if row.segment and row.log_e is not None]
    return [*whole, *heapq.nlargest(SEGMENTS_KEPT, parts, key=lambda row: row.log_e or 0.0)]


def millis(rfc3339: str) -> int:
    """Return an RFC 3339 time as epoch milliseconds."""
    return round(datetime.fromisoformat(rfc3339).timestamp() * 1000)
