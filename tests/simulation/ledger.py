"""What must hold after every step, from what truly happened."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from zlib import crc32

from guardian.bank import Bank
from guardian.dating import AHEAD_MS
from guardian.decisions import Decision, Evidence
from guardian.effects import Decide, Effect
from guardian.gates import CALM_NATS
from guardian.journal import Entry, Override, PolicyEntry, ReceiptEntry, Summary, decode, is_answer
from guardian.names import sequence_of
from guardian.policy import Policy
from guardian.rollout import Status
from guardian.silence import PIPELINE
from guardian.standing import standing
from guardian.state import RolloutState
from tests.simulation.scene import FIXED, PER_DAY, PER_ROLLOUT, PER_STEP, TREATMENT

if TYPE_CHECKING:
    from tests.simulation.world import World

KILLS = ("kill", "kill_flag")
STEPS = ("advance", "step_back", "resume")
DONE = ("applied", "already")
Totals = dict[str, tuple[int, int]]
"""Exposures and outcomes by variation."""


@dataclass(slots=True)
class Truth:
    """What the journal says of one rollout, entry by entry."""

    policy: Policy
    policy_hash: str
    offsets: list[int] = field(default_factory=lambda: [-1])
    totals: list[Totals] = field(default_factory=lambda: [{}])
    failed: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    heard_s: dict[str, float] = field(default_factory=dict)
    """When exposures of a variation last came into the journal."""
    backs_s: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """When steps back of a variation were decided."""
    stops_s: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """When it was stopped where it is: a hold, or a pause."""
    steps: int = 0
    changes: set[str] = field(default_factory=set)

    def add(self, offset: int, variation: str, exposures: int, outcomes: int) -> None:
        """Add an arm."""
        if self.offsets[-1] != offset:
            self.offsets.append(offset)
            self.totals.append(dict(self.totals[-1]))
        held = self.totals[-1].get(variation, (0, 0))
        self.totals[-1][variation] = held[0] + exposures, held[1] + outcomes

    def at(self, offset: int) -> Totals:
        """All that entries up to *offset* told."""
        return self.totals[bisect_right(self.offsets, offset) - 1]


class Ledger:
    """Keeps the truth, and compares."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.rollouts: dict[str, Truth] = {}
        self.decided: dict[str, tuple[int, Decision]] = {}
        self.answered: dict[str, int] = {}
        self.wishes: dict[str, Override] = {}
        self._snapshots: dict[tuple[str, int], int] = {}
        self._entered: dict[tuple[str, str], list[int]] = defaultdict(list)
        self._unsure: dict[tuple[str, str], float] = {}
        """Advances that were given up: from which share, by flag and variation."""
        self._refused: set[str] = set()
        """Advances that people's changes stood against."""
        self._looked = 0
        self.false_kills = 0
        """Kills of what did no harm."""
        self.healthy, self.unlucky = 0, 0
        """Variations that should have gone on by now, and those that chance alone has kept from it."""

    # ------------------------------------------------------------------ the journal

    def entry(self, offset: int, raw: bytes) -> Entry:
        """Note an entry of the journal."""
        entry = decode(raw)
        if isinstance(entry, Summary):
            for sums in entry.flags:
                truth = self.rollouts[sums.key]
                for tick in sums.ticks:
                    for variation, arm in tick.arms.items():
                        truth.add(offset, variation, arm.exposures, arm.outcomes)
                        truth.failed[variation].update(arm.units)
                        if arm.exposures:
                            truth.heard_s[variation] = self._world.loop.time()
        elif isinstance(entry, PolicyEntry):
            self._policy(entry)
        elif isinstance(entry, Override):
            self.wishes[entry.id] = entry
            if entry.action == "changed" and entry.id not in self.rollouts[entry.key].changes:
                self.rollouts[entry.key].changes.add(entry.id)
                self.rollouts[entry.key].steps += 1
        elif isinstance(entry, ReceiptEntry) and is_answer(entry):
            self._receipt(offset, entry)
        return entry

    def _receipt(self, offset: int, entry: ReceiptEntry) -> None:
        """Each decision has one answer; a kill is never given up, and only a later resume overtakes it."""
        known = self.decided.get(entry.decision_id)
        self._check(known is not None, f"a receipt for {entry.decision_id}, which nobody decided")
        if known is None or entry.status == "waiting":
            return
        if entry.decision_id in self.answered:
            if entry.status in DONE and entry.decision_id in self._refused:
                # Asked once more, a store may carry out what it has refused.
                self._refused.discard(entry.decision_id)
                self.rollouts[entry.key].steps += 1
            return
        self.answered[entry.decision_id] = offset
        made, order = known[1], sequence_of(entry.decision_id)
        if made.action == "advance" and entry.status == "conflict":
            self._refused.add(entry.decision_id)
        if made.action == "advance" and entry.status == "expired":
            self._unsure[made.flag_key, made.variant] = made.from_share or 0.0
        if made.action in STEPS and entry.status in DONE:
            self.rollouts[entry.key].steps += 1
        if made.action in KILLS:
            about = ("", made.variant) if made.action == "kill" else ("",)
            resumes = [
                name for name, (_, one) in self.decided.items()
                if one.action == "resume" and one.flag_key == made.flag_key and one.variant in about and sequence_of(name) > order
            ]  # fmt: skip
            is_over = entry.status == "superseded" and bool(resumes)
            self._check(entry.status in DONE or is_over, f"{made.action} {entry.decision_id}: {entry.status}")

    def _policy(self, entry: PolicyEntry) -> None:
        policy, truth = Policy.from_document(entry.document), self.rollouts.get(entry.key)
        if truth is None:
            self.rollouts[entry.key] = Truth(policy, entry.hash)
        elif truth.policy_hash != entry.hash:
            truth.policy, truth.policy_hash, truth.steps = policy, entry.hash, truth.steps + 1

    def snapshot(self, part: str, raw: bytes) -> None:
        """The same prefix gives the same bytes, whoever wrote them."""
        at = part, Bank.offset_of(raw)
        held = self._snapshots.setdefault(at, crc32(raw))
        self._check(held == crc32(raw), f"two snapshots of {part!r} at {at[1]} differ")

    # ------------------------------------------------------------------ judge

    def effects(self, bank: Bank, offset: int, effects: list[Effect]) -> None:
        """The same prefix gives the same decisions, and each says why it was made."""
        for decision in (effect.decision for effect in effects if isinstance(effect, Decide)):
            known = self.decided.get(decision.decision_id)
            if known is None:
                self.decided[decision.decision_id] = offset, decision
                self._world.note(f"decided {decision.decision_id}: {decision.action} {decision.share or ''}")
                truth = self.rollouts[f"{decision.environment}|{decision.flag_key}"]
                if decision.action == "step_back":
                    truth.backs_s[decision.variant].append(self._world.loop.time())
                elif decision.action in ("hold", "pause"):
                    truth.stops_s[decision.variant].append(self._world.loop.time())
                self._justified(bank.rollouts[f"{decision.environment}|{decision.flag_key}"], decision)
                self._world.decided(decision)
            else:
                self._check(known[1] == decision, f"{decision.decision_id} was decided twice, differently")

    def _justified(self, state: RolloutState, decision: Decision) -> None:
        evidence, policy, said = decision.evidence, state.policy, f"{decision.action} {decision.decision_id}"
        if decision.action in ("advance", "step_back") and policy.stages:
            self._given(state, decision)
        if decision.action == "advance" and state.course(decision.variant).stage > 0:
            self._check(is_calm(state, decision.variant), f"{said}: it is not calm")
        if decision.action == "advance" or not decision.guardrail:
            by = self.wishes.get(decision.caused_by)
            person = by is not None and bool(by.by) and by.by in decision.explanation
            is_taken_back = decision.action == "step_back" and (decision.flag_key, decision.variant) in self._unsure
            known = is_taken_back or decision.action in ("advance", "complete", "alert")
            self._check(person or known, f"{said}: nobody wanted it")
            return
        self._check(evidence is not None, f"{said}: no evidence in its record")
        assert evidence is not None
        if decision.action in KILLS:
            self._justified_kill(state, decision, evidence)
        elif not evidence.silence:
            self._check(evidence.log_e >= evidence.log_threshold, f"{said}: {evidence.log_e} < {evidence.log_threshold}")

    def _given(self, state: RolloutState, decision: Decision) -> None:
        """A variation is given its part of what its stage says, of everybody and of each ring; or left what people gave."""
        stage, parts = state.course(decision.variant).stage, max(len(state.policy.variations), 1)
        entered = self._entered[decision.flag_key, decision.variant]
        entered.append(stage)
        given = {"": decision.share or 0.0, **decision.rings}
        due = given_by(state.policy, stage)
        for ring in given.keys() | due.keys():
            share, most = given.get(ring, given[""]), max(due.get(ring, 0.0), due[""])
            is_peoples = not decision.guardrail and share == self._unsure.get((decision.flag_key, decision.variant))
            if decision.action == "step_back" and is_peoples:
                continue
            self._check(-parts * 1e-6 <= share * parts - most <= 1e-9, f"{decision.decision_id}: {share} of {ring or 'all'}")

    def most(self, flag: str, variation: str, ring: str) -> float:
        """The largest share that the stages that a variation was decided to enter give all variations of a ring."""
        truth = next(held for held in self.rollouts.values() if held.policy.flag == flag)
        dues = [given_by(truth.policy, stage) for stage in self._entered[flag, variation]]
        return max((max(due.get(ring, 0.0), due[""]) for due in dues), default=0.0)

    def _justified_kill(self, state: RolloutState, decision: Decision, evidence: Evidence) -> None:
        said = f"{decision.action} {decision.decision_id}"
        if self._is_false(state.key, decision):
            self.false_kills += 1
            self._world.note(f"FALSE kill by {decision.guardrail}")
        if evidence.silence:
            self._check(evidence.silence != PIPELINE, f"{said}: the pipeline's silence kills")
            return
        self._check(evidence.log_e >= evidence.log_threshold, f"{said}: {evidence.log_e} < {evidence.log_threshold}")
        if decision.signal == "error_rate":
            units = len(self.rollouts[state.key].failed[decision.variant])
            self._check(units >= state.policy.min_units, f"{said}: only {units} units failed")
        elif decision.signal != "sample_ratio":
            self._check(evidence.n >= state.policy.min_units, f"{said}: only {evidence.n} requests")

    def _is_false(self, key: str, decision: Decision) -> bool:
        rollout, first = self._world.rollout(key), self._world.scene.rollouts[0]
        is_harmed = bool(first.harm) and self._world.loop.time() >= first.harm_from_s
        if decision.signal == "sample_ratio" and decision.flag_key in self._world.shelf.edited:
            return False  # a person moved the share away from that of the stage: it is off
        return not is_harmed or (rollout is not first and decision.guardrail not in FIXED)

    def judged(self, bank: Bank, seen: int) -> None:
        """Compare what a judge knows after an entry with the truth."""
        self._looked += 1
        for state in bank.rollouts.values():
            at = max(seen, state.offset)
            held = {pending.decision_id for pending in state.outbox}
            due = {
                name for name, (offset, made) in self.decided.items()
                if f"{made.environment}|{made.flag_key}" == state.key
                and offset <= at and self.answered.get(name, math.inf) > at
            }  # fmt: skip
            self._check(due <= held, f"lost before their receipt: {sorted(due - held)}")
            self._check(held <= due, f"in the outbox after their receipt: {sorted(held - due)}")
            if self._looked % 8 == 0:
                self.compare(state, at)

    def compare(self, state: RolloutState, at: int) -> None:
        """Each event once, and no more budget than was promised."""
        counted: dict[str, list[int]] = {}
        for _, cells in state.history.steps():
            for variation, cell in cells.items():
                held = counted.setdefault(variation, [0, 0])
                held[0] += cell.exposures
                held[1] += cell.outcomes
        found = {name: (sums[0], sums[1]) for name, sums in counted.items()}
        told = {name: sums for name, sums in self.rollouts[state.key].at(at).items() if sums != (0, 0)}
        self._check(found == told, f"{state.key} counts {found}, the journal {told}")
        offered = math.fsum(watch.offered for watch in state.variations.values())
        most = self.budget(state.key)
        self._check(offered <= most + 1e-9, f"{state.key} offered {offered} of {most}")
        for name, watch in state.variations.items():
            lanes = [lane for held in watch.guardrails for lane in (held.full, held.fast) if lane is not None]
            lanes += [one.full for line in watch.lines.values() for one in line.watches.values()]
            spent = math.fsum(lane.account.total_deposited for lane in lanes)
            self._check(spent <= watch.offered - watch.renewed + 1e-9, f"{state.key} {name} was paid {spent}")

    def budget(self, key: str) -> float:
        """The expected false kills that a rollout may have had so far."""
        # The journal's clock is the furthest one of all: it may have run ahead of true time, by no more than clocks may.
        seconds = self._world.scene.seconds + min(max(self._world.scene.skews_ms.values()), AHEAD_MS) / 1_000
        return PER_ROLLOUT + PER_STEP * self.rollouts[key].steps + PER_DAY * seconds / 86_400.0

    def whole(self, key: str) -> Totals:
        """All that was told of a rollout."""
        return self.rollouts[key].totals[-1]

    def _check(self, right: bool, said: str) -> None:
        self._world.check(right, said)


def given_by(policy: Policy, stage: int) -> dict[str, float]:
    """What a stage gives all variations together, of everybody and of each ring so far."""
    given = {"": 0.0}
    for one in policy.stages[: stage + 1]:
        given[one.users or ""] = one.share
    return given


def is_calm(state: RolloutState, variation: str) -> bool:
    """Whether nothing points at harm by a variation, and something is watched."""
    lanes = [lane for held in standing(state, state.policy, variation) for lane in held.lanes]
    is_silent = any(name.endswith(("@", f"@{variation}")) for name in state.silent)
    is_watched = bool(lanes) if state.lines.accounts else not is_silent
    return is_watched and all(lane.numbers()[0] < CALM_NATS for lane in lanes)


def is_killed(state: RolloutState, variation: str = TREATMENT) -> bool:
    """Whether judge wants nobody to get a variation."""
    watch, course = state.variations.get(variation), state.courses.get(variation)
    # Who was not seen yet has no watch, and is no more given what its flag was killed with.
    return watch.killed if watch is not None else course is not None and course.status == Status.KILLED
