"""The chart of the verdicts: false kills above, delays below, one bar a judge; plain SVG."""

from __future__ import annotations

import math
from html import escape

COLOURS = ("#0b6e4f", "#8fa8c8", "#5f7ea8", "#c9a66b", "#c98f8f", "#b96a6a", "#8a8a8a")
LEFT, WIDTH, ROW, GAP, TOP = 300, 520, 11, 16, 64

Found = dict[str, dict[str, dict[str, float | None]]]


def draw(found: Found) -> str:
    """Return an SVG with a panel for false kills, one for delays, both on a log scale, and a legend."""
    parts = _legend(list(found))
    y: float = TOP
    for what, least, most, unit in (("false kills, %", 0.1, 100.0, "%"), ("delay, s", 1.0, 1_200.0, "s")):
        parts.append(_text(16, y, what, size=15, weight="bold"))
        y += 12
        for scene in found["ours"][what]:
            y = _scene(parts, y, scene, [found[name][what].get(scene) for name in found], (least, most), unit)
        y += 26
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 90}" height="{y:.0f}" font-family="sans-serif">'
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *parts, "</svg>", ""])


def _scene(
    parts: list[str], y: float, scene: str, values: list[float | None], ends: tuple[float, float], unit: str
) -> float:
    """Add the bars of one scene; return where the next one begins."""
    least, most = ends
    parts.append(_text(LEFT - 8, y + ROW * len(values) / 2 + 4, scene, anchor="end"))
    for number, value in enumerate(values):
        top = y + number * ROW
        part = 0.0 if value is None or value <= least else math.log(value / least) / math.log(most / least)
        length = max(2.0, min(1.0, part) * WIDTH)
        label = "not found" if value is None else f"{value:,.1f} {unit}"
        parts.append(f'<rect x="{LEFT}" y="{top:.0f}" width="{length:.1f}" height="{ROW - 2}" fill="{COLOURS[number]}"/>')
        parts.append(_text(LEFT + length + 5, top + ROW - 3, label, size=9))
    return y + ROW * len(values) + GAP


def _legend(names: list[str]) -> list[str]:
    parts = []
    for number, name in enumerate(names):
        x = 16 + number * 118
        parts.append(f'<rect x="{x}" y="16" width="12" height="12" fill="{COLOURS[number]}"/>')
        parts.append(_text(x + 18, 27, name, weight="bold" if number == 0 else "normal"))
    return parts


def _text(x: float, y: float, text: str, *, size: int = 12, anchor: str = "start", weight: str = "normal") -> str:
    return (
        f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}" text-anchor="{anchor}" font-weight="{weight}">'
        f"{escape(text)}</text>"
    )
