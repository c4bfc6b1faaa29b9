"""The checkout as it has been for years: the discount is taken off the sum, tax is that of the average line."""

from __future__ import annotations

from collections.abc import Sequence

from demo.cart import Line, Quote, shipping_cents


def quote(lines: Sequence[Line], voucher_percent: int) -> Quote:
    """Return what the cart costs with a voucher of so many percent."""
    subtotal = sum(line.total_cents for line in lines)
    discount = subtotal * voucher_percent // 100
    tax = 0.0
    for line in lines:
        left = line.total_cents * (100 - voucher_percent) / 100
        tax += left * line.product.tax_percent / (100 + line.product.tax_percent)
    return Quote(subtotal, discount, round(tax), shipping_cents(lines))
