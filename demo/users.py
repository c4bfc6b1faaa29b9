"""The shop's users: who comes how often, and what each does next."""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

from demo.catalogue import GIFT_CARD, KINDS, MATERIALS, PRODUCTS, SAMPLE

SAMPLE_SHARE = 0.6
"""Sessions that take the free sample from the front page."""
LOOK_SHARE = 0.5
"""Products that are looked at before they go into the cart."""
GIFT_CARD_SHARE = 0.006
"""Sessions that buy a gift card and nothing else."""

_ON_THE_SHELF = tuple(product.sku for product in PRODUCTS.values() if product not in (SAMPLE, GIFT_CARD))

Place = Literal["away", "home", "search", "product", "cart", "checkout"]


@dataclass(frozen=True, slots=True)
class Step:
    """One request: method, path and, for a POST to the cart, what goes in."""

    method: str
    path: str
    sku: str | None = None
    is_checkout: bool = False


class User:
    """One user; walks from the front page to the checkout, session after session."""

    __slots__ = ("_at", "_picks", "_rng", "is_busy", "name", "number", "sessions")

    def __init__(self, number: int, rng: random.Random) -> None:
        self.number = number
        self.name = f"u-{number:05}"
        self.sessions = 0
        self.is_busy = False
        self._rng = rng
        self._at: Place = "away"
        self._picks: list[str] = []

    @property
    def session(self) -> str:
        """The session's name, unique among all users."""
        return f"{self.name}.{self.sessions}"

    def next(self) -> Step:
        """Return what this user asks for next."""
        rng = self._rng
        if self._at == "away":
            self._at = "home"
            return Step("GET", "/")
        if self._at == "home" or (self._at == "cart" and not self._picks and rng.random() < 0.15):
            self._at = "search"
            query = rng.choice(MATERIALS) if rng.random() < 0.5 else rng.choice(KINDS)[0]
            return Step("GET", f"/search?q={query}")
        if self._at == "search":
            self._at = "product"
            self._picks.insert(0, rng.choice(_ON_THE_SHELF))
            if rng.random() < LOOK_SHARE:
                return Step("GET", f"/products/{self._picks[0]}")
        if self._picks:
            self._at = "cart"
            return Step("POST", "/cart", sku=self._picks.pop(0))
        self._at = "checkout"
        return Step("POST", f"/checkout?voucher={rng.choice((0, 0, 0, 10, 20))}", is_checkout=True)

    @property
    def is_gone(self) -> bool:
        """Whether this session is over: bought, or given up."""
        return self._at == "checkout" and not self.is_busy

    def come(self) -> None:
        """Begin a session."""
        self.sessions += 1
        self._at = "away"
        chance = self._rng.random()
        self._picks = []
        if chance < GIFT_CARD_SHARE:
            self._at, self._picks = "product", [GIFT_CARD.sku]
        elif chance < GIFT_CARD_SHARE + SAMPLE_SHARE:
            self._picks = [SAMPLE.sku]

    def leave(self) -> None:
        """Give up on this session."""
        self._at = "checkout"

    def retry(self) -> None:
        """Try the checkout once more."""
        self._at = "cart"
        self._picks.clear()


class Crowd:
    """
    Returning users, some of whom come a hundred times as often as others (lognormal activity).

    A few of them are in the shop at any moment; when one leaves, the next comes in.
    """

    def __init__(self, number: int, present: int, rng: random.Random) -> None:
        self._rng = rng
        self._users = [User(at, rng) for at in range(number)]
        self._cumulated = list(accumulate(rng.lognormvariate(0, 1) for _ in self._users))
        self._present: list[User] = []
        while len(self._present) < present:
            self._present.append(self._newcomer())

    def clicks(self) -> User | None:
        """Return who clicks next; ``None`` if the three who were looked at still wait for their answers."""
        for _ in range(3):
            at = self._rng.randrange(len(self._present))
            if self._present[at].is_gone:
                self._present[at] = self._newcomer()
            if not self._present[at].is_busy:
                return self._present[at]
        return None

    def _newcomer(self) -> User:
        while True:
            (user,) = self._rng.choices(self._users, cum_weights=self._cumulated)
            if user not in self._present:
                user.come()
                return user
