"""
What comes of one journal entry for one rollout: sums and terms are taken here, and time passes.

What people want is taken in `guardian.wishes`, what stores answer in `guardian.answers`. Each changes the state it is given,
and returns the effects where there may be any. They read nothing else: no clock, no chance; time is in the entry. So the
same prefix of the journal always leads to the same state and the same effects.
"""

from __future__ import annotations

from guardian.advancing import begin_rings, begin_stages, count_time, go_on, take_stages
from guardian.config import JudgeConfig, Now, lag_of, lags_of
from guardian.decide import begin, decide, decide_silences, record
from guardian.due import has_waited, resend, show_due
from guardian.effects import Confirm, Decide, Effect, Show
from guardian.evaluate import read_ready
from guardian.intake import known_change, take
from guardian.journal import PolicyEntry
from guardian.policy import Action, Policy
from guardian.silence import take_terms
from guardian.state import RolloutState, packed_document
from guardian.strangers import without_strangers
from guardian.summaries import FlagSums
from guardian.verify import confirm
from guardian.windowing import renew

MIXED_TOLD_AT = 5
"""Units seen under two variations before the owner is told."""
SOURCES_MAX = 1_024
"""Input partitions of which is remembered what was read of them; beyond, those met first are forgotten."""


def take_sums(
    state: RolloutState, source: str, offsets: list[int], sums: FlagSums, now: Now, config: JudgeConfig
) -> None:
    """Take one flush of one source into the state."""
    policy = state.policy
    if offsets:
        if source not in state.sources and len(state.sources) >= SOURCES_MAX:
            del state.sources[next(iter(state.sources))]
        seen = state.sources.setdefault(source, [offsets[0], offsets[-1]])
        seen[1] = max(seen[1], offsets[-1])
    count_time(state, now.at_ms)
    sums = without_strangers(state, policy, sums)
    take(state, policy, sums, now.at_ms, lag_of(state, config))
    state.lag.learn(sums.delays, now.at_ms, config.lag_max_ms)
    if state.lines.plan.fresh:
        state.arrivals.learn(sums.ticks, now.at_ms, config.lag_max_ms)
    begin_rings(state, policy)
    begin(state)
    begin_stages(state, now.at_ms)
    state.to_show = True


def advance_time(state: RolloutState, now: Now, config: JudgeConfig) -> list[Effect]:
    """Let the tests read what is ready, decide, confirm, advance; then show the rollout if it is time."""
    policy = state.policy
    effects: list[Effect] = []
    if read_ready(state, policy, now.passed_ms, lags_of(state, config)) or has_waited(state, now):
        is_storm = lambda: now.kills_before(state.key) >= config.storm_kills  # noqa: E731
        effects += [Decide(decision) for decision in decide(state, policy, now.at_ms, is_storm)]
    if state.lines.silences:
        effects += [Decide(decision) for decision in decide_silences(state, policy, now.at_ms)]
    effects += [Confirm(receipt) for receipt in confirm(state, now.passed_ms, now.at_ms)]
    effects += [Decide(decision) for decision in go_on(state, policy, now.at_ms)]
    effects += _settle_mixed(state, policy, now)
    effects += resend(state, now, config)
    if effects or show_due(state, now, config):
        state.shown_ms, state.to_show = now.at_ms, False
        effects.append(Show(state.key))
    return effects


def take_policy(state: RolloutState, entry: PolicyEntry) -> None:
    """A policy came for a rollout that is known: new terms, new accounts, the same past; a kill stays a kill."""
    if entry.hash == state.policy_hash:
        return
    before = state.policy
    state.document, state.policy_hash = packed_document(entry.document), entry.hash
    state.to_show = True
    policy = state.policy
    take_stages(state, before, entry.at_ms)
    take_terms(state, before)
    renew(state)
    for watch in state.variations.values():
        watch.renew(policy)
    if state.variations:
        known_change(state, policy, entry.at_ms, "the policy changed")


def _settle_mixed(state: RolloutState, policy: Policy, now: Now) -> list[Effect]:
    """Settle reports of mixed units; tell the owner when they become many, and again when four times as many."""
    mixing = state.mixing
    if not mixing.is_due(now.passed_ms):
        return []
    mixing.settle([epoch.start_ms for epoch in state.population.epochs], now.passed_ms)
    mixed = len(mixing.units)
    if mixed < max(MIXED_TOLD_AT, 4 * mixing.told):
        return []
    mixing.told = mixed
    services = ", ".join(mixing.services) or "services that gave no name"
    reason = (
        f"{mixed} units saw two variations of this flag; {services} put the same users into different variations, "
        "so that harm shows later than it would; all that they did still counts"
    )
    decision = record(
        state, policy, now.at_ms, action=Action.ALERT, variation="", guardrail="one unit, one variation", reason=reason
    )
    return [Decide(decision)]
