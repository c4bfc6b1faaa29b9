"""The shop is a real one: its checkouts are right to the cent where they work, and its bug is a bug."""

from __future__ import annotations

import random

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openfeature import api
from openfeature.hook import clear_hooks

from demo import checkout_v1, checkout_v2, checkout_v2_1
from demo.cart import Line
from demo.catalogue import GIFT_CARD, PRODUCTS, SAMPLE, search, search_ranked
from demo.shop import FOLDER_OF_FLAGS, Shop, provider
from demo.users import Crowd
from streams.instrument import ExposureHook
from tests.streams.instrument.recorder import Recorder

goods = [product for product in PRODUCTS.values() if product.weight_g and product.price_cents]
paid_lines = st.lists(st.builds(Line, st.sampled_from(goods), st.integers(1, 5)), min_size=1, max_size=8)
percents = st.integers(0, 100)


@given(paid_lines, percents)
def test_old_and_new_checkout_charge_the_same(lines: list[Line], percent: int):
    """Discount, shipping and total are the same in all builds; tax differs by rounding alone, a cent a line."""
    old, new = checkout_v1.quote(lines, percent), checkout_v2.quote(lines, percent)

    assert (old.total_cents, old.discount_cents, old.shipping_cents) == (
        new.total_cents,
        new.discount_cents,
        new.shipping_cents,
    )
    assert abs(old.tax_cents - new.tax_cents) <= len(lines)
    assert abs(new.tax_cents - checkout_v2_1.quote(lines, percent).tax_cents) <= len(lines)


@given(st.integers(0, 100_000), st.lists(st.integers(0, 10_000), min_size=1, max_size=10))
def test_shares_add_up(cents: int, weights: list[int]):
    """A discount is shared out to the cent, nobody gets more than the next cent of their part."""
    shares = checkout_v2.share_out(cents, weights)
    whole = sum(weights)

    assert (cents if whole else 0) == sum(shares)
    assert all(abs(share - cents * weight / whole) < 1 for share, weight in zip(shares, weights, strict=True) if whole)


@given(paid_lines, percents)
def test_the_bug_is_the_free_sample(lines: list[Line], percent: int):
    """Build 2.0.1 fails for every cart with the free sample, whatever else is in it, and 2.0.0 for none."""
    lines = [*lines, Line(SAMPLE, 1)]

    assert checkout_v1.quote(lines, percent).total_cents == checkout_v2.quote(lines, percent).total_cents
    with pytest.raises(ZeroDivisionError):
        checkout_v2_1.quote(lines, percent)


@pytest.mark.parametrize("quote", [checkout_v1.quote, checkout_v2.quote, checkout_v2_1.quote])
def test_the_old_bug_is_in_all_builds(quote: object):
    """A cart of gift cards alone fails in every build alike: what fails in both arms is nobody's regression."""
    assert callable(quote)
    with pytest.raises(ValueError, match="empty"):
        quote([Line(GIFT_CARD, 1)], 0)


@given(st.sampled_from([word for product in goods for word in product.name.split()]))
def test_the_new_search_finds_no_less(word: str):
    """For a word of a product's name both searches find the same products; the new one's order differs."""
    assert set(search(word)) == set(search_ranked(word))


def test_the_new_search_finds_more_of_two_words():
    """For two words that no product has together the old search finds nothing, the new one both."""
    assert () == search("oak shirt wool")
    assert {"wool-shirt", "oak-shirt"} <= set(search_ranked("oak shirt wool"))


def test_the_crowd_is_reproducible_and_buys():
    """A seed gives the same walk; a fifth of all requests or so is a checkout, six in ten of those with the sample."""

    def walk(seed: int) -> list[str]:
        rng = random.Random(seed)
        crowd = Crowd(300, 20, rng)
        steps: list[str] = []
        while len(steps) < 6_000:
            user = crowd.clicks()
            assert user is not None
            step = user.next()
            steps.append(f"{user.session} {step.method} {step.path} {step.sku or ''}")
        return steps

    steps = walk(7)
    checkouts = {step.split()[0] for step in steps if " /checkout" in step}
    samples = {step.split()[0] for step in steps if step.endswith(SAMPLE.sku)}

    assert walk(7) == steps
    assert 0.15 < sum(" /checkout" in step for step in steps) / len(steps) < 0.3
    assert 0.5 < len(checkouts & samples) / len(checkouts) < 0.7


async def test_deploying_the_bug_hurts_the_treatment_alone():
    """The build that is deployed reaches who has the flag's treatment, and nobody else; the answer says where."""
    recorder = Recorder()
    api.set_provider_and_wait(provider(str(FOLDER_OF_FLAGS / "flags.json")))
    clear_hooks()
    api.add_hooks([ExposureHook(recorder)])
    app = Shop(api.get_client()).app(recorder)
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    answers: dict[tuple[str, str], set[tuple[int, str]]] = {}
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
        for build in ("2.0.0", "2.0.1"):
            await client.post("/admin/build", json={"checkout-v2": build})
            for number in range(60):
                headers = {"x-user": f"u-{number}", "x-session": f"{build}-{number}"}
                for sku in ("oak-bowl", SAMPLE.sku):
                    await client.post("/cart", json={"sku": sku}, headers=headers)
                answer = await client.post("/checkout?voucher=10", headers=headers)
                said = (answer.status_code, answer.json().get("file", ""))
                answers.setdefault((build, answer.headers["x-flags"]), set()).add(said)
        refused = await client.post("/admin/build", json={"checkout-v2": "3.0.0"})
    clear_hooks()
    api.clear_providers()

    assert {
        ("2.0.0", "checkout-v2=control"): {(200, "")},
        ("2.0.0", "checkout-v2=treatment"): {(200, "")},
        ("2.0.1", "checkout-v2=control"): {(200, "")},
        ("2.0.1", "checkout-v2=treatment"): {(500, "checkout_v2_1.py")},
    } == answers
    assert (404, "no build 3.0.0, there are 2.0.0, 2.0.1") == (refused.status_code, refused.json()["error"])
    assert {("control", "ok"), ("treatment", "ok"), ("treatment", "error")} == {
        (outcome.flags["checkout-v2"], outcome.outcome) for outcome in recorder.outcomes
    }
