"""From verdicts to the one strictest decision of the moment, with the numbers that justify it."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from guardian.blame import NOBODY, Blame, blame, is_over
from guardian.decisions import Action as ActionName
from guardian.decisions import Decision, Evidence
from guardian.evidence import Breach
from guardian.explain import Mode, explain
from guardian.grants import EVERYBODY, Grant, grant_of, parts_of
from guardian.measured import Watched
from guardian.names import Millis, decision_id, iso, split_rollout_key
from guardian.policy import Action, Guardrail, Policy
from guardian.progress import Progress
from guardian.rollout import Event, Status, after
from guardian.rules import Broken, broken, witness
from guardian.silence import PIPELINE, news
from guardian.standing import POOLED, Held, breaches, together
from guardian.state import Pending, RolloutState, Verify
from guardian.testimony import Testimony, testimony
from guardian.variation import VariationWatch
from guardian.watch import Watch, tested

SHARED = (
    "control is above the same bound at the same time: this looks like a shared incident, not like the variation"
)
STORM = (
    "several other rollouts were killed in the same moments: this looks like broken telemetry or an incident that "
    "struck one arm harder; if harm goes on it is killed after all"
)

GOES_ON = "the step back has not ended it"

_EVENT = {
    "hold": Event.HELD,
    "pause": Event.PAUSED,
    "step_back": Event.STEPPED_BACK,
    "resume": Event.RESUMED,
    "advance": Event.ADVANCED,
    "complete": Event.COMPLETED,
    "kill": Event.KILLED,
    "kill_flag": Event.KILLED,
}
"""What decisions lead to."""


_MOVES = frozenset({"hold", "pause", "step_back", "resume"})
"""Decisions after which a cooldown begins."""
BACKS_MOST = 2
"""Step backs from one stage after which a rollout goes on only when somebody resumes it."""


def decide(
    state: RolloutState, policy: Policy, now_ms: Millis, is_storm: Callable[[], bool] = lambda: False
) -> list[Decision]:
    """
    Turn standing breaches into decisions, at most one a variation, the strictest first.

    Changes the state as the decision demands: a kill ends the watch of its
    variation, anything milder empties the accounts that cried. Harm that goes
    on under a pause is no news: a guardrail speaks once until the next known
    change, such as a resume; taken literally, until it has been quiet.
    ``is_storm`` says whether so many other rollouts were just killed that one
    more kill is to be held; it is asked only then.
    """
    decisions = []
    for variation in state.alive():
        # A kill of the flag ends the watch of those that come after.
        found: list[tuple[Held | Broken, Breach]] = []
        if not state.variations[variation].killed:
            found += breaches(state, policy, variation)
            found += [(one, Breach(0.0, 0.0, "")) for one in broken(state, policy, variation)]
        # Whoever still waits says so again.
        asked_ms, state.variations[variation].asked_ms = state.variations[variation].asked_ms or now_ms, 0
        for held, breach in sorted(found, key=lambda one: (one[0].guardrail.then.severity, one[1].log_e), reverse=True):
            made = _act_on(state, policy, variation, (held, breach), now_ms, asked_ms, is_storm)
            if made is not None:
                decisions.append(made)
                break
    return decisions


def _act_on(
    state: RolloutState,
    policy: Policy,
    variation: str,
    due: tuple[Held | Broken, Breach],
    now_ms: Millis,
    asked_ms: Millis,
    is_storm: Callable[[], bool],
) -> Decision | None:
    """
    Return the decision that a breach leads to; None where the guardrail has led to as much already.

    None, too, while it waits to know whether another flag is behind it, since ``asked_ms``.
    """
    held, breach = due
    found = NOBODY
    if isinstance(held, Broken):
        said = witness(state, policy, variation, held)
    else:
        said = testimony(state, policy, variation, held, breach)
        found = blame(state, policy, variation, held, said)
        said = said._replace(evidence=said.evidence.model_copy(update={"company": found.told}))
    if held.guardrail.then == Action.STEP_BACK and _is_behind(state, variation):
        if isinstance(held, Held):
            held.watch.rewind()
        return None
    if found.is_open and not is_over(asked_ms, now_ms):
        state.variations[variation].asked_ms = asked_ms
        return None
    action, reason = _fitting(state, policy, variation, held.guardrail.then, said, found, is_storm)
    if _has_spoken(state, variation, held, action):
        return None
    if isinstance(held, Broken):
        held.rule.told = held.rule.spoke = str(action)
    elif action < Action.KILL:
        for one in together(state, policy, variation, held.guardrail.then) if breach.lane == POOLED else [held]:
            # What another flag explains now is asked again with each block: the evidence stays.
            if not found.explains:
                one.watch.reset()
            state.variations[variation].spoken[one.name] = str(action)
    grant = _carry_out(state, policy, action, variation, now_ms)
    return record(
        state, policy, now_ms, action=action, variation=variation, guardrail=held.guardrail.when.text,
        what=watched_by(held.guardrail), evidence=said.evidence, span_ms=(said.from_ms, said.to_ms),
        budget=said.evidence.alpha_spent, reason=reason, grant=grant,
    )  # fmt: skip


def _fitting(
    state: RolloutState,
    policy: Policy,
    variation: str,
    then: Action,
    said: Testimony,
    found: Blame,
    is_storm: Callable[[], bool],
) -> tuple[Action, str]:
    """Return what an action comes to as things are, and what there is to say of it."""
    if then >= Action.KILL and said.is_shared:
        return Action.HOLD, SHARED
    if found.explains:
        return Action.HOLD, found.reason
    if then >= Action.KILL and policy.mode == "enforce" and is_storm():
        return Action.HOLD, STORM
    action, reason = _ladder(state, variation) if then == Action.STEP_BACK else (then, "")
    return action, "; ".join(filter(None, (found.reason, reason)))


def _has_spoken(state: RolloutState, variation: str, held: Held | Broken, action: Action) -> bool:
    """Say whether a guardrail has led to as much already, by its test or literally; what is settled is no longer due."""
    watch = state.variations[variation]
    rule, told = watch.rules.get(held.name), [watch.spoken.get(held.name, "")]
    if isinstance(held, Broken):
        held.rule.due = None
        told.append(held.rule.told)
    elif rule is not None:
        told.append(rule.spoke)
    return any(one and Action(one) >= action for one in told)


def _carry_out(
    state: RolloutState, policy: Policy, action: Action, variation: str, now_ms: Millis
) -> Grant | None:
    """Change the rollout as the action demands; return what the variation is to have, where that is new."""
    if action >= Action.KILL:
        if variation and variation not in state.variations:
            # Stores give it to people, and nothing of it ever came.
            state.variations[variation] = VariationWatch(guardrails=[Watch.begin(one.when) for one in tested(policy)])
        for name in state.alive() if action == Action.KILL_FLAG else [variation]:
            state.variations[name].killed = True
            state.variations[name].killed_at_ms = now_ms
            if policy.mode == "enforce":
                state.variations[name].judged_ms = [*state.variations[name].judged_ms, now_ms][-2:]
    if action == Action.STEP_BACK:
        course = state.course(variation)
        course.backs[course.stage] = course.backs.get(course.stage, 0) + 1
        return move(state, policy, variation, course.stage - 1, now_ms)
    return None


def move(state: RolloutState, policy: Policy, variation: str, stage: int, now_ms: Millis) -> Grant:
    """Let a variation begin another stage; return what it is to have there."""
    grant = grant_of(policy, stage, parts_of(policy, len(state.courses)))
    state.course(variation).go(stage, now_ms, grant)
    state.population.will_change(grant[EVERYBODY])
    return grant


def advanced(state: RolloutState, variation: str, at_ms: Millis) -> None:
    """An advance was carried out whose answer nobody here waits for: the next stage stands, with what it gives alone."""
    course = state.course(variation)
    move(state, state.policy, variation, course.stage + 1, at_ms)
    course.grants = course.grants[-1:]


def _is_behind(state: RolloutState, variation: str) -> bool:
    """
    Say whether a step back is under way, or so young that all outcomes read so far are of the share that it left.

    What they say led to it already; without this, one harm would lead back through several stages.
    """
    course = state.course(variation)
    is_young = bool(course.awaits) or state.population.closed_ms < course.since_ms
    return course.moved == Action.STEP_BACK and is_young


def _ladder(state: RolloutState, variation: str) -> tuple[Action, str]:
    """
    Return what a step back comes to, and what there is to say of it.

    The last good stage is the one before: it was left with all of its gates open. From the first one there is none, and
    whoever has stepped back from a stage twice stays paused, so that nothing goes up and down by itself.
    """
    course = state.course(variation)
    if course.stage <= 0:
        return Action.PAUSE, "it is in its first stage, so there is none to step back to"
    if course.backs.get(course.stage, 0) + 1 >= BACKS_MOST:
        return Action.STEP_BACK, f"not for the first time from stage {course.stage + 1}, so it stays paused there"
    return Action.STEP_BACK, ""


def decide_silences(state: RolloutState, policy: Policy, now_ms: Millis) -> list[Decision]:
    """
    Turn silences that nobody was told of into decisions, one each.

    A broken pipeline freezes the rollout at most: it says nothing against the variation. One that goes on after a step
    back pauses: a smaller share has not ended it.
    """
    decisions = []
    told = list(state.silent)
    for silent in news(state, policy, now_ms):
        guardrail = policy.guardrails[silent.at]
        action, reason = min(guardrail.then, Action.PAUSE) if silent.kind == PIPELINE else guardrail.then, ""
        if action == Action.STEP_BACK:
            is_again = silent.name in told
            action, reason = (Action.PAUSE, GOES_ON) if is_again else _ladder(state, silent.variation)
        evidence = Evidence(
            test="silence", log_e=0.0, log_threshold=0.0, n=silent.n, events=0, value=0.0,
            n_control=silent.n_control, silence=silent.kind,
        )  # fmt: skip
        grant = _carry_out(state, policy, action, silent.variation, now_ms)
        decisions.append(record(
            state, policy, now_ms, action=action, variation=silent.variation, guardrail=guardrail.when.text,
            what=watched_by(guardrail), evidence=evidence, span_ms=(silent.since_ms, now_ms), grant=grant,
            reason=reason,
        ))  # fmt: skip
    return decisions


def record(
    state: RolloutState,
    policy: Policy,
    now_ms: Millis,
    *,
    action: Action | str,
    variation: str,
    guardrail: str,
    what: Watched | None = None,
    evidence: Evidence | None = None,
    span_ms: tuple[Millis, Millis] | None = None,
    budget: float = 0.0,
    reason: str = "",
    caused_by: str = "",
    grant: Grant | None = None,
    from_share: float | None = None,
    mode: Mode | None = None,
) -> Decision:
    """
    Write a decision down: its deterministic id, its sentence, the outbox, the status it leads to.

    Its ``mode`` is the policy's, but for what people want.
    """
    state.sequence += 1
    mode = mode or policy.mode
    environment, flag_key = split_rollout_key(state.key)
    name = cast("ActionName", str(action))
    from_ms, to_ms = span_ms or (now_ms, now_ms)
    share = None if grant is None else grant[EVERYBODY]
    rings = {ring: part for ring, part in (grant or {}).items() if ring != EVERYBODY}
    decision = Decision(
        decision_id=decision_id(state.key, variation, state.sequence),
        flag_key=flag_key, environment=environment, variant=variation, control=policy.control,
        action=name, mode=mode, guardrail=guardrail, signal=what.name if what is not None else "",
        decided_at=iso(now_ms), evidence_from=iso(min(from_ms, now_ms)), evidence_to=iso(min(to_ms, now_ms)),
        evidence=evidence, policy_hash=state.policy_hash, owner=policy.owner,
        share=share, from_share=from_share, rings=rings,
        sources={name: (seen[0], seen[1]) for name, seen in sorted(state.sources.items())},
        caused_by=caused_by,
        explanation=explain(
            name, flag_key, variation, environment, policy.control, evidence,
            mode=mode, guardrail=guardrail, budget=budget, reason=reason, share=share, rings=rings,
            since_ms=from_ms if from_ms < now_ms else None, what=what,
        ),
    )  # fmt: skip
    about = "" if name == "kill_flag" else variation
    state.outbox.append(Pending(decision.decision_id, decision.model_dump_json().encode(), now_ms, about))
    state.last_decision, state.explanation = decision.decision_id, decision.explanation
    _enter(state, decision)
    if name in _MOVES:
        for course in concerned(state, name, variation):
            course.move(name, now_ms)
    return decision


def _enter(state: RolloutState, decision: Decision) -> None:
    action, variation, made = decision.action, decision.variant, decision.decision_id
    if action in ("kill", "kill_flag") and decision.mode == "enforce":
        killed = [variation] if action == "kill" else sorted(state.variations)
        for name in killed:
            state.verify[name] = Verify(made)
    event = _EVENT.get(action)
    if event is not None:
        courses = concerned(state, action, variation)
        for course in courses:
            course.status = after(course.status, event)
        if not variation or action == "kill_flag":
            state.joins = after(state.joins, event)
    if action == "step_back":
        course = state.course(variation)
        course.awaits = made
        if course.backs.get(course.stage + 1, 0) >= BACKS_MOST:
            course.status = after(course.status, Event.PAUSED)


def concerned(state: RolloutState, action: str, variation: str) -> list[Progress]:
    """Return the courses that a decision is about: the variation's, or all of them where it is about the whole flag."""
    is_whole = not variation or action == "kill_flag"
    return list(state.courses.values()) if is_whole else [state.course(variation)]


def watched_by(guardrail: Guardrail) -> Watched:
    """Return what a guardrail watches, in the words of ``guardian.measured``."""
    signal = guardrail.when.signal
    return Watched(signal.kind, signal.name, signal.quantile)


def begin(state: RolloutState) -> None:
    """Telemetry came: a planned rollout runs."""
    if state.joins == Status.PLANNED:
        state.joins = after(state.joins, Event.BEGAN)
    for course in state.courses.values():
        course.status = after(course.status, Event.BEGAN)
