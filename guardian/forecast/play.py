"""Many runs of one scene in step: traffic is drawn, the lanes read it, stages go on, and the first to act ends a run."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from guardian.failures import ENOUGH
from guardian.forecast.assumed import FLUSH_S
from guardian.forecast.clock import TICK_S, instants
from guardian.forecast.lanes import Lanes, cries_of
from guardian.forecast.scene import Phase, Played, Scene
from guardian.forecast.sums import Blocks, Past, Sums
from guardian.forecast.traffic import Newcomers, draw, starts_share
from guardian.gates import CALM_NATS
from guardian.history import REACH_MS, STEP_MS
from guardian.intake import drip
from guardian.line_reading import SETTLED_MS
from guardian.policy import Action
from guardian.sequential.checks import Bools, Floats

_PARTS = 8
"""Failed units are remembered in so many parts of the history's reach."""

Tell = Callable[[float], None]


def play(scene: Scene, rng: np.random.Generator, tell: Tell) -> Played:
    """Play a scene; the same generator state gives the same answer. ``tell`` hears the part that is done."""
    total = scene.runs * len(scene.harm.effects)
    exposed, hurt, alarms, paid = (np.zeros(total) for _ in range(4))
    played = Played(np.full(total, math.inf), np.zeros(total, dtype=bool), exposed, hurt, alarms, paid)
    runs = _Runs(scene, played, rng)
    ends = list(instants(_nominal(scene.phases), scene.until_s, onset_s=_finite(scene.onset_s), most_s=scene.most_s))
    before = 0.0
    for number, end in enumerate(ends):
        if not runs.ids.size:
            break
        runs.step(before, end)
        before = end
        tell((number + 1) / len(ends))
    runs.write(np.ones(runs.ids.size, dtype=bool))
    tell(1.0)
    return played


def _nominal(phases: tuple[Phase, ...]) -> list[float]:
    """When stages change if nothing holds them back."""
    changes, at = [], 0.0
    for phase in phases:
        at += phase.for_s
        changes.append(at)
    return [change for change in changes if change < math.inf]


def _finite(onset_s: float) -> float:
    return onset_s if onset_s < math.inf else 0.0


class _Runs:
    """The runs still under way, row by row; ``ids`` says which they are."""

    def __init__(self, scene: Scene, played: Played, rng: np.random.Generator) -> None:
        self.scene, self.played, self.rng = scene, played, rng
        total, edges = played.found_s.size, scene.harm.control.size
        self.ids = np.arange(total)
        self.effect = np.repeat(np.arange(len(scene.harm.effects)), scene.runs)
        self.lanes = [Lanes(watched, total, scene.assumed, scene.harm) for watched in scene.guardrails]
        self.strictest = max((lanes.then for lanes in self.lanes), default=Action.ALERT)
        self.past = Past(total, 0 if scene.harm.positions is None else scene.harm.positions.size)
        self.blocks = {when: Blocks(total, edges, when) for when in dict.fromkeys(one.when_full for one in self.lanes)}
        kinds = {watched.kind for watched in scene.guardrails}
        self.newcomers = Newcomers(total) if "fresh" in kinds else None
        self.tells_reports = "reports" in kinds
        self.stage, self.since_s, self.epoch_s = np.zeros(total, dtype=np.intp), np.zeros(total), np.zeros(total)
        self.held, self.begun = np.zeros(total, dtype=bool), np.zeros(total, dtype=bool)
        self.failed = np.zeros((total, _PARTS))
        self.part = 0
        self.exposed, self.hurt, self.alarms = (np.zeros(total) for _ in range(3))
        self.variations = max(len(scene.policy.variations), 1)
        self.share = np.array([phase.share for phase in scene.phases])
        self.control = np.array([phase.control for phase in scene.phases])
        self.for_s = np.array([phase.for_s for phase in scene.phases])
        self._offer(np.full(total, scene.policy.false_kills.per_rollout))

    def step(self, from_s: float, to_s: float) -> None:
        """Go from one moment to the next: pay, draw, read, act, go on."""
        scene, assumed = self.scene, self.scene.assumed
        elapsed_s = to_s - from_s
        paid = drip(scene.policy.false_kills, elapsed_s * 1_000.0) * assumed.heard
        self._offer(np.full(self.ids.size, paid))
        ill = from_s >= scene.onset_s
        rates = self._rates()
        drawn = draw(self.rng, scene.harm, (rates[0] * elapsed_s, rates[1] * elapsed_s), self.effect, ill=ill)
        self._forget(from_s, to_s)
        self.failed[:, self.part] += drawn.sums.x_t[:, 0]
        if ill:
            self.exposed += drawn.met
            self.hurt += drawn.hurt
        if any(lanes.is_fast for lanes in self.lanes):
            self._read_failures(drawn.sums, elapsed_s, to_s)
        self._read_blocks(drawn.sums, from_s, to_s)
        self.played.work += self.ids.size * len(self.lanes)
        self._act(elapsed_s, to_s, ill=ill)
        self._go_on(to_s)

    def _offer(self, amount: Floats) -> None:
        for lanes in self.lanes:
            lanes.deposit(amount / self.variations)

    def _rates(self) -> tuple[Floats, Floats]:
        """Requests a second of the variation and of control in each run."""
        per_s = self.scene.assumed.requests_per_s
        return per_s * self.share[self.stage], per_s * self.control[self.stage]

    def _forget(self, from_s: float, to_s: float) -> None:
        width_s = REACH_MS / 1_000.0 / _PARTS
        for _ in range(min(int(to_s // width_s) - int(from_s // width_s), _PARTS)):
            self.part = (self.part + 1) % _PARTS
            self.failed[:, self.part] = 0.0

    def _read_failures(self, drawn: Sums, elapsed_s: float, to_s: float) -> None:
        """
        Read first failures beside the starts of the step.

        Live, a failure is compared with the starts of its second, and a thin one is widened; where the step is shorter
        or thin, the share that those tend to is taken here. Whether it is may not depend on what was drawn.
        """
        told = self.share[self.stage] / (self.share[self.stage] + self.control[self.stage])
        smaller = np.minimum(self.share[self.stage], self.control[self.stage])
        thick = (elapsed_s * 1_000.0 >= STEP_MS) & (self.scene.assumed.requests_per_s * elapsed_s * smaller >= ENOUGH)
        share = np.where(thick, drawn.n_t / np.maximum(drawn.n_t + drawn.n_c, 1.0), told)
        steady = self.scene.assumed.by_exposures & (to_s > self._steady_s())
        for lanes in self.lanes:
            lanes.read_failures(drawn.x_t[:, 0], drawn.x_c[:, 0], share, steady)

    def _steady_s(self) -> Floats:
        first, lag_s = self.scene.assumed.steady_s(0.0), self.scene.assumed.lag_s
        return np.where(self.epoch_s > 0.0, self.epoch_s + lag_s, first)

    def _read_blocks(self, drawn: Sums, from_s: float, to_s: float) -> None:
        if self.newcomers is not None:
            self._meet(self.newcomers, drawn, from_s)
        for when, blocks in self.blocks.items():
            full = blocks.add(drawn, to_s)
            if full.any():
                block = blocks.open.of(full)
                share = self._told(full)
                for lanes in self.lanes:
                    if lanes.when_full == when:
                        lanes.read_blocks(block, full, self.past, share)
                if not all(lanes.is_alone for lanes in self.lanes if lanes.when_full == when):
                    self.past.remember(blocks.open, full, to_s)
            blocks.begin(full, to_s)

    def _meet(self, newcomers: Newcomers, drawn: Sums, from_s: float) -> None:
        """Leave who counts as new: nobody before the variation was first heard of, nor in an epoch's first moments."""
        begins = ~self.begun & (drawn.n_t > 0.0)
        self.begun |= begins
        self.epoch_s[begins] = from_s
        newcomers.meet(self.rng, drawn)
        drawn.clear(~self.begun | (from_s < self.epoch_s + SETTLED_MS / 1_000.0 - 1e-9))

    def _told(self, full: Bools) -> Floats:
        """The share that blocks are compared with: the stage's, or that of the starts, for reports."""
        if not self.tells_reports:
            return self.share[self.stage][full]
        return starts_share(*(of[full] for of in self._rates()))

    def _act(self, elapsed_s: float, to_s: float, *, ill: bool) -> None:
        failed = self.failed.sum(axis=1)
        assumed = self.scene.assumed
        acted_s = np.full(self.ids.size, math.inf)
        # Failures are read at any time of a step, blocks at the ends of live ticks, which a longer step holds many of.
        fast_s = to_s - elapsed_s / 2 + assumed.latency_ms / 1_000.0 + FLUSH_S / 2
        end_s = to_s - max(elapsed_s - TICK_S, 0.0) / 2
        full_s, ahead_s = assumed.mature_s(end_s), assumed.arrived_s(end_s)
        for then, group in self._by_action():
            full, fast, ahead = cries_of(group, failed, self.scene.policy.min_units, is_ended=then == self.strictest)
            cries = full | fast | ahead
            if not cries.any():
                continue
            self.alarms += 0.0 if ill else cries
            if then == self.strictest:
                for lane, at_s in ((full, full_s), (fast, fast_s), (ahead, ahead_s)):
                    acted_s = np.minimum(acted_s, np.where(lane, at_s, math.inf))
            else:
                self._hold(cries, then, to_s)
        ended = acted_s < math.inf
        if ended.any():
            self._end(ended, acted_s, to_s, ill=ill)

    def _by_action(self) -> list[tuple[Action, list[Lanes]]]:
        actions = dict.fromkeys(lanes.then for lanes in self.lanes)
        return [(then, [lanes for lanes in self.lanes if lanes.then == then]) for then in actions]

    def _hold(self, rows: Bools, action: Action, to_s: float) -> None:
        if action >= Action.HOLD:
            self.held |= rows
        if action == Action.STEP_BACK:
            self._enter(rows & (self.stage > 0), -1, to_s)

    def _end(self, ended: Bools, acted_s: Floats, to_s: float, *, ill: bool) -> None:
        ids = self.ids[ended]
        if ill:
            self.played.found_s[ids] = acted_s[ended] - self.scene.onset_s
            # Until the outcomes are in, more are exposed.
            late_s = np.where(ended, np.maximum(acted_s - to_s, 0.0), 0.0)
            more = self._rates()[0] * late_s * (self.scene.harm.part if self.scene.harm.is_narrow else 1.0)
            self.exposed += more
            self.hurt += more * self.scene.harm.fails[self.effect]
        else:
            self.played.early[ids] = True
        self.write(ended)
        self._drop(ended)

    def write(self, rows: Bools) -> None:
        """Write down what has come of these runs so far."""
        ids, played = self.ids[rows], self.played
        played.exposed[ids], played.hurt[ids] = self.exposed[rows], self.hurt[rows]
        played.alarms[ids] = self.alarms[rows]
        played.paid[ids] = sum(lanes.deposited[rows] for lanes in self.lanes)

    def _go_on(self, to_s: float) -> None:
        """Enter the next stage where the time of this one is over and nothing points at harm."""
        last = len(self.scene.phases) - 1
        due = (self.stage < last) & ~self.held & (to_s - self.since_s >= self.for_s[self.stage] - 1e-6)
        if not due.any():
            return
        read = np.zeros(self.ids.size, dtype=bool)
        for lanes in self.lanes:
            read |= lanes.has_read
            due &= lanes.evidence() < CALM_NATS
        self._enter(due & read, 1, to_s)

    def _enter(self, rows: Bools, by: int, to_s: float) -> None:
        """Change the stage of these runs: an epoch begins, what waited for its block is given up, a step is paid."""
        if not rows.any():
            return
        self.stage[rows] += by
        self.since_s[rows] = self.epoch_s[rows] = to_s
        for blocks in self.blocks.values():
            blocks.give_up(rows, to_s)
        self._offer(np.where(rows, self.scene.policy.false_kills.per_step, 0.0))

    def _drop(self, rows: Bools) -> None:
        for lanes in self.lanes:
            lanes.drop(rows)
        for blocks in self.blocks.values():
            blocks.drop(rows)
        self.past.drop(rows)
        if self.newcomers is not None:
            self.newcomers.drop(rows)
        for name in ("ids", "effect", "stage", "since_s", "epoch_s", "held", "begun", "failed", "exposed", "hurt", "alarms"):
            setattr(self, name, getattr(self, name)[~rows])
