"""Letting the tests read what has become ready, in an order that only past exposures and clocks decide."""

from __future__ import annotations

from guardian.company import take_company
from guardian.conditions import Absolute, Condition
from guardian.estimates import Estimates
from guardian.lag import Lags
from guardian.line_reading import read_arrivals, read_hanging, read_lines
from guardian.looking_back import read_afterwards
from guardian.names import Millis
from guardian.policy import Policy
from guardian.population import Cell, Epoch, Waiting
from guardian.rules import close_steps
from guardian.showing import read_health
from guardian.state import RolloutState
from guardian.variation import VariationWatch
from guardian.watch import Block, Watch, is_full, is_full_alone
from guardian.windowing import take_tick


def read_ready(state: RolloutState, policy: Policy, passed_ms: Millis, lags: Lags) -> bool:
    """
    Read every mature block and every fresh first failure; say whether there was anything to read.

    ``passed_ms`` is the event time that all live sources have passed.
    """
    read = False
    lines = state.lines
    for end_ms, tick in state.population.mature(passed_ms - lags.outcomes_ms):
        epoch = state.population.epoch_of(tick.start_ms)
        if epoch is not None:
            read |= _read_mature(state, policy, end_ms, tick, epoch)
    if lines.rules:
        read |= close_steps(state, policy, lines, state.population.closed_ms)
    if lines.plan.fresh:
        read |= read_arrivals(state, lines, passed_ms - lags.arrivals_ms)
    if lines.wait_ms:
        read |= read_hanging(state, lines, passed_ms)
    by_exposures = state.population.by_exposures
    for variation, x_t, x_c, share in state.failures.take_readable(
        state.history, policy.control, by_exposures, passed_ms
    ):
        read |= _read_failures(state, policy, variation, (x_t, x_c, share))
    return read


def _read_mature(state: RolloutState, policy: Policy, end_ms: Millis, tick: Waiting, epoch: Epoch) -> bool:
    read, lines = False, state.lines
    if lines.rules:
        # Steps that are over before this tick ends are read without it, however ticks come together.
        read = close_steps(state, policy, lines, end_ms - 1)
        take_tick(state, lines, end_ms, tick)
    if tick.company:
        span = tick.start_ms, end_ms
        take_company(state.company, tick.company, span, epoch.start_ms, policy.control, state.alive())
    for variation in state.alive():
        _count_starts(state, variation, tick)
        read |= _read_tick(state, policy, variation, end_ms, tick, epoch)
        if tick.lines:
            read |= read_lines(state, lines, variation, end_ms, tick, epoch)
        read_health(state, variation, end_ms, tick, epoch)
    if state.hindsights:
        read_afterwards(state, end_ms, tick, epoch)
    return read


def _count_starts(state: RolloutState, variation: str, tick: Waiting) -> None:
    """Count the starts of a variation's standing stage as they are read: what nobody has looked into tells nothing."""
    course, arm = state.courses.get(variation), tick.arms.get(variation)
    if arm is not None and course is not None and course.since_ms and not course.awaits and tick.start_ms >= course.since_ms:
        course.starts += arm.starts(state.population.by_exposures)


def _read_tick(
    state: RolloutState, policy: Policy, variation: str, end_ms: Millis, tick: Waiting, epoch: Epoch
) -> bool:
    watch = state.variations[variation]
    arm, base = tick.arms.get(variation), tick.arms.get(policy.control)
    _estimate(watch, tick.start_ms, epoch.start_ms, arm, base)
    read = arm is not None and _read_alone(state, policy, watch, end_ms, tick.start_ms, arm)
    if watch.open is None or watch.open_epoch_ms != epoch.start_ms:
        # What waited for its second arm when the shares changed is given up: a block never mixes epochs.
        watch.open, watch.open_epoch_ms = Block(from_ms=tick.start_ms), epoch.start_ms
    block = watch.open
    if arm is not None:
        block.n_t += arm.outcomes
        block.x_t += arm.first
        block.left_t += arm.left
    if base is not None:
        block.n_c += base.outcomes
        block.x_c += base.first
        block.left_c += base.left
    block.to_ms = end_ms
    if block.n_t + block.n_c == 0:
        watch.open = None
    elif is_full(block.n_t, block.n_c, block.to_ms - block.from_ms):
        _read_block(state, policy, watch, block)
        watch.open = None
        return True
    return read


def _estimate(watch: VariationWatch, start_ms: Millis, epoch_ms: Millis, arm: Cell | None, base: Cell | None) -> None:
    """Let the estimates of the size of the harm read; another epoch begins anew, as harm may have come with it."""
    if watch.estimates.epoch_ms != epoch_ms:
        watch.estimates = Estimates(epoch_ms=epoch_ms)
    sizes = [(cell.outcomes, min(cell.first, float(cell.outcomes))) if cell is not None else (0, 0.0) for cell in (arm, base)]
    if sizes[0][0] or sizes[1][0]:
        watch.estimates.read(*sizes[0], *sizes[1], start_ms, epoch_ms)


def _read_alone(
    state: RolloutState, policy: Policy, watch: VariationWatch, end_ms: Millis, start_ms: Millis, arm: Cell
) -> bool:
    """Let fixed bounds read; say whether there was anything to read."""
    if not arm.outcomes and watch.alone is None:
        return False
    block = watch.alone = watch.alone or Block()
    block.from_ms, block.to_ms = block.from_ms or start_ms, end_ms
    block.n_t += arm.outcomes
    block.x_t += arm.first
    block.left_t += arm.left
    if not is_full_alone(block.n_t, block.to_ms - block.from_ms):
        return False
    watch.alone = None
    return _read(state, policy, watch, block, alone=True)


def _read_block(state: RolloutState, policy: Policy, watch: VariationWatch, block: Block) -> None:
    _read(state, policy, watch, block, alone=False)
    elapsed_s = max(block.to_ms - watch.remembered_ms, 0) / 1_000.0 if watch.remembered_ms else 0.0
    watch.control_rate.remember(block.n_c, block.x_c, elapsed_s)
    watch.left_rate.remember(block.n_c, min(block.left_c, float(block.n_c)), elapsed_s)
    watch.remembered_ms = block.to_ms


def _read(state: RolloutState, policy: Policy, watch: VariationWatch, block: Block, *, alone: bool) -> bool:
    """Let the guardrails with a fixed bound, or all others, read a block; say whether there are any."""
    watched = _watched(state, policy, watch)
    chosen = [(when, held) for _, when, held in watched if isinstance(when.bound, Absolute) == alone]
    if chosen:
        _deposit(state, watch, watched)
        guesses = watch.guesses
        for when, held in chosen:
            held.read_block(when, block, guesses, policy.unit_cluster)
    watch.is_nameless = watch.is_nameless or block.is_nameless
    return bool(chosen)


def _read_failures(
    state: RolloutState, policy: Policy, variation: str, failures: tuple[float, float, float]
) -> bool:
    watch = state.variations[variation]
    if watch.killed:
        return False
    watched = _watched(state, policy, watch)
    _deposit(state, watch, watched)
    for _, when, held in watched:
        held.read_failures(when, *failures)
    return True


def _watched(state: RolloutState, policy: Policy, watch: VariationWatch) -> list[tuple[int, Condition, Watch]]:
    """Return the guardrails that test failures among all requests: place, condition, accounts."""
    places = state.lines.of_requests
    return [(at, policy.guardrails[at].when, held) for at, held in zip(places, watch.guardrails, strict=True)]


def _deposit(state: RolloutState, watch: VariationWatch, watched: list[tuple[int, Condition, Watch]]) -> None:
    parts, by_exposures = state.lines.parts, state.population.by_exposures
    for at, when, held in watched:
        held.deposit(when.bound, watch.offered, parts[at], by_exposures)
