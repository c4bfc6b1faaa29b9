"""The hook: what counts as an exposure, and what does not."""

from __future__ import annotations

import pytest
from openfeature import api
from openfeature.evaluation_context import EvaluationContext
from openfeature.flag_evaluation import Reason
from openfeature.hook import Hook

from streams.instrument.events import Exposure
from tests.streams.instrument.recorder import Recorder, client_with, unit

pytestmark = pytest.mark.usefixtures("clean_openfeature")


def test_an_evaluation_is_an_exposure():
    """An evaluation that served a variation is told with its unit, reason and the version of the flag's rules."""
    recorder = Recorder()

    assert client_with(recorder).get_boolean_value("checkout-v2", False, unit("u-1"))
    assert [Exposure("checkout-v2", "treatment", "production", "shop", "u-1", "split", "17")] == recorder.exposures


async def test_an_async_evaluation_is_an_exposure():
    """The async API is heard as well."""
    recorder = Recorder()
    await client_with(recorder).get_boolean_value_async("new-cart", False, unit("u-1"))

    assert [Exposure("new-cart", "control", "production", "shop", "u-1", "targeting_match", None)] == recorder.exposures


@pytest.mark.parametrize("reason", [Reason.DEFAULT, Reason.ERROR, Reason.DISABLED, Reason.STALE, "default"])
def test_a_default_is_no_exposure(reason: Reason | str):
    """Where the code's default or an old value was served nobody was exposed to a variation."""
    recorder = Recorder()
    client_with(recorder, ("odd", "treatment", reason)).get_boolean_value("odd", False, unit("u-1"))

    assert [] == recorder.exposures


@pytest.mark.parametrize("variant", [None, ""])
def test_no_variant_is_no_exposure(variant: str | None):
    """A value without a variation's name cannot be compared with anything."""
    recorder = Recorder()
    client_with(recorder, ("odd", variant, Reason.SPLIT)).get_boolean_value("odd", False, unit("u-1"))

    assert [] == recorder.exposures


@pytest.mark.parametrize("flag_key", ["unknown", "broken"])
def test_an_error_is_no_exposure(flag_key: str):
    """A flag that is unknown, or whose evaluation raises, gives the default and no exposure."""
    recorder = Recorder()

    assert not client_with(recorder).get_boolean_value(flag_key, False, unit("u-1"))
    assert [] == recorder.exposures


def test_a_variation_lost_to_another_hook_is_no_exposure():
    """When another hook fails the evaluation after it was resolved, the default is served: no exposure."""

    class Strict(Hook):
        def after(self, *_: object, **__: object) -> None:
            raise ValueError("not in this house")

    recorder = Recorder()
    client = client_with(recorder)
    api.add_hooks([Strict()])

    assert not client.get_boolean_value("checkout-v2", False, unit("u-1"))
    assert [] == recorder.exposures


def test_without_a_unit_the_exposure_counts_alone():
    """Without a targeting key the exposure is told without a unit, not kept back."""
    recorder = Recorder()
    client_with(recorder).get_boolean_value("checkout-v2", False, EvaluationContext())

    assert [None] == [exposure.context_id for exposure in recorder.exposures]


def test_outside_of_a_request_every_evaluation_counts():
    """A worker without requests exposes its unit at each evaluation."""
    recorder = Recorder()
    client = client_with(recorder)
    for _ in range(3):
        client.get_boolean_value("checkout-v2", False, unit("u-1"))

    assert 3 == len(recorder.exposures)
