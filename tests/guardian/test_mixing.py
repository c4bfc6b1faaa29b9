"""Promises about units that services show two variations of one flag: they are told of, and lower no guard."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from guardian.bank import Bank, JudgeConfig
from guardian.decisions import Decision
from guardian.effects import Decide
from guardian.journal import Entry, PolicyEntry, Summary
from guardian.policy import policy_hash
from guardian.summaries import SIGHT_MS, MixedUnit
from tests.support.traffic import T0_MS, Traffic, entries, policy

FROM_MS = (T0_MS // SIGHT_MS + 2) * SIGHT_MS
"""A minute in which no shares change, some time after the rollout began."""
BROKEN_S = (FROM_MS + SIGHT_MS - T0_MS) / 1_000 + 10.0


def mixed(given: Iterable[Entry], units: Iterable[int]) -> Iterator[Entry]:
    """In the midst of that minute all of these units are seen under both variations."""
    told = [
        MixedUnit(unit=unit, from_ms=FROM_MS, variations=["control", "treatment"], services=["checkout-api", "search-api"])
        for unit in sorted(units)
    ]
    for entry in given:
        if isinstance(entry, Summary) and told and entry.at_ms > FROM_MS + SIGHT_MS / 2:
            entry.flags[0].mixed, told = told, []
        yield entry


def decided(given: Iterable[Entry]) -> list[Decision]:
    """What is decided, up to the first kill."""
    terms, bank, found = policy(), Bank(JudgeConfig()), dict[str, Decision]()
    first = PolicyEntry(at_ms=T0_MS, key=terms.key, hash=policy_hash(terms), document=terms.to_document())
    for offset, entry in enumerate([first, *given]):
        for effect in bank.apply(offset, entry):
            if isinstance(effect, Decide):
                found.setdefault(effect.decision.decision_id, effect.decision)
        if any(one.action == "kill" for one in found.values()):
            break
    return list(found.values())


def test_mixed_units_are_told_of_once_and_lower_no_guard():
    """
    Two services put all treated units into both variations, then the treatment breaks: the owner hears which services they are,
    once, and the treatment is killed at the same moment and on the same numbers as if nobody had found out.
    """
    broken = Traffic(rps=60.0, seconds=BROKEN_S + 20.0, error=lambda v, s: 0.3 if v == "treatment" and s > BROKEN_S else 0.01)
    requests = broken.requests()
    treated = {one.unit for one in requests if one.variation == "treatment"}
    unaware = decided(entries(requests, exposures=True))
    aware = decided(mixed(entries(requests, exposures=True), treated))

    assert ["kill"] == [one.action for one in unaware]
    assert ["alert", "kill"] == [one.action for one in aware]
    told, kill = aware
    assert f"{len(treated)} units saw two variations of this flag" in told.explanation
    assert "checkout-api, search-api" in told.explanation
    assert (unaware[0].decided_at, unaware[0].evidence) == (kill.decided_at, kill.evidence)
