"""Whether stores serve the same, and what is said where they do not."""

from __future__ import annotations

import pytest

from streams.stores.drift import Served, difference

TEN = {"control": 0.9, "treatment": 0.1}
NONE = {"control": 1.0, "treatment": 0.0}


def on(shares: dict[str, float], finest: float = 1e-6, *, is_on: bool = True) -> Served:
    return Served(is_on, shares, finest)


@pytest.mark.parametrize(
    ("stores", "said"),
    [
        ({"web": on(TEN), "mobile": on(NONE)}, "web serves treatment to 10 %, mobile to 0 %"),
        ({"web": on(NONE), "mobile": on(TEN)}, "web serves treatment to 0 %, mobile to 10 %"),
        (
            {"web": on(TEN), "mobile": on(NONE), "tv": on(TEN)},
            "web serves treatment to 10 %, mobile to 0 %, tv to 10 %",
        ),
        ({"web": on(TEN), "mobile": on(TEN, is_on=False)}, "it is on in web, off in mobile"),
        ({"web": on(TEN), "mobile": None}, "mobile does not have it"),
        (
            {"web": on({"a": 0.5, "b": 0.3, "c": 0.2}), "mobile": on({"a": 0.5, "b": 0.4, "c": 0.1})},
            "web serves c to 20 %, mobile to 10 %",
        ),
        ({"web": on(TEN), "mobile": on({"control": 1.0})}, "web serves treatment to 10 %, mobile to 0 %"),
    ],
)
def test_what_differs_is_said_in_one_sentence(stores, said):
    """Each store is named with what it serves; the variation that has the rest is left out."""
    assert said == difference(stores)


@pytest.mark.parametrize(
    "stores",
    [
        {"web": on(TEN), "mobile": on(TEN)},
        {"web": on(TEN)},
        {"web": None, "mobile": None},
        {"web": on(TEN, is_on=False), "mobile": on(NONE, is_on=False)},
        {"web": on({"control": 0.875, "treatment": 0.125}), "mobile": on({"control": 0.88, "treatment": 0.12}, 0.01)},
    ],
)
def test_what_stores_cannot_tell_apart_is_the_same(stores):
    """Shares that are rounded by a store, and shares of what is off, are no difference."""
    assert "" == difference(stores)


def test_whether_anybody_is_served_is_never_rounded():
    """1 % in one store and nothing in the other differ, however coarse a store is: that is a kill that did not arrive."""
    stores = {"web": on({"control": 0.99, "treatment": 0.01}), "mobile": on(NONE, 0.01)}

    assert "web serves treatment to 1 %, mobile to 0 %" == difference(stores)
