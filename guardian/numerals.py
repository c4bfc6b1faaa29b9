"""How numbers are written for people: separators, percent with sensible digits, times with their unit."""

from __future__ import annotations

import math


def count(n: float) -> str:
    """Return a count with thousands separators: ``2,790``."""
    return f"{n:,.0f}"


def among(n: int, noun: str) -> str:
    """Return a count with its noun, in the plural where it is due: ``1 attempt``, ``2,790 requests``."""
    return f"{count(n)} {noun}{'' if n == 1 else 's'}"


def percent(proportion: float, *, exact: bool = False) -> str:
    """
    Return a proportion in percent: ``9.9 %``, ``1.0 %``, ``0.12 %``.

    One decimal from 1 %, two significant digits below; neither rounds to 0 or to 100 what is not. With
    *exact* it is a number that a person wrote (a bound, a share), shown as written: ``5 %``, ``12.5 %``.
    """
    value = proportion * 100.0
    if exact or value in (0.0, 100.0):
        return f"{value:.6g} %"
    if 99.95 <= value < 100.0:
        return f"{min(value, 99.99):.2f} %"
    return f"{value:.1f} %" if abs(value) >= 0.95 else f"{value:.2g} %"


def one_in(chance: float) -> str:
    """Return a chance as people say it: ``1 in 1,000``; above one half it is said in percent."""
    if chance > 0.5:
        return percent(min(chance, 1.0), exact=True)
    odds = 1.0 / chance
    return f"1 in {float(f'{odds:.3g}'):,.0f}" if odds >= 10 else f"1 in {odds:.3g}"


def times(log: float) -> str:
    """Return how many times likelier something is, from the natural log of it: ``6.7×``, ``1,000×``, ``10^9×``."""
    tens = log / math.log(10.0)
    if abs(tens) >= 6.0:
        return f"10^{tens:.0f}×"
    value = math.exp(log)
    return f"{float(f'{value:.3g}'):,.0f}×" if value >= 10.0 else f"{value:.2g}×"


def number(value: float) -> str:
    """Return a plain number with three significant digits: ``4.31``, ``12,400``."""
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}" if abs(rounded) >= 1000 else f"{rounded:g}"


def latency(value_ms: float) -> str:
    """Return a latency: ``812 ms``, from ten seconds ``12.3 s``."""
    if value_ms >= 10_000:
        return f"{value_ms / 1000:,.1f} s"
    return f"{value_ms:,.0f} ms" if value_ms >= 10 else f"{value_ms:.2g} ms"


def duration(value_ms: float) -> str:
    """Return how long something took: ``41 ms``, ``1.2 s``, ``34 s``, ``12 min``, ``3.5 h``."""
    seconds = value_ms / 1000.0
    if seconds < 0.9995:
        return f"{value_ms:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 119.5:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
