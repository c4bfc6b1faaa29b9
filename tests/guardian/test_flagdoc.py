"""What is served is what people wrote, with the guardian's decisions laid over it, and nothing else."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openfeature.contrib.tools.flagd.core import FlagdCore
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import OpenFeatureError

from guardian.flagdoc import (
    Overlay,
    compose,
    overlay_version,
    splits,
    unstamped,
    validate,
    weights,
)

FEW = settings(max_examples=30, deadline=None)
WORDS = ("control", "treatment", "other")
TRUTHS = ("true", "false")
CONTEXTS = [
    EvaluationContext(f"user-{n}", {"plan": plan, "forced": forced, "w": n % 3})
    for n, (plan, forced) in enumerate((p, f) for p in ("pro", "free") for f in (*WORDS, *TRUTHS, None, True))
]


def rules(names: tuple[str, ...]) -> st.SearchStrategy[Any]:
    """Targeting as people write it, and worse: answers literal, split, nested, computed, shared."""
    conditions = [
        {"==": [{"var": "plan"}, "pro"]},
        {"===": [{"var": "forced"}, names[1]]},
        {"in": [{"var": "forced"}, [names[0], names[1]]]},
    ]
    computed = [
        {"var": "forced"},
        {"var": ["nowhere", names[1]]},
        {"cat": [names[1][:2], names[1][2:]]},
        {"$ref": "shared"},
    ]
    tests = st.sampled_from(conditions)
    # A truth is an answer too, where the variants are called true and false.
    plain = [*names, None, *computed, *([True, False, *conditions] if names == TRUTHS else [])]
    weight = st.one_of(st.integers(0, 100), st.just({"var": "w"}))

    def wider(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        entry = st.one_of(
            st.tuples(st.sampled_from(names), weight), st.tuples(inner, weight), st.tuples(st.sampled_from(names))
        ).map(list)
        head = st.sampled_from([[], [{"var": "targetingKey"}]])
        return st.one_of(
            st.tuples(tests, inner, inner).map(lambda parts: {"if": list(parts)}),
            st.tuples(tests, inner).map(lambda parts: {"if": list(parts)}),
            st.tuples(tests, inner, tests, inner, inner).map(lambda parts: {"if": list(parts)}),
            st.tuples(head, st.lists(entry, min_size=1, max_size=4)).map(lambda p: {"fractional": p[0] + p[1]}),
            st.tuples(tests, inner).map(lambda parts: {"and": list(parts)}),
            st.tuples(inner, inner).map(lambda parts: {"or": list(parts)}),
            tests,
        )

    return st.recursive(st.sampled_from(plain), wider, max_leaves=6).filter(lambda r: isinstance(r, dict))


@st.composite
def documents(draw: st.DrawFn, names: tuple[str, ...] = WORDS) -> dict[str, Any]:
    flag = {
        "state": "ENABLED",
        "variants": {name: f"value of {name}" for name in names},
        "defaultVariant": draw(st.sampled_from([*names, None])),
        "targeting": draw(rules(names)),
        "metadata": {"version": draw(st.sampled_from(["17", 4, "a+b"])), "team": "checkout"},
    }
    shared = {"fractional": [[names[0], 30], [names[1], 70]]}
    other = {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "off"}
    return {"$evaluators": {"shared": shared}, "flags": {"other": other, "f": flag, "third": dict(flag)}}


def overlay(version: int = 3, **decided: Any) -> Overlay:
    record = {"flag_key": "f", "environment": "production", "version": version, **decided}
    return cast("Overlay", record)


def answers(document: dict[str, Any], key: str = "f", contexts: list[EvaluationContext] = CONTEXTS) -> list[str | None]:
    """What the official evaluator answers to each context."""
    core = FlagdCore()
    core.set_flags(json.dumps(document))
    found: list[str | None] = []
    for context in contexts:
        try:
            found.append(core.resolve_string_value(key, "default in code", context).variant)
        except OpenFeatureError as error:
            found.append(f"error: {type(error).__name__}")
    return found


STAFF = {"staff": {"==": [{"var": "plan"}, "pro"]}}
"""A ring: of the contexts, those with the plan ``pro``."""


@settings(max_examples=100, deadline=None)
@given(documents(), st.sampled_from([0.0, 0.25, 1.0]), st.sampled_from([0.0, 0.1, 0.5]))
def test_a_ring_changes_nothing_for_anybody_else(document: dict[str, Any], in_ring: float, share: float):
    """
    Whatever people's rules are: with a ring, all who are not in it are answered as without; who is in it, by its share.
    """
    document["$evaluators"] |= STAFF
    decided: dict[str, Any] = {"shares": {"treatment": share}, "control": "control"}
    plain = answers(compose(document, [overlay(**decided)]))
    rung = answers(compose(document, [overlay(**decided, rings={"staff": {"treatment": in_ring}})]))
    alone = answers(compose(document, [overlay(**decided | {"shares": {"treatment": in_ring}})]))

    for context, was, now, ring in zip(CONTEXTS, plain, rung, alone, strict=True):
        assert now == (ring if context.attributes["plan"] == "pro" else was)


@settings(max_examples=60, deadline=None)
@given(documents())
def test_a_kill_is_one_in_every_ring(document: dict[str, Any]):
    """
    Whoever had a killed variation, in a ring or not, has control; what rings give of others stays as it was.
    """
    document["$evaluators"] |= STAFF
    rings = {"staff": {"treatment": 1.0, "other": 0.0}}
    decided: dict[str, Any] = {"shares": {"treatment": 0.1}, "control": "control", "rings": rings}
    before = answers(compose(document, [overlay(control="control", rings={"staff": {"other": 0.0}})]))

    after = answers(compose(document, [overlay(**decided, killed={"treatment": "control"})]))

    assert ["control" if was == "treatment" else was for was in before] == after


def test_a_ring_keeps_peoples_answers_and_their_groups_use():
    """
    What people answer before their split stays theirs, and so does their own rule for the same group.
    """
    split = {"fractional": [{"var": "targetingKey"}, ["control", 50], ["other", 50]]}
    document = split_document(["control", 100], ["treatment", 0])
    document["$evaluators"] = STAFF
    document["flags"]["f"]["targeting"] = {
        "if": [{"==": [{"var": "forced"}, "control"]}, "control", {"$ref": "staff"}, split, split]
    }
    found = answers(compose(document, [overlay(rings={"staff": {"treatment": 0.5}}, control="control")]))

    staff = [got for context, got in zip(CONTEXTS, found, strict=True) if context.attributes["plan"] == "pro"]
    forced = [got for context, got in zip(CONTEXTS, found, strict=True) if context.attributes["forced"] == "control"]
    assert {"control"} == set(forced)
    assert {"treatment", "other"} <= set(staff)


def test_a_ring_saved_as_people_s_own_does_not_pile_up():
    """
    A served document that somebody saves as the new base is served as it was, however often.
    """
    rings = {"staff": {"treatment": 1.0}}
    document = split_document(["control", 90], ["treatment", 10]) | {"$evaluators": STAFF}
    once = compose(document, [overlay(rings=rings, shares={"treatment": 0.1}, control="control")])
    again = compose(unstamped(once), [overlay(rings=rings, shares={"treatment": 0.1}, control="control")])

    assert once["flags"]["f"]["targeting"] == again["flags"]["f"]["targeting"]


def test_who_is_in_two_rings_counts_in_the_first():
    """
    The first ring that a unit is in decides, so a later ring takes nothing from those who have it.
    """
    document = split_document(["control", 100], ["treatment", 0])
    document["$evaluators"] = STAFF | {"all": {"!": [False]}}
    rings = {"staff": {"treatment": 1.0}, "all": {"treatment": 0.0}}
    found = answers(compose(document, [overlay(rings=rings, control="control")]))

    assert [("treatment" if one.attributes["plan"] == "pro" else "control") for one in CONTEXTS] == found


@settings(max_examples=100, deadline=None)
@given(st.sampled_from([WORDS, TRUTHS]).flatmap(lambda names: st.tuples(st.just(names), documents(names))))
def test_a_kill_moves_its_users_to_control_and_nobody_else(case: tuple[tuple[str, ...], dict[str, Any]]):
    """
    After a kill the official evaluator never answers the killed variation, and answers everybody else as before.
    """
    (control, killed, *_), document = case
    before = answers(document)

    after = answers(compose(document, [overlay(killed={killed: control})]))

    assert [control if was == killed else was for was in before] == after


@FEW
@given(documents(), st.sampled_from([{"killed": {"treatment": "control"}}, {"off": True, "control": "control"}]))
def test_composing_twice_is_composing_once(document: dict[str, Any], decided: dict[str, Any]):
    """
    What is composed already is not changed by the same overlay, so two servers in a row do no harm.
    """
    once = compose(document, [overlay(**decided)])

    assert json.dumps(once) == json.dumps(compose(once, [overlay(**decided)]))


@FEW
@given(documents(), st.booleans())
def test_other_flags_stay_byte_for_byte(document: dict[str, Any], off: bool):
    """
    A decision about one flag leaves all others, the flag's place, and the document's other fields as written.
    """
    composed = compose(document, [overlay(killed={"treatment": "control"}, off=off, control="control")])

    def without_f(doc: dict[str, Any]) -> str:
        return json.dumps({**doc, "flags": {key: flag for key, flag in doc["flags"].items() if key != "f"}})

    assert without_f(document) == without_f(composed)
    assert list(document["flags"]) == list(composed["flags"])
    assert json.dumps(document) == json.dumps(compose(document, []))


@FEW
@given(documents(), documents())
def test_a_persons_edit_after_a_kill_is_served_and_the_kill_stays(old: dict[str, Any], new: dict[str, Any]):
    """
    An edit made after a kill is served in full, but for the killed variation.
    """
    kill = overlay(killed={"treatment": "control"})
    new["flags"]["f"] |= {"variants": {**new["flags"]["f"]["variants"], "fourth": "added"}}
    new["flags"]["f"]["metadata"]["team"] = "search"

    compose(old, [kill])
    served = compose(new, [kill])["flags"]["f"]

    assert new["flags"]["f"]["variants"] == served["variants"]
    assert "search" == served["metadata"]["team"]
    assert "treatment" not in answers(compose(new, [kill]))


@FEW
@given(documents(), st.floats(0, 1), st.floats(0, 1), st.booleans(), st.booleans())
def test_a_valid_document_stays_valid(document: dict[str, Any], one: float, two: float, killed: bool, off: bool):
    """
    Whatever the guardian decides about a valid document, the result may be pushed.
    """
    decided = overlay(
        killed={"treatment": "control"} if killed else {},
        shares={"treatment": one, "other": two},
        off=off,
        control="control",
    )

    assert [] == validate(document)
    assert [] == validate(compose(document, [decided]))


def split_document(*entries: list[Any]) -> dict[str, Any]:
    flag = {
        "state": "ENABLED",
        "variants": {name: name for name in WORDS},
        "defaultVariant": "control",
        "targeting": {"fractional": [*entries]},
    }
    return {"flags": {"f": flag}}


@pytest.mark.parametrize(
    ("written", "killed"),
    [
        ([["control", 90], ["treatment", 10]], [["control", 100], ["treatment", 0]]),
        ([["treatment", 10], ["control", 90]], [["treatment", 0], ["control", 100]]),
        ([{"var": "k"}, ["control"], ["treatment"]], [{"var": "k"}, ["control", 2], ["treatment", 0]]),
        (
            [["control", 1], ["treatment", {"var": "w"}]],
            [["control", 1], ["control", {"var": "w"}], ["treatment", 0]],
        ),
        ([["treatment", 5], ["other", 5]], [["control", 5], ["treatment", 0], ["other", 5]]),
    ],
)
def test_a_kill_reads_as_people_would_write_it(written: list[Any], killed: list[Any]):
    """
    90/10 becomes 100/0; away from control a slice of control takes the place, so that no other slice moves.
    """
    served = compose(split_document(*written), [overlay(killed={"treatment": "control"})])

    assert killed == served["flags"]["f"]["targeting"]["fractional"]


def test_a_kill_writes_out_a_shared_rule_for_its_flag_alone():
    """
    A killed flag that used a shared rule gets its own copy, in which the weights are seen; others share on.
    """
    document = split_document()
    document["$evaluators"] = {"half": {"fractional": [["control", 50], ["treatment", 50]]}}
    document["flags"]["f"]["targeting"] = {"$ref": "half"}

    served = compose(document, [overlay(killed={"treatment": "control"})])

    assert {"fractional": [["control", 100], ["treatment", 0]]} == served["flags"]["f"]["targeting"]
    assert document["$evaluators"] == served["$evaluators"]


def test_a_flag_that_is_off_answers_control_and_not_the_default_in_the_code():
    """
    A flag killed whole stays ENABLED and answers control: DISABLED would answer the default in the client's code.
    """
    served = compose(split_document(["treatment", 10]), [overlay(off=True, control="control")])

    assert "ENABLED" == served["flags"]["f"]["state"]
    assert {"control"} == set(answers(served))


shares = st.sampled_from([0.0, 0.01, 0.1, 0.125, 0.25, 1 / 3, 0.5])
orders = st.sampled_from([[80, 10, 10], [0, 90, 10], [5, 5, 90]]).flatmap(
    lambda weights: st.permutations([list(pair) for pair in zip(WORDS, weights, strict=True)])
)


@FEW
@given(orders, shares, shares)
def test_growing_a_share_keeps_everybody_who_had_it(order: list[list[Any]], one: float, two: float):
    """
    A greater share holds all users of the smaller one, the other variations keep theirs, and control gives.
    """
    document = split_document(*order)
    people = [EvaluationContext(f"user-{n}", {}) for n in range(300)]
    small, great = sorted((one, two))

    fewer, more = (
        answers(compose(document, [overlay(shares={"treatment": share}, control="control")]), contexts=people)
        for share in (small, great)
    )

    assert {n for n, got in enumerate(fewer) if got == "treatment"} <= {
        n for n, got in enumerate(more) if got == "treatment"
    }
    assert [got == "other" for got in answers(document, contexts=people)] == [got == "other" for got in more]


@FEW
@given(orders, shares, shares)
def test_shares_are_met_by_whole_weights(order: list[list[Any]], one: float, two: float):
    """
    The weights that clients get are whole numbers that meet each share to one part in 100,000.
    """
    served = compose(split_document(*order), [overlay(shares={"treatment": one, "other": two}, control="control")])

    (found,) = splits(served["flags"]["f"]["targeting"])
    assert [] == validate(served)
    assert one == pytest.approx(found["treatment"], abs=1e-5)
    assert two == pytest.approx(found["other"], abs=1e-5)


def test_the_version_tells_what_is_served_and_is_not_believed_in_a_base():
    """
    A served flag's version ends in the overlay's; saved as a base, it is read as people's own again.
    """
    served = compose(split_document(["treatment", 10]), [overlay(version=7, command_id="c")])
    flag = served["flags"]["f"]

    assert ("0+g7", 7) == (flag["metadata"]["version"], overlay_version(flag))
    assert {"version": "0"} == unstamped(served)["flags"]["f"]["metadata"]


def test_weights_are_those_of_a_unit_that_meets_no_condition():
    """
    Shares are read past conditions; where none are fixed, none are claimed.
    """
    flag = split_document()["flags"]["f"]
    split = {"fractional": [["control", 3], ["treatment", 1]]}

    def read(rule: Any) -> dict[str, float]:
        return weights({**flag, "targeting": rule})

    assert {"control": 0.75, "treatment": 0.25, "other": 0.0} == read({"if": [{"var": "staff"}, "treatment", split]})
    assert {"control": 1.0, "treatment": 0.0, "other": 0.0} == read({"if": [{"var": "staff"}, "treatment"]})
    assert {} == read({"var": "forced"})


def faulty(**changes: Any) -> dict[str, Any]:
    document = split_document(["control", 90], ["treatment", 10])
    document["flags"]["f"] |= changes
    return document


BLINDING = [
    ({"flags": []}, "flags: [] is not an object"),
    ({"flags": {}, "metadata": None}, "metadata: null is not an object"),
    ({"flags": {"f": None}}, "flags.f: null is not an object"),
    (faulty(variants={}), "flags.f.variants: {} is not an object with a named variant"),
    (faulty(state="enabled"), "flags.f.state: 'enabled' is not ENABLED or DISABLED"),
    (faulty(description="a note"), "flags.f.description: is not a field of a flag"),
    (faulty(metadata={"owner": None}), "flags.f.metadata.owner: null: only texts, numbers and true or false"),
]
SILENT = [
    (faulty(defaultVariant="gone", targeting={}), "flags.f.defaultVariant: 'gone' is not one of control"),
    (faulty(targeting={"fractional": [["control", 90.5], ["treatment", 9.5]]}), "weight 90.5 of 'control'"),
    (faulty(targeting={"fractional": [["control", -90], ["treatment", True]]}), "weight -90 of 'control'"),
    (faulty(targeting={"fractional": [["control", 90], ["treatmnt", 10]]}), "'treatmnt' is not one of the"),
    (faulty(targeting={"fractional": [["control", 2**31], ["treatment", 10]]}), "the weights add up to"),
    (faulty(targeting={"fractionnal": [["control", 90]]}), "'fractionnal' is not an operator; did you mean fract"),
    (faulty(targeting={"if": [True, "treatmnt"]}), "'treatmnt' is not one of the variants"),
    (faulty(targeting={"if": [True, ["treatment"]]}), '["treatment"] is not an answer'),
    (faulty(targeting={"$ref": "nowhere"}), "$ref: 'nowhere' is not in $evaluators"),
    (faulty(variants={"control": None, "treatment": None, "other": None}, targeting={}), "and none null"),
    (faulty(targeting="treatment"), "flags.f.targeting: 'treatment' is not a rule"),
]


@pytest.mark.parametrize(("document", "problem"), BLINDING)
def test_what_makes_a_client_lose_all_its_flags_is_refused(document: Any, problem: str):
    """
    A document that the official evaluator cannot load is never pushed, and it is said what is wrong where.
    """
    assert problem in "\n".join(validate(document))
    with pytest.raises((OpenFeatureError, AttributeError, TypeError)):
        FlagdCore().set_flags(json.dumps(document))


@pytest.mark.parametrize(("document", "problem"), SILENT)
def test_what_clients_would_get_wrong_without_a_word_is_refused(document: Any, problem: str):
    """
    A flag that would serve somebody what nobody wrote is never pushed.
    """
    assert problem in "\n".join(validate(document))


def test_every_problem_is_said_at_once():
    """
    All problems of all flags come together, so that people mend a document in one go.
    """
    flag = faulty(state="on", defaultVariant="gone")["flags"]["f"]

    assert 4 == len(validate({"flags": {"a": flag, "b": flag}}))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["flags", "f", "if", "fractional", "variants", "state", ""]), inner, max_size=3
        )
    ),
    max_leaves=12,
)


@given(json_values, json_values, json_values)
def test_validating_never_raises(one: Any, two: Any, three: Any):
    """
    Whatever people save, the answer is a list of problems; what has none can be written as JSON.
    """
    flag = {"state": "ENABLED", "variants": {"on": 1, "f": 2}, "defaultVariant": two, "targeting": one}

    for document in (three, {"flags": {"f": flag, "g": three}, "metadata": two, "$evaluators": three}):
        if not validate(document):
            json.dumps(document, allow_nan=False)
            compose(document, [overlay(killed={"on": "f"})])
