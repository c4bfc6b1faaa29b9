"""
Build 2.0.0 of the new checkout: the discount is shared out over the lines to the cent, and taxed line by line.

The shares are rounded down and the cents left over go to the lines that lost
most by that (the largest-remainder method), so that they always add up.
"""

from __future__ import annotations

from collections.abc import Sequence

from demo.cart import Line, Quote, shipping_cents


def quote(lines: Sequence[Line], voucher_percent: int) -> Quote:
    """Return what the cart costs with a voucher of so many percent."""
    subtotal = sum(line.total_cents for line in lines)
    discount = subtotal * voucher_percent // 100
    shares = share_out(discount, [line.total_cents for line in lines])
    tax = 0
    for line, share in zip(lines, shares, strict=True):
        rate = line.product.tax_percent
        tax += round((line.total_cents - share) * rate / (100 + rate))
    return Quote(subtotal, discount, tax, shipping_cents(lines))


def share_out(cents: int, weights: Sequence[int]) -> list[int]:
    """Return ``cents`` shared out in proportion to ``weights``; the shares add up to it."""
    whole = sum(weights)
    if not whole:
        return [0] * len(weights)
    shares = [cents * weight // whole for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda at: cents * weights[at] % whole, reverse=True)
    for at in by_remainder[: cents - sum(shares)]:
        shares[at] += 1
    return shares
