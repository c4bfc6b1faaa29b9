"""
``guardian replay``: the same fold and the same engine over recorded events.

Events arrive when they happened (an outcome when it ended), in that order
whatever file they stand in; observe's flushes come every 100 ms of that time.
So the answer depends on the events alone, not on how they were read.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TextIO

import numpy as np

from guardian.bank import SWEEP_MS, Bank, JudgeConfig
from guardian.conditions import Silence
from guardian.decisions import Decision, HindsightView
from guardian.effects import Decide
from guardian.errors import GuardianError
from guardian.journal import Beat, Entry, PolicyEntry, ReceiptEntry, Summary
from guardian.lines import plan_of
from guardian.names import Millis, rollout_key
from guardian.policy import Policy, policy_hash
from guardian.retelling import counted, retold
from guardian.summaries import FlagSums
from guardian.views import hindsight
from streams.apps.recordings import BATCH_LINES, Recorded, read
from streams.apps.stretches import FLUSH_MS, Stretch, stretches
from streams.fold import Batch, Fold, FoldConfig
from streams.policies import load_policies

SOURCE = "replay/0"
MOST_COMPLAINTS = 20
REPLAYED = JudgeConfig(show_ms=3_600_000)
"""As live, but that nobody looks at the rollouts meanwhile."""


@dataclass(slots=True)
class Report:
    """What a replay read and found."""

    lines: int = 0
    first_ms: Millis = 0
    last_ms: Millis = 0
    events: int = 0
    skipped: int = 0
    duplicates: int = 0
    unreadable: int = 0
    decisions: int = 0
    kills: int = 0
    complaints: list[str] = field(default_factory=list)
    unwatched: dict[str, int] = field(default_factory=dict)
    hindsight: list[HindsightView] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def complain(self, place: str, why: str) -> None:
        """Count an unreadable line; the first twenty are named."""
        self.unreadable += 1
        if len(self.complaints) < MOST_COMPLAINTS:
            self.complaints.append(f"{place}: {why}")


Shown = Callable[[dict[tuple[str, str], set[int]], Millis], None]
"""Told by flag key and variation which units were shown it in a flush, and when that flush was."""


@dataclass(frozen=True, slots=True)
class Flush:
    """One flush to come: when it is, its first and last line, and which events of the batch are its own."""

    at_ms: Millis
    offsets: list[int]
    batch: Batch
    events: slice


class Observer:
    """
    What observe does, on the clock of the events: fold what came by the policies' plans, flush every 100 ms.

    *shown* is told whom each flush shows to have been exposed.
    """

    def __init__(self, report: Report, policies: Iterable[Policy], shown: Shown | None = None) -> None:
        self._shown = shown
        self._fold = Fold(SOURCE, FoldConfig(bare=True))
        self._fold.plans = {policy.key: plan_of(policy) for policy in policies}
        self._fold.known = dict.fromkeys(self._fold.plans, ())
        self._report = report

    def take(self, stretch: Stretch) -> list[Flush]:
        """Take the events of a stretch; return its flushes, of which ``summary`` is then asked in their order."""
        before, (flush_ms, ends, flush) = self._report.lines, stretch.flushes()
        batch = self._fold.decode(stretch.events)
        self._fold.take_ahead(batch, stretch.arrival_ms[batch.at], flush[batch.at])
        self._count(stretch, batch)
        within = [0, *np.searchsorted(batch.at, ends).tolist()]
        firsts = [before, *(before + ends).tolist()]
        return [
            Flush(at_ms, [first, then - 1], batch, slice(begin, end))
            for at_ms, (first, then), (begin, end) in zip(flush_ms.tolist(), pairwise(firsts), pairwise(within), strict=True)
        ]

    def summary(self, flush: Flush) -> Summary:
        """Return the summary of the next flush of those taken."""
        if self._shown is not None:
            self._shown(self._fold.shown(flush.batch.take(flush.events)), flush.at_ms)
        flags, unwatched = self._fold.flush(flush.at_ms), self._report.unwatched
        for sums in flags:
            if sums.key not in self._fold.plans:
                unwatched[sums.key] = unwatched.get(sums.key, 0) + _size(sums)
        return Summary(source=SOURCE, at_ms=flush.at_ms, passed_ms=flush.at_ms, offsets=flush.offsets, flags=flags)

    def _count(self, stretch: Stretch, batch: Batch) -> None:
        report, counts = self._report, self._fold.counts
        for at, why in sorted(batch.reasons.items()):
            report.complain(stretch.events[at].place, why)
        if not report.lines:
            report.first_ms = int(stretch.time_ms[0])
        report.last_ms = max(report.last_ms, int(stretch.time_ms.max()))
        report.lines += len(stretch.events)
        report.events = counts.exposures + counts.outcomes + counts.feedback
        report.skipped, report.duplicates = counts.skipped + counts.unknown, counts.duplicates


def _size(sums: FlagSums) -> int:
    return sum(arm.exposures + arm.outcomes for tick in sums.ticks for arm in tick.arms.values())


def entries(events: Iterable[Recorded], observer: Observer, patience_ms: int) -> Iterator[Entry]:
    """
    Yield what observe would have written: a summary every 100 ms of event time, beats while nothing happens.

    A silence longer than ``patience_ms`` is passed over in one step.
    """
    last_ms: Millis | None = None
    for stretch in stretches(events):
        for flush in observer.take(stretch):
            if last_ms is not None:
                yield from _beats(last_ms + FLUSH_MS, min(flush.at_ms, last_ms + patience_ms))
            yield observer.summary(flush)
            last_ms = flush.at_ms
    if last_ms is not None:
        yield from _beats(last_ms + FLUSH_MS, last_ms + patience_ms)


def patience_ms(policies: list[Policy], config: JudgeConfig) -> int:
    """Return how long a silence lasts until nothing more can follow from it: lag, receipts, ``no_data`` guardrails."""
    waits = [guardrail.when.bound.for_s for policy in policies for guardrail in policy.guardrails
             if isinstance(guardrail.when.bound, Silence)]  # fmt: skip
    longest_ms = round(1_000 * max(waits, default=0.0)) + SWEEP_MS
    return max(config.lag_max_ms + config.idle_source_ms + 2 * config.propagation_ms, longest_ms + SWEEP_MS)


def _beats(from_ms: Millis, to_ms: Millis) -> Iterator[Entry]:
    for at_ms in range(from_ms, to_ms, FLUSH_MS):
        yield Beat(source=SOURCE, at_ms=at_ms, passed_ms=at_ms)


class Replay:
    """Judge, on the clock of the events; a decision is answered at once as in shadow mode."""

    def __init__(self, policies: list[Policy], report: Report, config: JudgeConfig) -> None:
        self._policies = policies
        self._report = report
        self._bank = Bank(config)
        self._offset = 0
        self._told: set[str] = set()

    def decisions(self, given: Iterable[Entry]) -> Iterator[Decision]:
        """Yield the decisions in the order of ``decided_at``; each once."""
        for entry in given:
            if not self._offset:
                yield from self._begin(entry.at_ms - FLUSH_MS)
            yield from self._apply(entry)
        self._report.hindsight = [one for _, state in sorted(self._bank.rollouts.items()) for one in hindsight(state)]

    def _begin(self, at_ms: Millis) -> Iterator[Decision]:
        for given in self._policies:
            if given.topics:
                named = ", ".join(given.topics)
                self._report.notes.append(f"{given.key}: live only events of {named} count; here all that was read")
            # Of what was recorded all counts: it is for who replays it to choose.
            policy = given.model_copy(update={"topics": ()})
            document, hashed = policy.to_document(), policy_hash(policy)
            yield from self._apply(PolicyEntry(at_ms=at_ms, key=policy.key, hash=hashed, document=document))

    def _apply(self, entry: Entry) -> Iterator[Decision]:
        effects = self._bank.apply(self._offset, entry)
        self._offset += 1
        for effect in effects:
            if not isinstance(effect, Decide) or effect.decision.decision_id in self._told:
                continue
            made = effect.decision
            self._told.add(made.decision_id)
            self._report.decisions += 1
            self._report.kills += made.action in ("kill", "kill_flag")
            yield made
            # Recorded traffic goes on as it was recorded: nothing can be read back from it.
            key, at_ms = rollout_key(made.environment, made.flag_key), self._bank.sources.now_ms
            yield from self._apply(ReceiptEntry(at_ms=at_ms, key=key, decision_id=made.decision_id, status="shadow"))


def replay(
    events: Iterable[Recorded], policies: list[Policy], report: Report, config: JudgeConfig | None = None
) -> Iterator[Decision]:
    """Yield the decisions that a live guardian would have taken on these events."""
    config = config or REPLAYED
    observer = Observer(report, policies)
    return Replay(policies, report, config).decisions(entries(events, observer, patience_ms(policies, config)))


def main(
    files: list[str],
    policy_paths: list[Path],
    *,
    as_json: bool = False,
    fail_on: str = "",
    batch_lines: int = BATCH_LINES,
    recorded: Iterable[Recorded] | None = None,
    out: TextIO | None = None,
    err: TextIO | None = None,
) -> int:
    """
    Replay files, or what is ``recorded`` elsewhere; a decision a line on ``out``, the account on ``err``.

    Returns the exit code: 0; 2 for input that is of no use; 3 where an
    action named by ``fail_on`` was decided (``kill`` stands for ``kill_flag`` too).
    """
    out, err = out or sys.stdout, err or sys.stderr
    report, failed = Report(), False
    try:
        policies = load_policies(policy_paths)
        events = read(files, sys.stdin.buffer, batch_lines) if recorded is None else recorded
        for made in replay(events, policies, report):
            out.write(f"{_line(made, as_json)}\n")
            failed |= bool(fail_on) and made.action.startswith(fail_on)
    except (GuardianError, OSError, EOFError) as error:
        err.write(f"{error}\n")
        return 2
    out.flush()
    err.write(summary(report))
    return 3 if failed else 0


def _line(made: Decision, as_json: bool) -> str:
    return made.model_dump_json() if as_json else f"{made.decided_at} {made.explanation}"


def summary(report: Report) -> str:
    """Return the account of a replay, for people."""
    span_s = (report.last_ms - report.first_ms) / 1_000
    text = [
        (
            f"{report.lines:,} lines: {report.events:,} events over {span_s:,.1f} s, {report.duplicates:,} repeated, "
            f"{report.skipped:,} skipped, {report.unreadable:,} unreadable"
        ),
        f"{report.decisions:,} decisions, {report.kills:,} of them kills",
    ]
    if report.hindsight:
        # What was recorded went on as if nobody had been told: so it tells whether the kills were right.
        text.append(f"in hindsight: {counted(report.hindsight)}")
    text += [f"  {retold(one)}" for one in report.hindsight]
    text += [f"  {complaint}" for complaint in report.complaints]
    if report.unreadable > len(report.complaints):
        text.append(f"  ... and {report.unreadable - len(report.complaints):,} more")
    text += [f"  {said}" for said in report.notes]
    for key, count in sorted(report.unwatched.items())[:10]:
        text.append(f"  no policy for {key}: {count:,} events not judged")
    return "\n".join(text) + "\n"
