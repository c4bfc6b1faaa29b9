"""Units in the journal: whose they are takes the salt, and who they are to each other does not change with it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import xxhash

from guardian.summaries import FlagSums
from streams.fold import Fold, FoldConfig
from streams.folding.keyed import KEY_BYTES, keyed, unit_key
from streams.folding.sights import UNIT_SHIFT
from streams.observing.source import fold_config
from streams.settings import Settings
from tests.support.events import NOON_MS, exposure, line, outcome

SALT = "0123456789abcdef"


def python_key(seed: int) -> bytes:
    """The key that CPython makes of a PYTHONHASHSEED (``lcg_urandom`` of Python/bootstrap_hash.c)."""
    found = bytearray()
    for _ in range(KEY_BYTES):
        seed = (seed * 214013 + 2531011) & 0xFFFFFFFF
        found.append((seed >> 16) & 0xFF)
    return bytes(found)


@pytest.mark.skipif(sys.hash_info.algorithm != "siphash13", reason="this Python's own hash is another one")
@pytest.mark.parametrize("seed", [1, 7, 4_294_967_295])
def test_it_is_siphash_1_3(seed):
    """
    The keyed hash is SipHash-1-3, as CPython's own hash of bytes is, under any key.
    """
    units = np.array([1, 2, 0x0123456789ABCDEF, 2**64 - 1], dtype=np.uint64)
    code = f"print(*(hash(int(one).to_bytes(8, 'little')) % 2**64 for one in {units.tolist()}))"
    said = subprocess.run(
        [sys.executable, "-S", "-c", code], env={"PYTHONHASHSEED": str(seed)}, capture_output=True, text=True, check=True
    ).stdout

    assert [int(one) for one in said.split()] == keyed(units, python_key(seed)).tolist()


def test_no_unit_stays_no_unit_and_no_key_changes_nothing():
    """0 stands for no unit, whatever the key; without a key hashes stay what they were."""
    units = np.array([0, 5, 0, 2**63], dtype=np.uint64)

    assert [True, False, True, False] == (keyed(units, unit_key(SALT)) == 0).tolist()
    assert units.tolist() == keyed(units, b"").tolist() == keyed(units, unit_key("")).tolist()
    assert [] == keyed(units[:0], unit_key(SALT)).tolist()


def sums(fold: Fold) -> list[FlagSums]:
    """Of 400 users who were shown a variation and had an outcome, a fifth of them an error."""
    events = []
    for number in range(400):
        who: dict[str, Any] = {"context_id": f"u-{number}", "time": NOON_MS}
        variation = ("control", "treatment")[number % 2]
        flags = {"checkout-v2": variation}
        events += [exposure(variant=variation, **who), outcome(flags, outcome="ok" if number % 5 else "error", **who)]
    fold.take([line(event, offset) for offset, event in enumerate(events)], NOON_MS)
    return fold.flush()


def units_of(flags: list[FlagSums]) -> list[set[int]]:
    return [set(arm.units) for flag in flags for tick in flag.ticks for _, arm in sorted(tick.arms.items())]


def test_the_journal_holds_no_hash_that_a_list_of_users_leads_to():
    """
    With a salt none of the units that failed is found among the plain hashes of all users; without one all of them are.
    """
    plain = {xxhash.xxh3_64_intdigest(f"u-{number}".encode()) >> int(UNIT_SHIFT) for number in range(400)}
    open_units = set().union(*units_of(sums(Fold("t/0", FoldConfig()))))
    hidden = set().union(*units_of(sums(Fold("t/0", FoldConfig(unit_key=unit_key(SALT))))))

    assert 80 == len(open_units) == len(hidden)
    assert open_units <= plain
    assert not hidden & plain


def test_workers_with_one_salt_tell_of_the_same_units():
    """The same salt gives the same units in every worker and every life of it; another salt gives others."""
    first, second, other = (sums(Fold("t/0", FoldConfig(unit_key=unit_key(salt)))) for salt in (SALT, SALT, f"{SALT}!"))

    assert units_of(first) == units_of(second)
    assert not any(one & two for one, two in zip(units_of(first), units_of(other), strict=True))


def test_a_salt_changes_no_count():
    """All that is summed is the same with a salt as without: units alone have other names."""

    def counts(flags: list[FlagSums]) -> list[object]:
        return [
            (flag.key, tick.start_ms, name, arm.exposures, arm.outcomes, arm.errors, arm.anonymous, len(arm.units))
            for flag in flags for tick in flag.ticks for name, arm in sorted(tick.arms.items())
        ]  # fmt: skip

    assert counts(sums(Fold("t/0", FoldConfig()))) == counts(sums(Fold("t/0", FoldConfig(unit_key=unit_key(SALT)))))


def test_the_settings_salt_is_what_observe_hashes_with():
    """``privacy.salt`` reaches the fold of every topic; without it units have their plain hashes."""
    salted = Settings.model_validate({"privacy": {"salt": SALT}})

    assert unit_key(SALT) == fold_config(salted, "flag.outcomes.v1").unit_key
    assert b"" == fold_config(Settings(), "flag.outcomes.v1").unit_key
    assert SALT not in repr(salted)
