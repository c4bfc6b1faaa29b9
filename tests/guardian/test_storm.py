"""The kill-storm breaker: many kills at once are held, told, and done later where harm goes on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import msgspec
import pytest

from guardian.bank import Bank, JudgeConfig
from guardian.decisions import Decision
from guardian.effects import Decide
from guardian.journal import Entry, PolicyEntry, Summary
from guardian.policy import policy_hash
from tests.support.sums import World
from tests.support.traffic import T0_MS, policy

BUG_S = 10.0
FLAGS = [f"flag-{number}" for number in range(6)]
BAD = World(errors=lambda v, s: 0.5 if v == "treatment" and s >= BUG_S else 0.01, timed=False, seconds=40, rps=150)


def journal(flags: list[str], mode: str = "enforce") -> Iterator[Entry]:
    """All flags run into the same bug at the same time."""
    for flag in flags:
        terms = policy(flag=flag, mode=mode)
        yield PolicyEntry(at_ms=T0_MS, key=terms.key, hash=policy_hash(terms), document=terms.to_document())
    for entry in BAD.entries():
        if isinstance(entry, Summary):
            keys = [f"production|{flag}" for flag in flags]
            yield msgspec.structs.replace(entry, flags=[msgspec.structs.replace(entry.flags[0], key=key) for key in keys])
        else:
            yield entry


def judged(given: list[Entry], config: JudgeConfig, crash_at: int = -1) -> list[Decision]:
    """Return the decisions, each once; at entry ``crash_at`` another worker goes on from parts of different age."""
    bank, found, kept = Bank(config), {}, {}
    at = 0
    while at < len(given):
        for effect in bank.apply(at, given[at]):
            if isinstance(effect, Decide):
                found[effect.decision.decision_id] = effect.decision
        at += 1
        if at % 10 == 0:
            parts = bank.dirty()
            # Half of the rollouts' parts were written, and nothing of the sources, when the worker died.
            kept.update(parts if at != crash_at else {key: raw for key, raw in parts.items() if key and int(key[-1]) % 2})
        if at == crash_at:
            bank, at, crash_at = Bank(config), at - 10, -1
            for part, raw in kept.items():
                bank.load(part, raw)
    return sorted(found.values(), key=lambda decision: decision.decision_id)


def test_after_three_kills_at_once_others_are_held_and_killed_later() -> None:
    """Of six flags that break together three are killed at once, three are held with the reason, and killed when it is over."""
    made = judged(list(journal(FLAGS)), JudgeConfig())
    kills = sorted(decision.decided_at for decision in made if decision.action == "kill")
    holds = [decision for decision in made if decision.action == "hold"]

    assert 6 == len(kills)
    assert 3 == len({decision.flag_key for decision in holds})
    assert all("several other rollouts were killed" in decision.explanation for decision in holds)
    assert all(decision.decided_at < kills[3] for decision in holds)


def test_shadow_kills_are_no_storm() -> None:
    """Decisions that do nothing hold nobody else's kill back."""
    assert {"kill"} == {decision.action for decision in judged(list(journal(FLAGS, mode="shadow")), JudgeConfig())}


def test_the_limit_is_a_setting() -> None:
    """With a higher limit all six are killed at once."""
    made = judged(list(journal(FLAGS)), JudgeConfig(storm_kills=6))

    assert ["kill"] * 6 == [decision.action for decision in made]


@pytest.mark.parametrize("crash_at", [60, 80])
def test_a_crash_in_a_storm_changes_nothing(crash_at: int) -> None:
    """A worker that goes on from parts of different age holds and kills the same."""
    given = list(journal(FLAGS))

    assert judged(given, JudgeConfig()) == judged(given, JudgeConfig(), crash_at)


def test_one_flag_at_a_time_is_never_held() -> None:
    """The third kill of one and the same flag is no storm: only others count."""
    alone = judged(list(journal(FLAGS[:1])), replace(JudgeConfig(), storm_kills=1))

    assert ["kill"] == [decision.action for decision in alone]
