"""Taking one flush of one source into a rollout: who started, who finished, who failed for the first time."""

from __future__ import annotations

from guardian.company import WITHOUT, Table
from guardian.grants import is_tested
from guardian.line_intake import take_lines
from guardian.looking_back import add_late, follow
from guardian.moved import look
from guardian.names import Millis
from guardian.policy import FalseKills, Policy
from guardian.population import Cell, Epoch, cell_of
from guardian.served import Shares, served_now
from guardian.showing import add_late_failures
from guardian.silence import hear
from guardian.state import RolloutState
from guardian.summaries import Arm, FlagSums, Tick
from guardian.variation import VariationWatch
from guardian.verify import look_for_exposures
from guardian.watch import Block, Watch, tested

DAY_MS = 86_400_000
DRIP_GAP_MS = 2_000
"""Longest silence that still counts as telemetry for the drip of the budget."""


def take(state: RolloutState, policy: Policy, sums: FlagSums, now_ms: Millis, lag_ms: Millis) -> None:
    """Add what ``sums`` brings; ``lag_ms`` is the lag in force before it."""
    _drip(state, policy, now_ms)
    _notice(state, policy, sums)
    if sums.mixed or sums.cohort:
        state.mixing.hear(sums.mixed, sums.cohort)
    lines = state.lines
    for tick in sums.ticks:
        late, epoch = tick.end_ms <= state.population.closed_ms, state.population.epoch_of(tick.start_ms)
        firsts = {name: _first_failures(state, arm, now_ms) for name, arm in tick.arms.items()}
        for variation, arm in tick.arms.items():
            _take_arm(state, policy, tick, variation, (arm, len(firsts[variation])), epoch, now_ms, lag_ms, late=late)
        if state.verify:
            look_for_exposures(state, policy.control, tick)
        if tick.company and not late and lines.plan.company:
            state.population.wait_company(tick.start_ms, tick.end_ms, _company(state, policy, tick, firsts))
        if lines:
            take_lines(state, lines, tick, firsts, now_ms, late=late, epoch=epoch)
    look(state.population, state.history, state.alive(), policy.control, now_ms)


def drip(kills: FalseKills, elapsed_ms: float) -> float:
    """Return the budget of so much time with telemetry, in expected false alarms."""
    return kills.per_day * elapsed_ms / DAY_MS


def offer(state: RolloutState, amount: float, variations: list[str]) -> None:
    """Offer an amount of budget (expected false alarms) to the variations, in equal parts; nothing where there is none."""
    for variation in variations:
        state.variations[variation].offered += amount / len(variations)


def known_change(
    state: RolloutState, policy: Policy, at_ms: Millis, why: str, variation: str = "", served: list[Shares] | None = None
) -> None:
    """
    A change of shares that was told: open an epoch, and offer the budget of a step; whoever has spoken begins anew.

    Where it is that of one *variation*, the others have nothing to begin anew, and its part of the budget is offered.
    *served* is what stores serve since then; None where that is what they told last.
    """
    told = served_now(state.served) if served is None else served
    state.population.open(at_ms, why, stage_share(state, policy), told)
    alive = state.alive()
    changed = [name for name in alive if variation in ("", name)]
    for name in changed:
        if state.variations[name].spoken:
            state.variations[name].reset()
        state.variations[name].change()
    offer(state, policy.false_kills.per_step * len(changed) / max(len(alive), 1), changed)


def stage_share(state: RolloutState, policy: Policy) -> float | None:
    """Return the share that the standing stage says of the one variation under test; None where it does not say one."""
    if not policy.stages or len(state.courses) != 1 or any(stage.users is not None for stage in policy.stages):
        return None
    return policy.stages[state.stage].share


def _drip(state: RolloutState, policy: Policy, now_ms: Millis) -> None:
    alive = state.alive()
    if alive and 0 < now_ms - state.data_ms <= DRIP_GAP_MS:
        offer(state, drip(policy.false_kills, now_ms - state.data_ms), alive)
    state.data_ms = max(state.data_ms, now_ms)


def _notice(state: RolloutState, policy: Policy, sums: FlagSums) -> None:
    """Notice new variations and the first exposure events; both open an epoch at the tick in which they began."""
    began: dict[str, Millis] = {}
    exposed_ms: Millis | None = None
    for tick in sums.ticks:
        for variation, arm in tick.arms.items():
            seen = arm.exposures or arm.outcomes
            if seen and variation not in state.variations and is_tested(policy, variation):
                began[variation] = min(began.get(variation, tick.start_ms), tick.start_ms)
            if arm.exposures and not state.population.by_exposures:
                exposed_ms = tick.start_ms if exposed_ms is None else min(exposed_ms, tick.start_ms)
    for variation in sorted(began):
        state.variations[variation] = VariationWatch(guardrails=[Watch.begin(g.when) for g in tested(policy)])
        state.course(variation)
    if began:
        began_ms, who = min(began.values()), ", ".join(sorted(began))
        state.population.open(began_ms, f"{who} began", stage_share(state, policy), served_now(state.served))
        _offer_start(state, policy, sorted(began))
    if exposed_ms is not None:
        state.population.by_exposures = True
        now = state.population.now
        if now is not None and exposed_ms > now.start_ms:
            state.population.open(exposed_ms, "exposure events began")


def _offer_start(state: RolloutState, policy: Policy, began: list[str]) -> None:
    """Offer the start's budget: by parts where the policy names its variations, else to those that began first."""
    kills = policy.false_kills
    if policy.variations:
        for variation in began:
            state.variations[variation].offered += kills.per_rollout / len(policy.variations)
    else:
        # Whoever joins later joins as a step: the start's budget has been given away.
        offer(state, kills.per_step if state.begun else kills.per_rollout, began)
    state.begun = True


def _take_arm(
    state: RolloutState,
    policy: Policy,
    tick: Tick,
    variation: str,
    told: tuple[Arm, int],
    epoch: Epoch | None,
    now_ms: Millis,
    lag_ms: Millis,
    *,
    late: bool,
) -> None:
    arm, first = told
    failed = _failed(policy, arm, first)
    left = min(first + arm.anonymous, float(arm.outcomes)) - failed
    cell = Cell(arm.exposures, arm.outcomes, arm.errors, failed, left)
    population = state.population
    if state.hindsights:
        follow(state, variation, cell.starts(population.by_exposures), first, now_ms)
    state.history.add(tick.start_ms, variation, cell)
    if epoch is not None:
        cell_of(epoch.arms, variation).add(cell)
        # Fast failures come before slow ones: until the epoch is as old as outcomes take, who fails *faster*
        # would look like who fails *more*. The full lane tests these starts when they are mature.
        steady = now_ms >= epoch.start_ms + lag_ms
        if cell.first > 0.0 and (steady if population.by_exposures else late):
            state.failures.add(tick.start_ms, variation, cell.first, policy.control, state.variations)
    if late and epoch is not None:
        add_late_failures(state, variation, (tick.start_ms, tick.end_ms), epoch, cell)
        add_late(state, variation, (tick.start_ms, tick.end_ms), epoch, cell)
    if not late:
        population.wait(tick.start_ms, tick.end_ms, variation, cell)
    elif variation in state.variations and arm.outcomes:
        watch = state.variations[variation]
        # A fixed bound knows no arms to mix: what came late is tested with the next block.
        watch.alone = watch.alone or Block()
        watch.alone.n_t += cell.outcomes
        watch.alone.x_t += cell.first
        watch.alone.left_t += cell.left
    if state.lines.wait_ms:
        state.hanging.take(tick.end_ms, variation, arm.exposures, arm.outcomes)
    if state.lines.silences and (arm.exposures or arm.outcomes):
        hear(state, variation, tick, now_ms)


def _failed(policy: Policy, arm: Arm, first: int) -> float:
    """Return first failures; without unit ids a cluster of failures may be one user: each counts as its part of one."""
    return min(first + arm.anonymous / policy.unit_cluster, float(arm.outcomes))


def _company(state: RolloutState, policy: Policy, tick: Tick, firsts: dict[str, set[int]]) -> dict[str, Table]:
    """
    Return what a tick tells of other flags, of control and the variations under watch.

    Of the failures of an arm the same part counts in each of its cells: that of its first failures.
    """
    found: dict[str, Table] = {}
    arms = {name: arm for name, arm in tick.arms.items() if name == policy.control or name in state.variations}
    for flag, rows in tick.company.items():
        for name, arm in arms.items():
            part = min(_failed(policy, arm, len(firsts[name])) / arm.errors, 1.0) if arm.errors else 0.0
            row = {other: [float(n), x * part] for other, (n, x) in rows.get(name, {}).items()}
            n, x = (sum(cell[at] for cell in rows.get(name, {}).values()) for at in (0, 1))
            if arm.outcomes > n:
                row[WITHOUT] = [float(arm.outcomes - n), max(arm.errors - x, 0) * part]
            found.setdefault(flag, {})[name] = row
    return found


def _first_failures(state: RolloutState, arm: Arm, now_ms: Millis) -> set[int]:
    """
    Return the units that failed for the first time: each counts under the variation that its request ran under.

    Mixed units, too: their requests are among those that ran, so that to leave out their failures would hide harm.
    """
    return {unit for unit in arm.units if state.failed.add(unit, now_ms)}
