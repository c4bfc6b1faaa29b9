"""What a cart is, what a quote is, and the shipping that every version of the checkout shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Product:
    """Something to sell; what has no weight (a gift card) is sent by mail."""

    sku: str
    name: str
    price_cents: int
    weight_g: int | None
    tax_percent: int


@dataclass(frozen=True, slots=True)
class Line:
    """So many of one product."""

    product: Product
    quantity: int

    @property
    def total_cents(self) -> int:
        """What the line costs before any discount."""
        return self.product.price_cents * self.quantity


@dataclass(frozen=True, slots=True)
class Quote:
    """What the customer pays; the total is what is left of the subtotal, and shipping. Prices include tax."""

    subtotal_cents: int
    discount_cents: int
    tax_cents: int
    shipping_cents: int

    @property
    def total_cents(self) -> int:
        """What is charged."""
        return self.subtotal_cents - self.discount_cents + self.shipping_cents


def shipping_cents(lines: Sequence[Line]) -> int:
    """
    Return the price of the parcel, by its heaviest item.

    An old bug, known and rare: with nothing but gift cards in the cart there
    is no heaviest item, and ``max`` raises. It hits old and new checkout alike,
    as the everyday errors of a real service do.
    """
    heaviest_g = max(line.product.weight_g for line in lines if line.product.weight_g)
    return 390 if heaviest_g < 1_000 else 690
