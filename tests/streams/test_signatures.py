"""Who has written a decision or a receipt: what is signed, whose signature counts, and what becomes of all else."""

from __future__ import annotations

import json
import stat
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from typer.testing import CliRunner

from guardian.decisions import DECISION_TYPE, RECEIPT_TYPE, Decision, Receipt
from guardian.errors import ConfigError
from guardian.journal import Override, encode
from streams.acting import Acting
from streams.alerts.dispatch import Dispatch
from streams.apps.cli import app
from streams.cloudevents import from_event, to_event
from streams.judging import Judge
from streams.keys import Keys, SignatureError, key_id, new_private, private_pem, read_private, read_public
from streams.report import read
from streams.settings import load_settings
from streams.stores.memory import MemoryFlagStore
from streams.telling.reporter import Reporter
from streams.topics import Topics
from tests.support.incidents import book
from tests.support.movers import CountingBank, MemoryOutlet, decision, events, until
from tests.support.movers import receipt as some_receipt

TOPICS = Topics()
OURS, THEIRS = Keys(new_private()), Keys(new_private())
FLAG = {
    "state": "ENABLED", "variants": {"control": False, "treatment": True}, "defaultVariant": "control",
    "targeting": {"fractional": [["control", 50], ["treatment", 50]]},
}  # fmt: skip


def signed(keys: Keys = OURS, made: Decision | None = None, **more: Any) -> bytes:
    made = made or decision(7)
    named = {"id": made.decision_id, "time": made.decided_at, "source": "/judge", **more}
    return to_event(DECISION_TYPE, made, **named, keys=keys)


def changed(raw: bytes, **fields: Any) -> bytes:
    event = json.loads(raw)
    event["data"] |= fields.pop("data", {})
    event |= fields
    return json.dumps({name: value for name, value in event.items() if value is not None}, separators=(",", ":")).encode()


# ---------------------------------------------------------------------------- events


def test_signed_decisions_are_read_by_whoever_trusts_the_key():
    """
    A signed event is a CloudEvent with two attributes more; who trusts its key reads it, and who trusts none does, too.
    """
    raw = signed()

    assert {"keyid", "signature"} == json.loads(raw).keys() - json.loads(signed(Keys())).keys()
    assert decision(7) == from_event(raw, Decision, keys=OURS)
    assert decision(7) == from_event(raw, Decision)
    assert decision(7) == from_event(signed(Keys()), Decision, keys=Keys())


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (signed(Keys()), "signature: is missing"),
        (signed(THEIRS), "is not one of the trusted keys"),
        (changed(signed(), data={"flag_key": "rival"}), "was changed after it was signed"),
        (changed(signed(), id="production|rival|treatment|7"), "was changed after it was signed"),
        (changed(signed(), time="2026-11-21T01:00:03Z"), "was changed after it was signed"),
        (changed(signed(), source="/elsewhere"), "was changed after it was signed"),
        (changed(signed(), signature="AAAA"), "was changed after it was signed"),
        (changed(signed(), signature="no base64!"), "was changed after it was signed"),
        (changed(signed(), signature=None), "signature: is missing"),
        (changed(signed(), keyid=None), "signature: is missing"),
        (changed(signed(THEIRS), keyid=OURS.own_id), "was changed after it was signed"),
    ],
)
def test_anything_else_is_refused_with_its_reason(raw, said):
    """
    Not signed, signed by somebody else, or changed since in data or envelope: refused, and said which.
    """
    with pytest.raises(SignatureError, match=said):
        from_event(raw, Decision, keys=OURS)


def test_a_receipt_cannot_be_passed_off_as_a_decision():
    """The type is signed, too: what is signed as one kind of event never counts as another."""
    raw = to_event(RECEIPT_TYPE, decision(7), id="1", time="", source="/judge", keys=OURS)

    with pytest.raises(SignatureError):
        from_event(changed(raw, type=DECISION_TYPE), Decision, keys=OURS)


class Nothing(BaseModel):
    """Any data is read as this."""


NAME = st.text(st.characters(codec="utf-8"), max_size=8)


@given(first=st.tuples(NAME, NAME, NAME), second=st.tuples(NAME, NAME, NAME))
def test_no_signature_fits_two_events(first, second):
    """However names are cut, a signature is of one event alone."""

    def event(names: tuple[str, str, str]) -> dict[str, Any]:
        return json.loads(to_event("t", {}, id=names[0], time=names[1], source=names[2], keys=OURS))

    one, other = event(first), event(second)
    swapped = json.dumps(one | {"signature": other["signature"]}).encode()
    if first == second:
        from_event(swapped, Nothing, keys=OURS)
    else:
        with pytest.raises(SignatureError):
            from_event(swapped, Nothing, keys=OURS)


def test_keys_are_replaced_without_a_gap():
    """
    Who trusts the old and the new key reads what either has signed; who trusts the new one alone refuses the old one.
    """
    old, new = new_private(), new_private()
    during, after = Keys(new, [old.public_key()]), Keys(new)
    raw = signed(Keys(old))

    assert decision(7) == from_event(raw, Decision, keys=during) == from_event(signed(Keys(new)), Decision, keys=during)
    assert [key_id(new.public_key()), key_id(old.public_key())] == list(during.trusted)
    with pytest.raises(SignatureError):
        from_event(raw, Decision, keys=after)


# ---------------------------------------------------------------------------- judge and act


async def test_what_judge_writes_is_signed():
    """Decisions and confirmations of judge are signed."""
    outlet = MemoryOutlet()
    judge = Judge(CountingBank, outlet, TOPICS, OURS)  # type: ignore[arg-type]
    judge.recovered([0], lambda held: 0)
    beats = [encode(Override(at_ms=number, key="production|checkout", action="look")) for number in range(9)]
    entries = [*beats, encode(Override(at_ms=9, key="production|checkout", action="confirm"))]
    for event in events(TOPICS.journal, entries):
        await judge.take(event)
    await judge._carry_out(judge.partitions[0], _decide())
    await until(lambda: outlet.on(TOPICS.decisions) and outlet.on(TOPICS.receipts))

    assert decision(7) == from_event(outlet.on(TOPICS.decisions)[0].value, Decision, keys=OURS)
    assert some_receipt() == from_event(outlet.on(TOPICS.receipts)[0].value, Receipt, keys=OURS)
    judge.revoked()


def _decide() -> Any:
    from guardian.effects import Decide

    return Decide(decision(7))


@pytest.mark.parametrize("raw", [signed(Keys()), signed(THEIRS), changed(signed(), data={"variant": "control"})])
async def test_act_does_nothing_on_what_is_not_signed(raw):
    """
    A decision that no trusted key has signed changes no flag and gets no receipt, which could be taken for that of the
    true decision under the same id: it is a dead letter with the reason, and what comes after it is carried out.
    """
    store, outlet = MemoryFlagStore({"flags": {"checkout": FLAG}}), MemoryOutlet()
    acked: list[int] = []
    acting = Acting(store, outlet, TOPICS, deadline_s=2.0, keys=OURS)  # type: ignore[arg-type]
    for event in events(TOPICS.decisions, [raw]):
        event.acked = acked
        acting.take(event)
    await acting.drain()

    assert {"control": 0.5, "treatment": 0.5} == (await store.read("production", "checkout")).weights
    assert [TOPICS.dead_letters] == [one.topic for one in outlet.written]
    assert dict(outlet.written[0].headers)["guardian_reason"].startswith((b"signature: ", b"keyid: "))
    assert [0] == acked

    for event in events(TOPICS.decisions, [signed()], first=1):
        acting.take(event)
    await acting.drain()
    assert {"control": 1.0, "treatment": 0.0} == (await store.read("production", "checkout")).weights
    assert "applied" == from_event(outlet.on(TOPICS.receipts)[0].value, Receipt, keys=OURS).status


# ---------------------------------------------------------------------------- people


class Memory:
    name, max_age_s = "memory", 1e12

    def __init__(self) -> None:
        self.told: list[Any] = []

    def wants(self, notice: Any) -> bool:  # noqa: ARG002
        return True

    async def notify(self, notice: Any) -> None:
        self.told.append(notice)


async def test_somebody_is_woken_once_an_hour_by_what_is_not_signed():
    """
    A forged decision wakes somebody, with its place and nothing of what it says; a thousand of them do not do so again
    within the hour of the log.
    """
    channel = Memory()
    reporter = Reporter(Dispatch([channel]), book())
    forged = signed(THEIRS, decision(7, explanation="buy now"))
    began_s = 1_795_000_000.0 // 3600 * 3600
    for number, event in enumerate(events(TOPICS.decisions, [forged] * 1_001)):
        event.value = event.message.value  # type: ignore[attr-defined]
        event.message.timestamp = began_s + number + (3_600 if number == 1_000 else 0)
        await read(event, Decision, DECISION_TYPE, reporter.handle_decision, reporter, OURS)

    assert [0, 1_000] == [notice.data.offset for notice in channel.told]
    assert all(notice.urgent and "buy now" not in notice.text for notice in channel.told)
    assert f"{TOPICS.decisions}/0/0" in channel.told[0].text


# ---------------------------------------------------------------------------- settings and commands


def test_keys_are_made_for_their_owner_alone_and_never_overwritten(tmp_path):
    """
    ``guardian keys new`` writes a private key that only its owner reads and a public one beside it; a file that is there
    stays as it is.
    """
    file = tmp_path / "judge.pem"
    made = CliRunner().invoke(app, ["keys", "new", str(file)])
    private = read_private(file.read_text())

    assert 0 == made.exit_code
    assert 0o600 == stat.S_IMODE(file.stat().st_mode)
    assert key_id(private.public_key()) == key_id(read_public((tmp_path / "judge.pem.pub").read_bytes()))
    assert key_id(private.public_key()) in made.output
    for name in ("judge.pem", "judge.pem.pub"):
        shown = CliRunner().invoke(app, ["keys", "show", str(tmp_path / name)])
        assert (0, key_id(private.public_key())) == (shown.exit_code, shown.output.strip())

    before = file.read_bytes()
    again = CliRunner().invoke(app, ["keys", "new", str(file)])
    assert (2, before) == (again.exit_code, file.read_bytes())
    (tmp_path / "judge.pem.pub").unlink()
    assert 2 == CliRunner().invoke(app, ["keys", "new", str(file)]).exit_code
    assert before == file.read_bytes()


def test_settings_name_one_key_to_sign_with_and_several_to_trust(tmp_path):
    """Whoever signs trusts itself, and every public key that is named."""
    own, other = new_private(), new_private()
    (tmp_path / "own.pem").write_bytes(private_pem(own))
    CliRunner().invoke(app, ["keys", "new", str(tmp_path / "other.pem")])
    file = tmp_path / "guardian.yaml"
    signing = {"key_file": str(tmp_path / "own.pem"), "trusted": [str(tmp_path / "other.pem.pub")]}
    file.write_text(json.dumps({"signing": signing}))

    keys = load_settings(file, {}).signing.keys

    assert key_id(own.public_key()) == keys.own_id
    assert 2 == len(keys.trusted)
    assert key_id(other.public_key()) not in keys.trusted
    assert {} == load_settings(None, {}).signing.keys.trusted


@pytest.mark.parametrize(
    ("signing", "said"),
    [
        ({"key_file": "garbage"}, "key is no Ed25519 private key"),
        ({"key_file": "k.pem.pub"}, "key is no Ed25519 private key"),
        ({"trusted": ["k.pem"]}, "is no Ed25519 public key"),
        ({"trusted": ["garbage"]}, "is no Ed25519 public key"),
        ({"trusted": ["nowhere"]}, "cannot be read: No such file"),
    ],
)
def test_what_is_no_key_is_said_and_not_shown(tmp_path, monkeypatch, signing, said):
    """Settings with something else in the place of a key are refused; nothing of what stands there is shown."""
    monkeypatch.chdir(tmp_path)
    CliRunner().invoke(app, ["keys", "new", "k.pem"])
    (tmp_path / "garbage").write_text("hunter2")
    (tmp_path / "guardian.yaml").write_text(json.dumps({"signing": signing}))

    with pytest.raises(ConfigError, match=said) as raised:
        load_settings(tmp_path / "guardian.yaml", {})
    assert "hunter2" not in str(raised.value)


def test_signing_takes_far_less_than_a_message():
    """Signing and checking a decision takes less than 2 ms together: a kill is not slower for it."""
    raw = signed()
    began_s = time.process_time()
    for _ in range(100):
        from_event(raw, Decision, keys=OURS)
        signed()
    assert (time.process_time() - began_s) / 100 < 0.002
