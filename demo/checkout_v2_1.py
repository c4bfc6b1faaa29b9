"""
Build 2.0.1 of the new checkout: the invoice shows each line's own rate of discount.

This is the bug that the demo ships. It looks as harmless in a review as it
works in a test: a line that costs nothing has no rate.
"""

from __future__ import annotations

from collections.abc import Sequence

from demo.cart import Line, Quote, shipping_cents
from demo.checkout_v2 import share_out


def quote(lines: Sequence[Line], voucher_percent: int) -> Quote:
    """Return what the cart costs with a voucher of so many percent."""
    subtotal = sum(line.total_cents for line in lines)
    discount = subtotal * voucher_percent // 100
    shares = share_out(discount, [line.total_cents for line in lines])
    tax = 0
    for line, share in zip(lines, shares, strict=True):
        line_rate = share / line.total_cents
        tax_rate = line.product.tax_percent / (100 + line.product.tax_percent)
        tax += round(line.total_cents * (1 - line_rate) * tax_rate)
    return Quote(subtotal, discount, tax, shipping_cents(lines))
