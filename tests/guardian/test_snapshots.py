"""What is written down of a rollout can be read again, by this version and the next, and is refused once it is damaged."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.bank import Bank, JudgeConfig
from guardian.effects import Decide, Effect
from guardian.journal import Entry, PolicyEntry
from guardian.migrating import OLDER
from guardian.packing import NewerFormat, pack, unpack, version_of
from guardian.plan import RATING
from guardian.policy import policy_hash
from guardian.sources import Sources
from guardian.state import FORMAT, RolloutState
from tests.support.sums import World, ratings
from tests.support.traffic import KEY, T0_MS, policy

WITNESSES = Path(__file__).parent.parent / "data"
SEEN = 100
"""A witness is what a bank of its version had written after so many entries."""
TERMS = policy(
    guardrails=[
        *(
            {"when": when, "then": "pause"}
            for when in ("error_rate > 1.2x control", "latency_p95 > 1.2x control", "csat < control - 0.3", "error_rate > 20%")
        ),
        {"when": "error_rate > 5% for 10s", "then": "alert", "evaluate": "both"},
    ],
    stages=[
        {"share": "50%", "for": "15s", "until": ["error_rate < 2x control", "latency_p95 < 1.5x control"]},
        {"share": "100%"},
    ],
)


def entries() -> list[Entry]:
    """Forty seconds of a rollout whose treatment becomes slow."""
    world = World(
        seconds=40.0, rps=40.0, latency_ms=lambda v, s: 80.0 * (1.8 if v == "treatment" and s > 25 else 1.0),
        scores={RATING: (0.3, (1.0, 5.0), ratings())}, reports=lambda _variation, _at_s: 0.01,
    )  # fmt: skip
    first = PolicyEntry(at_ms=T0_MS, key=KEY, hash=policy_hash(TERMS), document=TERMS.to_document())
    return [first, *world.entries()]


def told(bank: Bank, given_entries: list[Entry], start: int = 0) -> list[Effect]:
    return [effect for offset, entry in enumerate(given_entries[start:], start) for effect in bank.apply(offset, entry)]


@pytest.fixture(scope="module")
def written() -> bytes:
    """A state with something of everything."""
    bank = Bank(JudgeConfig())
    told(bank, entries()[:SEEN])
    return bank.rollouts[KEY].snapshot()


@pytest.mark.parametrize("version", sorted({*OLDER, FORMAT}))
def test_what_an_older_version_wrote_goes_on_as_if_this_one_had(version: int) -> None:
    """From the recorded snapshots of each format that is read the same decisions and views follow as from a whole life."""
    whole, migrated = Bank(JudgeConfig()), Bank(JudgeConfig())
    told(whole, entries()[:SEEN])
    for part, name in ((KEY, "rollout"), (Bank.SOURCES, "sources")):
        assert migrated.load(part, (WITNESSES / f"snapshot_{version}_{name}.bin").read_bytes())

    after = told(whole, entries(), SEEN)
    assert any(isinstance(effect, Decide) for effect in after)
    assert after == told(migrated, entries(), SEEN)


def test_a_migrated_rollout_is_written_in_the_present_format() -> None:
    """What was read of an older format is written in the present one, and read again to the byte."""
    bank = Bank(JudgeConfig())
    bank.load(KEY, (WITNESSES / "snapshot_4_rollout.bin").read_bytes())
    raw = bank.rollouts[KEY].snapshot()

    assert FORMAT == version_of(raw)
    assert raw == RolloutState.restore(raw).snapshot()


def test_an_unknown_format_is_named() -> None:
    """A snapshot of another version is refused with its number and those that are read; a newer one is told apart."""
    with pytest.raises(NewerFormat, match="snapshot format 250: this version reads 4, 7, 8"):
        RolloutState.restore(pack(250, b"rest"))
    with pytest.raises(NewerFormat, match="snapshot format 2 of the sources: this version reads 1"):
        Sources.restore(pack(2, b"rest"))
    with pytest.raises(ValueError, match="snapshot format 5: ") as refused:
        RolloutState.restore(pack(5, b"rest"))
    assert not isinstance(refused.value, NewerFormat)


@given(where=st.floats(0.0, 1.0, exclude_max=True), bit=st.integers(0, 7))
def test_one_wrong_bit_is_refused(written: bytes, where: float, bit: int) -> None:
    """Whichever bit of a snapshot is turned, it is refused."""
    damaged = bytearray(written)
    damaged[int(where * len(written))] ^= 1 << bit

    with pytest.raises(ValueError, match="snapshot") as refused:
        RolloutState.restore(bytes(damaged))
    # Or else a worker would leave its partition to others.
    assert not isinstance(refused.value, NewerFormat)


@given(where=st.floats(0.0, 1.0, exclude_max=True))
def test_a_cut_snapshot_is_refused(written: bytes, where: float) -> None:
    """A snapshot that ends too soon, and one that goes on, is refused."""
    for damaged in (written[: int(where * len(written))], written + b"\0"):
        with pytest.raises(ValueError, match="snapshot"):
            RolloutState.restore(damaged)


@pytest.mark.parametrize("part", [KEY, Bank.SOURCES])
def test_a_wrong_offset_is_refused_and_nothing_taken(part: str) -> None:
    """The offset that stands before a part is that which it has seen: any other would skip entries that it has not."""
    bank, fresh = Bank(JudgeConfig()), Bank(JudgeConfig())
    told(bank, entries()[:SEEN])
    raw = bank.snapshot(part)

    with pytest.raises(ValueError, match=f"it has seen offset {SEEN - 1}, and says {SEEN + 255}"):
        fresh.load(part, (SEEN + 255).to_bytes(8, "big") + raw[8:])
    assert (-1, {}) == (fresh.sources.offset, fresh.rollouts)


@given(st.binary(max_size=2_000), st.integers(0, 255))
def test_what_is_packed_comes_out_again(body: bytes, version: int) -> None:
    """Any body comes out as it went in, and the same one always as the same bytes."""
    raw = pack(version, body)

    assert (version, body) == (version_of(raw), unpack(raw))
    assert raw == pack(version, body)
