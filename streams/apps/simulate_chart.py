"""A forecast as a chart: a panel a guardrail, a bar from nothing to the median, a line on to 95 %; plain SVG."""

from __future__ import annotations

import math
from html import escape

from guardian.forecast import Finding, Forecast, GuardrailForecast

COLOURS = {"start": "#0b6e4f", "late": "#8fa8c8"}
LEGEND = {"start": "harm from the start", "late": "after a day of good traffic"}
LEFT, WIDTH, ROW, GAP, TOP = 110, 620, 12, 7, 52
LEAST_S, MOST_S = 0.1, 86_400.0
MARKS = (("0.1 s", 0.1), ("1 s", 1.0), ("10 s", 10.0), ("1 min", 60.0), ("10 min", 600.0), ("1 h", 3_600.0), ("1 d", MOST_S))


def draw(found: Forecast) -> str:
    """Return an SVG of the time until harm is found, by guardrail and size, on a log scale."""
    parts: list[str] = []
    for number, (onset, colour) in enumerate(COLOURS.items()):
        parts.append(f'<rect x="{16 + 200 * number}" y="16" width="12" height="12" fill="{colour}"/>')
        parts.append(_text(34 + 200 * number, 27, LEGEND[onset]))
    parts.append(_text(430, 27, "bar: median, line: 95% of runs"))
    y = float(TOP)
    for policy in found.policies:
        parts.append(_text(16, y + 8, f"{policy.flag} in {policy.environment}", size=15, weight="bold"))
        y += 22
        whole = [policy.whole] if policy.whole is not None and len(policy.guardrails) > 1 else []
        for guardrail in [*policy.guardrails, *whole]:
            if guardrail.findings:
                y = _panel(parts, y, guardrail)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 130}" height="{y + 8:.0f}" '
        'font-family="sans-serif">'
    )
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *parts, "</svg>", ""])


def _panel(parts: list[str], y: float, guardrail: GuardrailForecast) -> float:
    """Add the panel of one guardrail; return where the next one begins."""
    title = f"{guardrail.when} → {guardrail.then}" if guardrail.when else f"all on errors together → {guardrail.then}"
    title += "".join(f" ({note})" for note in guardrail.notes)
    parts.append(_text(16, y + 10, title, weight="bold"))
    y += 30
    effects = list(dict.fromkeys(finding.effect for finding in guardrail.findings))
    height = len(effects) * (2 * ROW + GAP)
    for name, at_s in MARKS:
        x = LEFT + _length(at_s)
        parts.append(f'<line x1="{x:.1f}" y1="{y}" x2="{x:.1f}" y2="{y + height}" stroke="#dddddd"/>')
        parts.append(_text(x, y - 4, name, size=9, anchor="middle"))
    for effect in effects:
        parts.append(_text(LEFT - 8, y + ROW + 4, effect, anchor="end"))
        for finding in (one for one in guardrail.findings if one.effect == effect):
            _bar(parts, y, finding)
            y += ROW
        y += GAP
    return y + 18


def _bar(parts: list[str], y: float, finding: Finding) -> None:
    if finding.median_s is None:
        parts.append(_text(LEFT + 5, y + ROW - 3, "not found within a day", size=9))
        return
    median, end = _length(finding.median_s), _length(finding.p95_s if finding.p95_s is not None else MOST_S)
    middle = y + (ROW - 2) / 2
    colour = COLOURS[finding.onset]
    parts.append(f'<rect x="{LEFT}" y="{y:.0f}" width="{max(median, 2):.1f}" height="{ROW - 2}" fill="{colour}"/>')
    parts.append(f'<line x1="{LEFT}" y1="{middle:.1f}" x2="{LEFT + end:.1f}" y2="{middle:.1f}" stroke="{colour}"/>')
    label = f"{_seconds(finding.median_s)}, {finding.exposed:,.0f} exposed"
    parts.append(_text(LEFT + max(median, end) + 5, y + ROW - 3, label, size=9))


def _seconds(seconds: float) -> str:
    return f"{seconds:,.1f} s" if seconds < 120.0 else f"{seconds / 60:,.0f} min"


def _length(seconds: float) -> float:
    part = math.log(max(seconds, LEAST_S) / LEAST_S) / math.log(MOST_S / LEAST_S)
    return min(part, 1.0) * WIDTH


def _text(x: float, y: float, text: str, *, size: int = 12, anchor: str = "start", weight: str = "normal") -> str:
    return (
        f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}" text-anchor="{anchor}" font-weight="{weight}">'
        f"{escape(text)}</text>"
    )
