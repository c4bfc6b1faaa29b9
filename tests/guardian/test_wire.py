"""Old and new workers side by side: what one version writes another reads, as far as it knows what it says."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from guardian.bank import Bank, JudgeConfig
from guardian.decisions import Decision, Receipt
from guardian.effects import Decide
from guardian.flagdoc import Overlay, compose
from guardian.journal import Entry, Keepsake, Override, PolicyEntry, ReceiptEntry, Summary, decode, encode
from guardian.overlays import after
from guardian.ports import FlagCommand
from guardian.summaries import Arm, FlagSums, MixedUnit, Sight, Tick
from streams.snapshots import split_table_key, unpacked

DATA = Path(__file__).parents[1] / "data"
KEY = "production|checkout-v2"
TOMORROW = "a_field_of_tomorrow"
SEEN = 200
"""``changelog_4.bin`` holds what a judge of that version had kept after so many entries of ``journal_4.jsonl.gz``."""


@cache
def recorded() -> tuple[Entry, ...]:
    """What an observe of the time of format 4 wrote of half a minute of traffic, after the policy."""
    return tuple(map(decode, gzip.decompress((DATA / "journal_4.jsonl.gz").read_bytes()).splitlines()))


def decided(bank: Bank, first: int = 0) -> list[Decision]:
    given_entries = recorded()[first:]
    return [e.decision for at, one in enumerate(given_entries, first) for e in bank.apply(at, one) if isinstance(e, Decide)]


def test_a_journal_of_an_older_observe_leads_to_the_decision_that_its_judge_made() -> None:
    """Recorded by workers of an earlier version, which had killed the treatment at this very moment."""
    made = decided(Bank(JudgeConfig()))

    assert {("production|checkout-v2|treatment|1", "kill", "2026-09-21T14:13:34.800Z")} == {
        (one.decision_id, one.action, one.decided_at) for one in made
    }


def test_the_changelog_of_an_older_judge_is_gone_on_from() -> None:
    """All parts of a partition as an earlier version kept them: the same decision as by whoever was never upgraded."""
    whole, migrated = Bank(JudgeConfig()), Bank(JudgeConfig())
    for offset, entry in enumerate(recorded()[:SEEN]):
        whole.apply(offset, entry)
    for key, value in msgspec.msgpack.decode((DATA / "changelog_4.bin").read_bytes()):
        assert migrated.load(split_table_key(key)[1], unpacked(value))

    expected = [(one.decision_id, one.action, one.decided_at) for one in decided(whole, SEEN)]
    assert expected
    assert expected == [(one.decision_id, one.action, one.decided_at) for one in decided(migrated, SEEN)]


# --- fields that one version has and another has not

ARM = Arm(exposures=3, outcomes=3, errors=1, units=[1], latency={4: 3}, timed=3, fresh=[9], scores={"rating": {1: 1.0}})
SUMS = FlagSums(
    key=KEY, ticks=[Tick(start_ms=1_000, arms={"control": ARM}, segments={"country=DE": {"control": ARM}})],
    delays={"control": {4: 3}}, cohort=[Sight(7, 0, "control", "api")],
    mixed=[MixedUnit(unit=1, from_ms=0, variations=["a", "b"], services=["x"])],
)  # fmt: skip
ENTRIES: list[Entry] = [
    Summary(source="in/0", at_ms=2_000, passed_ms=1_000, offsets=[1, 2], flags=[SUMS]),
    PolicyEntry(at_ms=1, key=KEY, hash="h", document={"flag": "f"}, keepsake=Keepsake(seen=1, courses={"t": {"stage": 1}})),
    Override(at_ms=1, key=KEY, action="kill", variation="t", by="ada", reason="r", id="1", group="g", stage=1),
    ReceiptEntry(at_ms=1, key=KEY, decision_id="d", status="applied", action="kill", variation="t", share=0.5),
]


def with_more(content: Any, kind: Any) -> Any:
    """The same JSON as a version would write it that knows one field more of each thing."""
    if isinstance(kind, msgspec.inspect.StructType) and isinstance(content, list):
        return [*content, TOMORROW]
    if isinstance(kind, msgspec.inspect.StructType):
        by_name = {field.encode_name: field.type for field in kind.fields}
        return {TOMORROW: [1], **{name: with_more(value, by_name.get(name)) for name, value in content.items()}}
    if isinstance(kind, msgspec.inspect.ListType):
        return [with_more(value, kind.item_type) for value in content]
    if isinstance(kind, msgspec.inspect.DictType):
        return {name: with_more(value, kind.value_type) for name, value in content.items()}
    if isinstance(kind, msgspec.inspect.UnionType):
        held = [one for one in kind.types if isinstance(one, msgspec.inspect.StructType)]
        return with_more(content, held[0]) if held and isinstance(content, dict) else content
    return content


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: type(entry).__name__)
def test_what_a_newer_version_adds_to_an_entry_is_passed_over(entry: Entry) -> None:
    """An entry with one field more at every level is the same entry."""
    more = with_more(json.loads(encode(entry)), msgspec.inspect.type_info(type(entry)))

    assert str(more).count(TOMORROW) >= (6 if isinstance(entry, Summary) else 1)
    assert entry == decode(json.dumps(more).encode())


@given(at=st.integers(0, len(ENTRIES) - 1), data=st.data())
@settings(deadline=None)
def test_what_an_older_version_did_not_know_takes_its_default(at: int, data: st.DataObject) -> None:
    """An entry without any of the fields that have a default is read, and those have it."""
    entry = ENTRIES[at]
    fields = {field.name: field for field in msgspec.structs.fields(type(entry))}
    optional = sorted(name for name, field in fields.items() if not field.required)
    without = data.draw(st.sets(st.sampled_from(optional or ["nothing"])))
    content = {name: value for name, value in json.loads(encode(entry)).items() if name not in without}
    read = decode(json.dumps(content).encode())

    for name in optional:
        default = fields[name].default_factory() if fields[name].default is msgspec.NODEFAULT else fields[name].default
        assert (default if name in without else getattr(entry, name)) == getattr(read, name)


@cache
def payloads() -> tuple[BaseModel, ...]:
    bank = Bank(JudgeConfig())
    made = decided(bank)[0]
    receipt = Receipt(
        receipt_id="r", decision_id=made.decision_id, flag_key="checkout-v2", environment="production", variant="treatment",
        action="kill", status="applied", at=made.decided_at, detail="served", share=0.5,
    )  # fmt: skip
    return made, receipt, bank.view(KEY)


@given(at=st.integers(0, 2), data=st.data())
@settings(deadline=None)
def test_decisions_receipts_and_views_are_read_across_versions(at: int, data: st.DataObject) -> None:
    """A field more is passed over, at any level; a field less, where it has a default, takes that."""
    sent = type(payloads()[at]).model_validate_json(payloads()[at].model_dump_json())
    more = _with_more(sent.model_dump(mode="json"))
    assert sent == type(sent).model_validate(more)

    optional = sorted(name for name, field in type(sent).model_fields.items() if not field.is_required())
    without = data.draw(st.sets(st.sampled_from(optional)))
    less = {name: value for name, value in sent.model_dump(mode="json").items() if name not in without}
    read = type(sent).model_validate(less)
    assert all(getattr(read, name) == type(sent).model_fields[name].get_default() for name in without)
    assert all(getattr(read, name) == getattr(sent, name) for name in less)


_MAPS = {"sources", "rings", "plan", "approvals"}


def _with_more(content: Any, name: str = "") -> Any:
    if isinstance(content, dict) and name not in _MAPS:
        return {TOMORROW: 1, **{inner: _with_more(value, inner) for inner, value in content.items()}}
    if isinstance(content, list):
        return [_with_more(value) for value in content]
    return content


def test_a_record_of_a_flag_keeps_what_a_newer_version_wrote_into_it() -> None:
    """Services are served as without it, and after this version's next command it is still there."""
    flag = {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "on", "targeting": {}}
    document = {"flags": {"checkout-v2": flag}}
    command = FlagCommand(
        command_id="c", decision_id=f"{KEY}|on|1", kind="kill", environment="production", flag_key="checkout-v2",
        variation="on", control="off",
    )  # fmt: skip
    killed = after(flag, Overlay(flag_key="checkout-v2", environment="production", version=0), command, 1, 5)
    newer: Any = {**killed, TOMORROW: {"deep": [1]}}

    assert compose(document, [killed]) == compose(document, [newer])
    resume = replace(command, command_id="e", decision_id=f"{KEY}|on|2", kind="resume")
    again = after(flag, newer, resume, 2, 6)
    assert ({"deep": [1]}, {}, 2) == (again.get(TOMORROW), again.get("killed"), again["version"])
