"""What the shop sells, and two ways of finding it."""

from __future__ import annotations

from functools import cache

from demo.cart import Product

MATERIALS = ("linen", "wool", "oak", "steel", "cotton", "glass", "leather", "paper", "clay", "cork")
KINDS = (("lamp", 4900, 1900), ("bag", 3900, 700), ("bowl", 1900, 850), ("shirt", 2900, 300), ("notebook", 900, 250))

SAMPLE = Product("free-sample", "a free sample", 0, 20, 19)
GIFT_CARD = Product("gift-card", "gift card", 2_500, None, 0)

PRODUCTS: dict[str, Product] = {
    product.sku: product
    for product in (
        *(
            Product(
                f"{material}-{kind}", f"{material} {kind}", cents + 130 * number, grams, 7 if kind == "notebook" else 19
            )
            for number, material in enumerate(MATERIALS)
            for kind, cents, grams in KINDS
        ),
        SAMPLE,
        GIFT_CARD,
    )
}


@cache
def search(query: str) -> tuple[str, ...]:
    """The old search: products with all words of the query in their name, cheapest first."""
    words = query.lower().split()
    found = (product for product in PRODUCTS.values() if all(word in product.name for word in words))
    return tuple(product.sku for product in sorted(found, key=lambda product: (product.price_cents, product.sku)))


@cache
def search_ranked(query: str) -> tuple[str, ...]:
    """The new search: any word of the query counts, whole words more than parts; best first, then cheapest."""
    words = query.lower().split()

    def score(product: Product) -> int:
        of_name = product.name.split()
        return sum(2 if word in of_name else 1 if word in product.name else 0 for word in words)

    found = [product for product in PRODUCTS.values() if score(product)]
    found.sort(key=lambda product: (-score(product), product.price_cents, product.sku))
    return tuple(product.sku for product in found[:20])
