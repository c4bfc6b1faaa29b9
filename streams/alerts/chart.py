"""
A decision's numbers as a picture: the variation beside control, each with its interval and what it was counted from.

Drawn for a telephone: 800 by 400, few words, large. Pillow is loaded with this module, so nobody else imports it at the top.
"""

from __future__ import annotations

import io
import math
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from guardian.decisions import Decision, Evidence
from guardian.explain import clean
from guardian.measured import FAILING, Watched, amount, differs, watched
from guardian.numerals import count
from guardian.sequential import rate_interval

WIDTH, HEIGHT = 800, 400
BACKGROUND, INK, FAINT, GRID = "#ffffff", "#1b2130", "#5b6472", "#d9dee6"
VARIATION, CONTROL = "#c62f3b", "#2563a8"
"""The colours of the arms, told apart by people who see no red or green as well: one is much darker."""
_LEFT, _RIGHT = 40, 760
_ROWS = (150, 265)
_BAR = 34
_SHORT = 34


class Bar(NamedTuple):
    """One arm: its value, what it was counted from, and the ends of its interval where they are known."""

    name: str
    colour: str
    value: float
    counted: str
    ends: tuple[float, float] | None


def draw(decision: Decision) -> bytes:
    """
    Return a PNG of the decision's evidence; nothing where control's value is not known, as there is nothing to compare.

    The intervals hold at every moment at once, with 95 %, as those of the page.
    """
    what = watched(decision.guardrail)
    bars = bars_of(decision, what)
    if len(bars) < 2:
        return b""
    image = Image.new("RGB", (WIDTH, HEIGHT), BACKGROUND)
    canvas = ImageDraw.Draw(image)
    _text(canvas, (_LEFT, 24), f"{decision.flag_key} · {decision.environment}", 30, INK)
    _text(canvas, (_LEFT, 66), decision.guardrail, 20, FAINT)
    most = max(max(bar.value, bar.ends[1] if bar.ends else 0.0) for bar in bars)
    for top, bar in zip(_ROWS, bars, strict=True):
        _bar(canvas, top, bar, most, what)
    _text(canvas, (_LEFT, 350), _caption(decision, bars, what), 20, FAINT)
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def _caption(decision: Decision, bars: list[Bar], what: Watched) -> str:
    evidence = decision.evidence
    apart = differs(evidence.interval, evidence.difference_interval, what) if evidence is not None else ""
    said = [f"Against {decision.control}: {apart}"] if apart else []
    said += ["lines: 95 %, at every moment"] if any(bar.ends for bar in bars) else []
    return "; ".join(said)


def bars_of(decision: Decision, what: Watched) -> list[Bar]:
    """Return the arms that the evidence has numbers of, the variation first."""
    evidence = decision.evidence
    if evidence is None or not evidence.n_control or evidence.value_control is None:
        return []
    if min(evidence.value, evidence.value_control) < 0.0:
        return []
    ours = Bar(decision.variant, VARIATION, evidence.value, *_of(evidence, what, is_control=False))
    theirs = Bar(decision.control, CONTROL, evidence.value_control, *_of(evidence, what, is_control=True))
    return [ours, theirs]


def _of(evidence: Evidence, what: Watched, *, is_control: bool) -> tuple[str, tuple[float, float] | None]:
    """What an arm was counted from, and its interval: only of counts is one known."""
    n = evidence.n_control if is_control else evidence.n
    events = evidence.events_control if is_control else evidence.events
    if what.kind not in FAILING:
        return f"n = {count(n)}", None
    return f"{count(events)} of {count(n)}", rate_interval(float(n), float(min(events, n))) if n else None


def _bar(canvas: ImageDraw.ImageDraw, top: int, bar: Bar, most: float, what: Watched) -> None:
    shown = bar.name if len(bar.name) <= _SHORT else f"{bar.name[: _SHORT - 1]}…"
    _text(canvas, (_LEFT, top - 40), shown or "variation", 26, bar.colour)
    _text(canvas, (_RIGHT, top - 40), f"{amount(bar.value, what)} · {bar.counted}", 26, INK, right=True)
    canvas.rectangle((_LEFT, top, _RIGHT, top + _BAR), fill=GRID)
    if bar.value > 0.0:
        canvas.rectangle((_LEFT, top, _at(bar.value, most), top + _BAR), fill=bar.colour)
    if bar.ends is None:
        return
    low, high, middle = _at(bar.ends[0], most), _at(bar.ends[1], most), top + _BAR // 2
    # White under the line, so that it is seen on the bar as well as beside it.
    canvas.line((low, middle, high, middle), fill=BACKGROUND, width=8)
    canvas.line((low, middle, high, middle), fill=INK, width=4)
    for end in (low, high):
        canvas.line((end, middle - 12, end, middle + 12), fill=INK, width=4)


def _at(value: float, most: float) -> float:
    return _LEFT + (_RIGHT - _LEFT) * (value / most if most > 0.0 and math.isfinite(value) else 0.0)


def _text(
    canvas: ImageDraw.ImageDraw, at: tuple[float, float], text: str, size: int, colour: str, *, right: bool = False
) -> None:
    font = ImageFont.load_default(size)
    line = clean(text)
    while canvas.textlength(line, font) > _RIGHT - _LEFT:
        line = f"{line[:-2]}…"
    canvas.text(at, line, fill=colour, font=font, anchor="ra" if right else "la")
