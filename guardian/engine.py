"""
One journal entry and one rollout: the whole of what may happen, in one order.

``step`` changes the state it is given and returns the effects. It reads
nothing else: no clock, no chance; time is in the entry. So the same prefix of
the journal always leads to the same state and the same effects.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from zlib import crc32

from guardian.advancing import (
    approve,
    begin_rings,
    begin_stages,
    count_time,
    go_on,
    take_answer,
    take_late,
    take_stages,
)
from guardian.believing import believe
from guardian.blame import is_over
from guardian.decide import begin, concerned, decide, decide_silences, record
from guardian.decisions import Decision
from guardian.effects import Confirm, Decide, Effect, Show
from guardian.evaluate import read_ready
from guardian.gates import clear
from guardian.intake import known_change, take
from guardian.journal import Override, PolicyEntry, ReceiptEntry
from guardian.lag import Lags
from guardian.looking_back import look_back, turned_off
from guardian.names import Millis, sequence_of
from guardian.policy import Action, Policy
from guardian.rollout import Status
from guardian.served import served_now
from guardian.silence import await_again, is_news, take_terms
from guardian.state import Pending, RolloutState, packed_document
from guardian.strangers import without_strangers
from guardian.summaries import FlagSums
from guardian.told import is_new_change
from guardian.variation import VariationWatch
from guardian.verify import WINDOW_MS, applied, confirm
from guardian.views import STALE_MS
from guardian.watch import Watch, tested
from guardian.windowing import renew

MIXED_TOLD_AT = 5
"""Units seen under two variations before the owner is told."""


WAITS_TIMES = 12
"""A decision that act is known to have is sent again so many times more rarely."""
SOURCES_MAX = 1_024
"""Input partitions of which is remembered what was read of them; beyond, those met first are forgotten."""


@dataclass(frozen=True, slots=True)
class JudgeConfig:
    """
    What judging depends on besides the journal; the same for every worker.

    ``propagation_ms`` is how long clients have after a kill; what was learned of a store can make it longer, up to
    ``propagation_max_ms``, and so can what the store's settings say of its clients; nothing can where both are the same.
    After ``storm_kills`` kills within ``storm_ms`` in one journal partition a further one is held.
    """

    lag_min_ms: int = 100
    lag_max_ms: int = 15_000
    idle_source_ms: int = 5_000
    propagation_ms: int = 3_000
    propagation_max_ms: int = 30_000
    resend_ms: int = 5_000
    show_ms: int = 500
    storm_kills: int = 3
    storm_ms: int = 10_000

    def bounds_ms(self, told_ms: Millis) -> tuple[Millis, Millis]:
        """Return the least and the most that clients have after a kill, where their store is told to need *told_ms*."""
        if self.propagation_ms >= self.propagation_max_ms:
            return self.propagation_ms, self.propagation_max_ms
        return max(self.propagation_ms, told_ms), max(self.propagation_max_ms, told_ms)


@dataclass(frozen=True, slots=True)
class Now:
    """
    The journal's clock, and the event time that all live sources have passed.

    ``kills_before`` says of a rollout how many others guardrails killed in the moments before.
    """

    at_ms: Millis
    passed_ms: Millis
    kills_before: Callable[[str], int]


def lag_of(state: RolloutState, config: JudgeConfig) -> Millis:
    """Return the lag in force for the rollout."""
    return state.lag.value_ms(config.lag_min_ms, config.lag_max_ms)


def lags_of(state: RolloutState, config: JudgeConfig) -> Lags:
    """Return the lags in force: that of outcomes, and that of who is new, which exposures tell where there are any."""
    outcomes_ms = lag_of(state, config)
    if not state.population.by_exposures:
        return Lags(outcomes_ms, outcomes_ms)
    return Lags(outcomes_ms, state.arrivals.lag.value_ms(config.lag_min_ms, config.lag_max_ms))


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
    if read_ready(state, policy, now.passed_ms, lags_of(state, config)) or _has_waited(state, now):
        is_storm = lambda: now.kills_before(state.key) >= config.storm_kills  # noqa: E731
        effects += [Decide(decision) for decision in decide(state, policy, now.at_ms, is_storm)]
    if state.lines.silences:
        effects += [Decide(decision) for decision in decide_silences(state, policy, now.at_ms)]
    effects += [Confirm(receipt) for receipt in confirm(state, now.passed_ms, now.at_ms)]
    effects += [Decide(decision) for decision in go_on(state, policy, now.at_ms)]
    effects += _settle_mixed(state, policy, now)
    effects += resend(state, now, config)
    if effects or _show_due(state, now, config):
        state.shown_ms, state.to_show = now.at_ms, False
        effects.append(Show(state.key))
    return effects


def is_waiting(state: RolloutState) -> bool:
    """Say whether time alone can change something here: ticks to mature, answers or stages to wait for."""
    ticks = state.population.waiting or state.arrivals.open or state.hanging.open
    waiting = ticks or state.mixing.waiting or state.failures.fresh
    stepping = state.windows.due_ms is not None or any(watch.asked_ms for watch in state.variations.values())
    return bool(waiting or stepping or state.outbox or state.verify or state.to_show or _may_go_on(state))


def is_due(state: RolloutState, now: Now, config: JudgeConfig) -> bool:
    """Say whether letting time pass would change the state now; where not, it is left alone, snapshot and all."""
    waiting, mature_ms = state.population.waiting, now.passed_ms - lag_of(state, config)
    return (
        bool(state.failures.fresh)
        or (bool(waiting) and min(waiting) <= mature_ms)
        or _arrivals_due(state, now, config)
        or _show_due(state, now, config)
        or _hanging_due(state, now)
        or _step_due(state, mature_ms)
        or _has_waited(state, now)
        or any(_resend_due(pending, now, config) for pending in state.outbox)
        or any(v.applied_ms and now.passed_ms >= v.applied_ms + WINDOW_MS for v in state.verify.values())
        or bool(clear(state, state.policy, now.at_ms))
        or is_news(state, state.policy, now.at_ms)
        or state.mixing.is_due(now.passed_ms)
    )


def _arrivals_due(state: RolloutState, now: Now, config: JudgeConfig) -> bool:
    arrivals = state.arrivals.open
    return bool(arrivals) and min(arrivals) <= now.passed_ms - lags_of(state, config).arrivals_ms


def _hanging_due(state: RolloutState, now: Now) -> bool:
    hanging = state.hanging.open
    return bool(hanging) and min(hanging) <= now.passed_ms - state.lines.wait_ms


def _step_due(state: RolloutState, mature_ms: Millis) -> bool:
    due_ms = state.windows.due_ms
    return due_ms is not None and due_ms <= mature_ms


def _has_waited(state: RolloutState, now: Now) -> bool:
    """Say whether an action has waited long enough to know whether another flag is behind it."""
    return any(is_over(watch.asked_ms, now.at_ms) for watch in state.variations.values() if not watch.killed)


def _show_due(state: RolloutState, now: Now, config: JudgeConfig) -> bool:
    """News at most every ``show_ms``, each rollout in its own slot; and once more when telemetry falls silent."""
    if state.to_show:
        phase_ms = crc32(state.key.encode()) % config.show_ms
        return (now.at_ms + phase_ms) // config.show_ms > (state.shown_ms + phase_ms) // config.show_ms
    return bool(state.data_ms) and now.at_ms - state.data_ms > STALE_MS >= state.shown_ms - state.data_ms


def resend(state: RolloutState, now: Now, config: JudgeConfig) -> list[Effect]:
    """Return the decisions that have waited too long for a receipt; a repeat has the same id and does no harm."""
    effects: list[Effect] = []
    for pending in state.outbox:
        if _resend_due(pending, now, config):
            pending.sent_ms = now.at_ms
            effects.append(Decide(pending.decision()))
    return effects


def _resend_due(pending: Pending, now: Now, config: JudgeConfig) -> bool:
    return now.at_ms - pending.sent_ms >= config.resend_ms * (WAITS_TIMES if pending.waits else 1)


def take_receipt(state: RolloutState, entry: ReceiptEntry, bound_ms: Millis) -> list[Effect]:
    """
    A store answered: the decision leaves the outbox; a change of shares that was carried out opens an epoch.

    One that waits for its store stays, until it was carried out or a later decision has overtaken it. A kill that
    shadow mode did not carry out is looked back on. Of an advance that nobody knows of whether it was carried out,
    what it may have given is taken back. After a kill clients have ``bound_ms``. One of a later decision than any that
    is known tells of a past that is lost.
    """
    believe(state, entry)
    state.store, state.follows_ms = entry.store or state.store, entry.propagation_ms or state.follows_ms
    answered = [p for p in state.outbox if p.decision_id == entry.decision_id]
    if entry.status == "waiting":
        for pending in answered:
            pending.waits = True
        return []
    state.outbox = [p for p in state.outbox if p.decision_id != entry.decision_id]
    decisions = [pending.decision() for pending in answered]
    if entry.status in ("applied", "already"):
        _take_done(state, entry, decisions, bound_ms)
    elif entry.status == "shadow":
        for decision in decisions:
            look_back(state, decision)
    return [Decide(made) for decision in decisions for made in take_answer(state, entry, decision)]


def _take_done(state: RolloutState, entry: ReceiptEntry, decisions: list[Decision], bound_ms: Millis) -> None:
    """The store has carried out *decisions*; or, where they were answered before, what it had refused."""
    applied(state, entry, bound_ms)
    # Where it was so before, what was told of it still is.
    order = sequence_of(entry.decision_id) if entry.status == "applied" else 0
    for decision in decisions:
        action = decision.action
        if action in ("advance", "step_back", "resume"):
            known_change(state, state.policy, entry.at_ms, action, decision.variant, order)
            if action == "resume":
                await_again(state, decision.variant, entry.at_ms)
        elif action in ("kill", "kill_flag"):
            state.population.open(entry.at_ms, action, served=served_now(state.served, order))
    if not decisions and (variation := take_late(state, entry)):
        known_change(state, state.policy, entry.at_ms, "advance", variation, order)


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
        _renew(watch, policy)
    if state.variations:
        known_change(state, policy, entry.at_ms, "the policy changed")


def take_override(state: RolloutState, entry: Override, now: Now) -> list[Effect]:
    """
    A person's wish always wins; it is recorded as a decision with the name and the reason.

    In shadow mode, too, it is carried out: it is the guardian's own decisions that do nothing there.
    """
    policy = state.policy
    if entry.action == "changed":
        _take_change(state, entry, now)
        return []
    state.to_show = True
    if entry.action == "approve":
        approve(state, entry)
        return []
    said = f"{entry.by}: {entry.reason}" if entry.by else entry.reason
    variations = [entry.variation] if entry.variation else sorted(state.variations)
    if entry.action == "resume":
        _revive(state, variations)
        for course in concerned(state, entry.action, entry.variation):
            course.agree()
    elif entry.action == "kill":
        for name in variations:
            watch = state.variations.setdefault(name, VariationWatch())
            if not watch.guardrails:
                _renew(watch, policy)
            watch.killed, watch.killed_at_ms = True, now.at_ms
    variation = entry.variation or (variations[0] if len(variations) == 1 else "")
    action = "kill_flag" if entry.action == "kill" and not entry.variation and len(variations) != 1 else entry.action
    decision = record(
        state, policy, now.at_ms, action=action, variation=variation, guardrail="", reason=said, caused_by=entry.id,
        mode="enforce",
    )  # fmt: skip
    if entry.action == "kill" and policy.mode == "shadow":
        turned_off(state, decision.decision_id, variations, entry.by, now.at_ms)
    return [Decide(decision)]


def _take_change(state: RolloutState, entry: Override, now: Now) -> None:
    """Something that is known to have changed (a build, a setting) may bring harm: budget for it, once by its id."""
    if not is_new_change(state, entry.id):
        return
    known_change(state, state.policy, now.at_ms, entry.reason or "a change")


def _renew(watch: VariationWatch, policy: Policy) -> None:
    watch.guardrails = [Watch.begin(g.when) for g in tested(policy)]
    watch.lines, watch.rules, watch.renewed = {}, {}, watch.offered
    for held in watch.guardrails:
        for lane in (held.full, held.fast):
            if lane is not None:
                lane.offered = watch.offered


def _revive(state: RolloutState, variations: list[str]) -> None:
    for name in variations:
        watch = state.variations.get(name)
        if watch is not None and watch.killed:
            # Nobody had it meanwhile: that is no silence, nor is what comes until the store has given it back.
            state.heard.pop(name, None)
        if watch is not None and (watch.killed or watch.spoken):
            watch.killed = False
            watch.reset()
        if watch is not None:
            watch.change()
        state.verify.pop(name, None)


def _may_go_on(state: RolloutState) -> bool:
    return bool(state.policy.stages) and any(course.status == Status.RUNNING for course in state.courses.values())


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
