"""What a flag document gives whom: the shares that are served, those that people wrote, and whether they are of all traffic."""

from __future__ import annotations

from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.dividing import serves
from guardian.flagdoc import Flag, Overlay, overlaid
from guardian.served import Serves

BY_UNIT = {"cat": [{"var": "$flagd.flagKey"}, {"var": "targetingKey"}]}
EVALUATORS = {"staff": {"ends_with": [{"var": "email"}, "@shop.example"]}}


def split(control: int, treatment: int, *by: Any) -> dict[str, Any]:
    return {"fractional": [*by, ["control", control], ["treatment", treatment]]}


def flag(targeting: Any = None, **more: Any) -> Flag:
    variants = {"control": "old", "treatment": "new"}
    made = {"state": "ENABLED", "variants": variants, "defaultVariant": "control", **more}
    return {**made, "targeting": targeting} if targeting is not None else made


def told(base: Flag, **decided: Any) -> Serves:
    """What is told of a flag with this decided over it, or nothing."""
    if not decided:
        return serves(base, base, None, EVALUATORS)
    record = {"flag_key": "checkout", "environment": "production", "version": 1, "control": "control", **decided}
    overlay = cast("Overlay", record)
    return serves(base, overlaid(base, overlay, EVALUATORS), overlay, EVALUATORS)


@given(control=st.integers(0, 1_000), treatment=st.integers(0, 1_000), by=st.sampled_from([(), (BY_UNIT,)]))
def test_a_plain_split_gives_all_users_its_shares(control: int, treatment: int, by: tuple[Any, ...]):
    """The weights of a split by unit, as parts of their sum, are the parts of all traffic."""
    found = told(flag(split(control, treatment, *by)))

    whole = control + treatment or 1
    assert {"control": control / whole, "treatment": treatment / whole} == found.parts == found.written
    assert found.is_divided == bool(control and treatment)


def test_a_flag_without_rules_gives_its_default():
    """Everybody gets the default variant."""
    assert {"control": 1.0, "treatment": 0.0} == told(flag()).parts


@pytest.mark.parametrize(
    "targeting",
    [
        pytest.param({"if": [{"==": [{"var": "country"}, "DE"]}, "control", split(90, 10)]}, id="some get another answer"),
        pytest.param({"if": [{"==": [{"var": "country"}, "DE"]}, split(50, 50), split(90, 10)]}, id="some get another split"),
        pytest.param(split(90, 10, {"var": "company"}), id="whole companies get one"),
        pytest.param(split(90, 10, {"cat": [{"var": "targetingKey"}, {"var": "country"}]}), id="by more than the unit"),
        pytest.param({"fractional": [BY_UNIT, ["control", 90], [{"var": "theirs"}, 10]]}, id="computed"),
        pytest.param({"if": [{"$ref": "staff"}, "treatment", split(90, 10)]}, id="a shared rule"),
    ],
)
def test_where_some_are_served_apart_no_parts_are_known(targeting: dict[str, Any]):
    """How many meet a condition, or how large a company is, is nowhere written: no parts of all traffic are told."""
    assert {} == told(flag(targeting)).parts


def test_a_flag_that_is_disabled_gives_what_nobody_knows():
    """Clients serve the default of their code, whatever the document says."""
    assert {} == told(flag(split(90, 10, BY_UNIT), state="DISABLED")).parts


@pytest.mark.parametrize(
    ("decided", "served"),
    [
        ({"killed": {"treatment": "control"}}, 0.0),
        ({"shares": {"treatment": 0.5}, "seen": {"treatment": 0.1}}, 0.5),
        ({"shares": {"treatment": 0.5}, "seen": {"treatment": 0.2}}, 0.1),
        ({"off": True}, 0.0),
    ],
)
def test_what_was_decided_is_served_and_what_people_wrote_stands_beneath(decided: dict[str, Any], served: float):
    """A kill, a share, a share that people have changed since, and off: served is what is left, written what people wrote."""
    found = told(flag(split(90, 10, BY_UNIT)), decision_id="production|checkout|treatment|7", **decided)

    assert pytest.approx({"control": 1.0 - served, "treatment": served}) == found.parts
    assert {"control": 0.9, "treatment": 0.1} == found.written
    assert 7 == found.order


def test_rings_have_shares_of_their_own():
    """A ring that is given a share is told beside everybody's, whose part of all traffic is then not known."""
    found = told(flag(split(100, 0, BY_UNIT)), shares={"treatment": 0.0}, rings={"staff": {"treatment": 1.0}})

    assert {"staff": {"control": 0.0, "treatment": 1.0}} == found.rings
    assert {"control": 1.0, "treatment": 0.0} == found.shares
    assert {} == found.parts
    assert found.is_divided
