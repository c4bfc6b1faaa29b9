"""Where a policy names the topics whose events count, what stands in others is as if it had not been sent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from heapq import merge

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from guardian.bank import Bank, JudgeConfig
from guardian.decisions import Decision
from guardian.effects import Decide
from guardian.errors import PolicyError
from guardian.journal import Beat, Entry, PolicyEntry, Summary
from guardian.listening import NAMED_MAX, topic_notes
from guardian.policy import Policy, policy_hash
from tests.support.traffic import KEY, T0_MS, Traffic, entries, policy

OURS, THEIRS = "shop.events.v1", "rival.events.v1"
TERMS = policy(topics=[OURS])
HEALTHY = Traffic(seconds=12, rps=200, seed=5)
BUG = Traffic(seconds=20, rps=200, error=lambda v, s: 0.2 if v == "treatment" and s > 8 else 0.01, seed=5)


def stands_in(topic: str, traffic: Traffic) -> list[Summary | Beat]:
    """What observe would write of this traffic if it came in that topic."""
    told = entries(traffic.requests(), exposures=True)
    return [replace(entry, source=f"{topic}/0") for entry in told if isinstance(entry, Summary | Beat)]


def together(*journals: Iterable[Summary | Beat]) -> list[Summary | Beat]:
    return list(merge(*journals, key=lambda entry: entry.at_ms))


def began(terms: Policy, at_ms: int = T0_MS) -> PolicyEntry:
    return PolicyEntry(at_ms=at_ms, key=terms.key, hash=policy_hash(terms), document=terms.to_document())


def judge(journal: Sequence[Entry], terms: Policy = TERMS) -> tuple[Bank, list[Decision]]:
    bank, made = Bank(JudgeConfig()), dict[str, Decision]()
    for offset, entry in enumerate([began(terms), *journal]):
        for effect in bank.apply(offset, entry):
            if isinstance(effect, Decide):
                made.setdefault(effect.decision.decision_id, effect.decision)
    return bank, list(made.values())


def test_a_rival_kills_nobody():
    """Made-up failures in another service's topic kill nothing; where no topics are named, they would."""
    forged = stands_in(THEIRS, Traffic(seconds=12, rps=200, error=lambda v, s: float(v == "treatment"), seed=6))
    journal = together(stands_in(OURS, HEALTHY), forged)

    assert [] == judge(journal)[1]
    assert ["kill"] == [one.action for one in judge(journal, policy())[1]]


@settings(deadline=None, max_examples=15)
@given(st.integers(50, 800), st.floats(0.0, 1.0), st.floats(0.0, 1.0), st.floats(0.1, 0.9), st.integers(0, 99))
def test_what_stands_elsewhere_changes_no_decision(rps: int, treatment: float, control: float, share: float, seed: int):
    """Whatever is sent elsewhere, to kill or to hide: the same decisions, to the letter, as if only time had passed there."""
    error = lambda variation, s: treatment if variation == "treatment" else control  # noqa: E731
    forged = stands_in(THEIRS, Traffic(seconds=20, rps=rps, share=lambda s: share, error=error, seed=seed))
    quiet = [Beat(source=entry.source, at_ms=entry.at_ms, passed_ms=entry.passed_ms) for entry in forged]

    told, alone = (judge(together(stands_in(OURS, BUG), other))[1] for other in (forged, quiet))

    assert ["kill"] == [one.action for one in alone]
    assert alone == told


def test_people_see_what_does_not_count():
    """The rollout names topics that speak of it and are not heard, until its policy hears them; a few of many."""
    bank, _ = judge(together(stands_in(OURS, HEALTHY), stands_in(THEIRS, HEALTHY)))
    assert f"what {THEIRS} says of it does not count, as its policy names the topics that do" == bank.view(KEY).note

    end = 10_000
    bank.apply(end, began(policy(topics=[OURS, THEIRS]), T0_MS + 60_000))
    assert "" == bank.view(KEY).note

    bank, _ = judge(together(*(stands_in(f"t{number}", Traffic(seconds=1)) for number in range(2 * NAMED_MAX))))
    assert NAMED_MAX == len(bank.rollouts[KEY].unheard)


@pytest.mark.parametrize("topic", ["", "a topic", "x" * 250, "shop/0"])
def test_a_topic_that_cannot_be_is_refused(topic: str):
    """What Kafka would not take for a topic's name is told at its place."""
    with pytest.raises(PolicyError, match=r"topics\[0\].*is no topic name"):
        policy(topics=[topic])


def test_a_policy_without_topics_keeps_its_hash():
    """Policies that do not use them say what they always said."""
    assert "topics" not in policy().to_document()
    assert policy_hash(TERMS) != policy_hash(policy())


def test_whose_exposures_count_is_noted():
    """Where none of the topics named is for exposures, that is worth knowing."""
    (note,) = topic_notes(TERMS, ["flag.exposures.v1"])
    assert "topics names none of those for exposures (flag.exposures.v1): who was exposed counts only as far as" in note
    assert [] == list(topic_notes(TERMS, [OURS])) == list(topic_notes(policy(), ["flag.exposures.v1"]))
