"""Base and overlays make one document, whatever the order in which they come and whatever is wrong with some."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.flagdoc import compose, validate
from streams.stores.flagd import generate
from streams.stores.flagd.documents import Documents
from streams.stores.flagd.proto import sync_pb2
from tests.streams.stores.support import kill_record, sample


def raw(document: Any) -> bytes:
    return json.dumps(document).encode()


def edited(**changes: Any) -> dict[str, Any]:
    document = sample()
    document["flags"]["checkout-v2"] |= changes
    return document


def test_an_overlay_counts_once_and_never_goes_back():
    """
    A record that is not newer than the one known for its flag changes nothing, nor does another environment's.
    """
    documents = Documents(raw(sample()))

    assert documents.apply_overlay(kill_record(2))
    seen = documents.revision, documents.text
    assert not documents.apply_overlay(kill_record(2))
    assert not documents.apply_overlay(kill_record(1, killed={}))
    assert not documents.apply_overlay(kill_record(3, environment="staging"))
    assert not documents.apply_overlay({"flag_key": "checkout-v2", "environment": "production"})
    assert seen == (documents.revision, documents.text)
    assert 1 == documents.malformed


def test_a_decision_that_does_not_fit_is_said_and_holds_up_no_other():
    """
    A kill towards a control that the flag lacks is a problem until people mend it; other kills are in force.
    """
    documents = Documents(raw(sample()))

    documents.apply_overlay(kill_record(killed={"treatment": "baseline"}))
    documents.apply_overlay(kill_record(flag_key="new-search"))

    assert ["'baseline'" in problem for problem in documents.problems] == [True]
    assert "1" == documents.document["flags"]["checkout-v2"]["metadata"]["version"]
    assert "1+g1" == documents.document["flags"]["new-search"]["metadata"]["version"]
    variants = {"control": "old", "treatment": "new", "baseline": "old"}
    assert [] == documents.edit(raw(edited(variants=variants)))
    assert [] == documents.problems
    assert "1+g1" == documents.document["flags"]["checkout-v2"]["metadata"]["version"]


def test_a_kill_in_force_outlives_a_newer_decision_that_does_not_fit():
    """
    A newer record that does not fit leaves the older one in force, also through later edits.
    """
    documents = Documents(raw(sample()))
    documents.apply_overlay(kill_record(1))
    documents.apply_overlay(kill_record(2, killed={"treatment": "baseline"}))

    assert [] == documents.edit(raw(edited(metadata={"version": "2"})))

    assert "2+g1" == documents.document["flags"]["checkout-v2"]["metadata"]["version"]
    assert ["'baseline'" in problem for problem in documents.problems] == [True]


def test_an_edit_that_would_undo_a_kill_by_removing_its_control_is_refused():
    """
    While a variation is killed, the control that took over cannot be edited away; the kill stays.
    """
    documents = Documents(raw(sample()))
    documents.apply_overlay(kill_record())
    before = documents.text

    problems = documents.edit(raw(edited(variants={"treatment": "new"}, defaultVariant="treatment", targeting={})))

    assert "flags.checkout-v2.variants: 'control' is missing" in problems[0]
    assert (before, problems) == (documents.text, documents.problems)


def test_what_was_served_may_become_the_base():
    """
    Someone who saves the served document as the new base changes nothing for the guardian.
    """
    documents = Documents(raw(sample()))
    documents.apply_overlay(kill_record(5))

    fresh = Documents(documents.text.encode())

    assert "1" == fresh.document["flags"]["checkout-v2"]["metadata"]["version"]
    assert fresh.apply_overlay(kill_record(1))


bases = st.sampled_from([sample(), edited(targeting={}), edited(targeting={"if": [True, "treatment"]}), {"flags": {}}])
records = st.builds(
    kill_record,
    st.integers(1, 6),
    flag_key=st.sampled_from(["checkout-v2", "new-search", "unknown"]),
    killed=st.sampled_from([{}, {"treatment": "control"}, {"treatment": "gone"}]),
    shares=st.sampled_from([None, {"treatment": 0.25}]),
    control=st.just("control"),
    off=st.booleans(),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(bases, records), max_size=12))
def test_every_order_of_edits_and_decisions_serves_what_compose_says(steps: list[dict[str, Any]]):
    """
    What is served is always valid, and always the last good base with the newest decision that fits each flag.
    """
    documents, base, newest = Documents(raw(sample())), sample(), dict[str, Any]()
    for step in steps:
        if "flags" in step:
            if not documents.edit(raw(step)):
                base = step
        elif documents.apply_overlay(step):
            newest[step["flag_key"]] = step
        fitting = [
            overlay
            for overlay in newest.values()
            if "gone" not in overlay["killed"].values() or overlay["flag_key"] not in base["flags"]
        ]
        served = json.loads(documents.text)

        assert [] == validate(served)
        assert list(documents.document.items()) == list(served.items())
        for key, flag in compose(base, fitting)["flags"].items():
            if newest.get(key) in fitting or key not in newest:
                assert flag == served["flags"][key]


def test_the_stubs_are_those_of_the_proto_file(tmp_path: Path):
    """
    The committed stubs describe the committed proto file.
    """
    generate.compile_proto(f"--python_out={tmp_path}")
    fresh = generate.with_own_pool((tmp_path / generate.PROTO).with_name("sync_pb2.py").read_text())
    described = [line for line in fresh.splitlines() if line.startswith("DESCRIPTOR = ")]

    assert 1 == len(described)
    assert described[0] in Path(sync_pb2.__file__).read_text()
