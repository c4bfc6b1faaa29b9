"""Letting the guardrails of the lines read: mature ticks to blocks, blocks to log e-values, those to accounts."""

from __future__ import annotations

from guardian.betting import Past, log_e
from guardian.line_watch import LineWatch, Story
from guardian.lines import ALL, SEGMENT_PART, Line, Lines, attribute_of, segments_of
from guardian.names import Millis
from guardian.population import MOVED, Epoch, Waiting
from guardian.remembered import Remembered
from guardian.sequential import Account
from guardian.served import part_of
from guardian.showing import add_health
from guardian.state import RolloutState
from guardian.summaries import TICK_MS
from guardian.tally import Pair, Tally
from guardian.variation import VariationWatch
from guardian.watch import Lane, Watch

SETTLED_MS = 3_000
"""Clients take a while to see new shares: who is new is not counted in the first moments of an epoch, these at the least."""
FOLLOWS_MS = 7_000
"""A share that moves so soon after clients should have seen a change that was told may be that change, seen late."""
SEGMENT_BLOCK_MS = 1_000
"""Segments are many: theirs are tested once a second."""
REMEMBERED_MS = 3_600_000
"""A person may report what was shown an hour ago."""
ENOUGH = 20
"""Starts of an epoch before its share is known."""


def read_lines(
    state: RolloutState, lines: Lines, variation: str, end_ms: Millis, tick: Waiting, epoch: Epoch
) -> bool:
    """Let the lines of one variation read a mature tick; say whether a guardrail read anything."""
    read, control = False, state.policy.control
    for key, arms in tick.lines.items():
        found = lines.resolve(key)
        if found is None or found[0].kind == "fresh" or not found[0].readers(found[1]):
            continue
        both = arms.get(variation), arms.get(control)
        read |= _feed(state, lines, found, variation, (tick.start_ms, end_ms), epoch, both)
    return read


def settled_ms(state: RolloutState, epoch: Epoch) -> Millis:
    """
    Return from when on the clients are taken to have seen the shares of an epoch: where their store is known to be slow, later.

    Where a share moved that nobody had changed, nothing is to be waited for: that is what is looked for.
    """
    patience_ms = max(SETTLED_MS, state.propagation_ms)
    told = [one.start_ms for one in state.population.epochs if one.why != MOVED and one.start_ms <= epoch.start_ms]
    is_unasked = epoch.why == MOVED and not (told and epoch.start_ms < told[-1] + patience_ms + FOLLOWS_MS)
    return epoch.start_ms if is_unasked else epoch.start_ms + patience_ms


def read_arrivals(state: RolloutState, lines: Lines, until_ms: Millis) -> bool:
    """Let what counts new units read the ticks that end by ``until_ms``; say whether a guardrail read anything."""
    read, control = False, state.policy.control
    new = [line for line in lines.of(ALL) if line.kind == "fresh"]
    for end_ms, came in state.arrivals.mature(until_ms):
        epoch = state.population.epoch_of(came.start_ms)
        if epoch is None or came.start_ms < settled_ms(state, epoch):
            continue
        tallies = {name: Tally(float(count)) for name, count in came.arms.items()}
        for variation in state.alive():
            both = tallies.get(variation), tallies.get(control)
            for line in new:
                read |= _feed(state, lines, (line, ALL), variation, (came.start_ms, end_ms), epoch, both)
    return read


def read_hanging(state: RolloutState, lines: Lines, passed_ms: Millis) -> bool:
    """Let fixed bounds of latency read the requests that should have ended and have not."""
    read, control = False, state.policy.control
    over = [line for line in lines.of(ALL) if line.kind == "over"]
    for end_ms, missing in state.hanging.mature(passed_ms - lines.wait_ms, control):
        epoch = state.population.epoch_of(end_ms - 1)
        if epoch is None:
            continue
        tallies = {name: Tally(float(count), float(count)) for name, count in missing.items()}
        for variation in state.alive():
            both = tallies.get(variation), tallies.get(control)
            for line in over:
                span = end_ms - TICK_MS, end_ms
                if line.guardrails:
                    read |= _feed(state, lines, (line, ALL), variation, span, epoch, both)
                add_health(state, variation, line, span, epoch, *both)
    return read


def _feed(
    state: RolloutState,
    lines: Lines,
    found: tuple[Line, str],
    variation: str,
    span: tuple[Millis, Millis],
    epoch: Epoch,
    both: tuple[Tally | None, Tally | None],
) -> bool:
    if both[0] is None and both[1] is None:
        return False
    (line, segment), watch = found, state.variations[variation]
    key = line.key(segment)
    held = watch.lines.get(key)
    if held is None:
        held = watch.lines[key] = _begin(line, segment, watch)
    held.add(epoch.start_ms, span, *both, line.fixed)
    return _read(state, lines, found, held, variation, state.population.epochs[0].start_ms)


def _begin(line: Line, segment: str, watch: VariationWatch) -> LineWatch:
    readers = line.readers(segment)
    # Of treatment's past latencies no test reads anything: they are shown.
    treated = Remembered(is_exact=line.kind != "latency")
    return LineWatch(
        watches={at: Watch(full=Lane(Account(), offered=watch.renewed), fast=None) for at in readers},
        stories={at: Story() for at in readers},
        past=Past(t=treated),
    )


def _read(
    state: RolloutState, lines: Lines, found: tuple[Line, str], held: LineWatch, variation: str, oldest_ms: Millis
) -> bool:
    line, segment = found
    least_ms = 0 if segment in (ALL, line.cut) else SEGMENT_BLOCK_MS
    blocks, alone = (held.take_split(), None) if line.kind == "fresh" else held.take_full(oldest_ms, least_ms)
    if not blocks and alone is None:
        return False
    policy, fixed = state.policy, line.fixed
    chosen = [(at, block) for block in blocks for at in held.watches if at not in fixed]
    chosen += [(at, alone) for at in held.watches if at in fixed and alone is not None]
    if chosen:
        _deposit(state, lines, segment, held, state.variations[variation])
    for at, block in chosen:
        shares = shares_of(state, line, variation, block)
        values = log_e(policy.guardrails[at].when, line, block, held.past, shares=shares, cluster=policy.unit_cluster)
        held.watches[at].full.update(values)
        held.stories[at].read(block, values)
    if not fixed.issuperset(held.watches):
        for block in blocks:
            held.remember(block)
    elif alone is not None:
        held.remember(alone)
    return bool(chosen)


def _deposit(state: RolloutState, lines: Lines, segment: str, held: LineWatch, watch: VariationWatch) -> None:
    for at, one in held.watches.items():
        one.full.deposit(watch.offered, part_of_budget(state, lines, at, segment))


def part_of_budget(state: RolloutState, lines: Lines, at: int, segment: str) -> float:
    """
    Return the part of a variation's budget that a guardrail has in a segment.

    All guardrails have the same. Where one looks at segments, these have a fifth of its part, the k-th value of an
    attribute that was heard of 1/(k (k+1)) of that: the sum never exceeds it, however many values there will be.
    """
    if segment == ALL or not (attributes := segments_of(state.policy.guardrails[at], state.policy)):
        return lines.parts[at]
    part = 1.0 / lines.accounts
    rank = 1 + state.segments[attribute_of(segment)].index(segment)
    return part * SEGMENT_PART / len(attributes) / (rank * (rank + 1))


def shares_of(state: RolloutState, line: Line, variation: str, block: Pair) -> list[float]:
    """
    Return treatment's part where the line needs one: those configured, or the largest that reports may go back to.

    Of whole epochs, by their starts so far: the largest of many small blocks would be a share that nobody ever had.
    """
    population, control = state.population, state.policy.control
    if line.kind == "fresh":
        return configured_shares(state, variation, population.epoch_of(block.from_ms))
    if line.kind != "reports":
        return []
    shares = []
    for epoch, until_ms in zip(population.epochs, [*(e.start_ms for e in population.epochs[1:]), block.to_ms], strict=True):
        n_t, n_c = (epoch.size(name, population.by_exposures) for name in (variation, control))
        if until_ms >= block.from_ms - REMEMBERED_MS and n_t + n_c >= ENOUGH:
            shares.append(n_t / (n_t + n_c))
    largest = max(shares, default=0.0)
    return [largest] if 0.0 < largest < 1.0 else []


def configured_shares(state: RolloutState, variation: str, epoch: Epoch | None) -> list[float]:
    """
    Return the parts of the new units, of its own and control's, that a variation may be meant to get; none where nobody said.

    Where stores tell what they serve, it is that, whatever the stage says; and until they have served it, what was decided
    since. Else it is the share of the stage, of the one variation under test: with several it is not said how they divide
    theirs. At a share of 100 % there is no control.
    """
    if epoch is None:
        return []
    shares: list[float | None] = list(epoch.shares) if len(state.variations) == 1 else []
    if epoch.served:
        shares = [*(part_of(served, variation, state.policy.control) for served in epoch.served), *shares[1:]]
    known = [share for share in shares if share is not None and share < 1.0]
    return known if len(known) == len(shares) else []


def configured_share(state: RolloutState, variation: str) -> float | None:
    """Return the newest of the shares that a variation may be meant to get now; None where nobody said."""
    shares = configured_shares(state, variation, state.population.now)
    return shares[-1] if shares else None
