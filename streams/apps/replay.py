"""
``guardian replay``: the same fold and the same engine over recorded events.

Events arrive when they happened (an outcome when it ended), in that order
whatever file they stand in; observe's flushes come every 100 ms of that time.
So the answer depends on the events alone, not on how they were read.
"""

from __future__ import annotations

import gzip
import heapq
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from guardian.bank import Bank, JudgeConfig
from guardian.decisions import Decision
from guardian.effects import Decide
from guardian.errors import GuardianError
from guardian.journal import Beat, Entry, PolicyEntry, ReceiptEntry, Summary
from guardian.names import Millis, rollout_key
from guardian.policy import Policy, policy_hash
from streams.codecs import Event, Headers, Refused, read_record
from streams.folding import Fold, FoldConfig
from streams.policies import load_policies

FLUSH_MS = 100
ORDER_WINDOW = 50_000
"""Events held back to be put in order; what comes further out of order counts as late, as it would live."""
SOURCE = "replay/0"


@dataclass(slots=True)
class Line:
    """One recorded event and where it stands."""

    place: str
    value: bytes
    headers: Headers = ()


@dataclass(slots=True)
class Report:
    """What a replay read and found."""

    lines: int = 0
    events: int = 0
    skipped: int = 0
    unreadable: int = 0
    first_ms: Millis = 0
    last_ms: Millis = 0
    decisions: int = 0
    kills: int = 0
    complaints: list[str] = field(default_factory=list)
    unwatched: dict[str, int] = field(default_factory=dict)

    MOST_COMPLAINTS = 20

    def complain(self, place: str, why: str) -> None:
        """Count an unreadable line; the first twenty are named."""
        self.unreadable += 1
        if len(self.complaints) < self.MOST_COMPLAINTS:
            self.complaints.append(f"{place}: {why}")


def lines_of(paths: Iterable[str], stdin: Iterable[bytes]) -> Iterator[Iterator[Line]]:
    """Return each file's lines; ``-`` is standard input, ``.gz`` is unpacked, empty lines are passed over."""
    for path in paths:
        yield _lines("<stdin>" if path == "-" else path, path, stdin)


def _lines(name: str, path: str, stdin: Iterable[bytes]) -> Iterator[Line]:
    if path == "-":
        source: Iterable[bytes] = stdin
    elif path.endswith(".gz"):
        source = gzip.open(path, "rb")  # noqa: SIM115 - read to its end below
    else:
        source = Path(path).open("rb")  # noqa: SIM115
    for number, value in enumerate(source, 1):
        if stripped := value.strip():
            yield Line(f"{name}:{number}", stripped)


def events_of(lines: Iterable[Line], report: Report) -> Iterator[Event]:
    """Decode lines; what cannot be read is reported with its place and reason, and passed over."""
    for line in lines:
        report.lines += 1
        try:
            event = read_record(line.value, line.headers, bare=True)
        except Refused as refused:
            report.complain(line.place, str(refused))
            continue
        if isinstance(event, int):
            report.skipped += 1
        else:
            yield event


def in_order(events: Iterable[Event], window: int = ORDER_WINDOW) -> Iterator[Event]:
    """Yield events by time, as far as a window of them allows; of equal times, the earlier read first."""
    held: list[tuple[Millis, int, Event]] = []
    for number, event in enumerate(events):
        heapq.heappush(held, (event.time_ms, number, event))
        if len(held) > window:
            yield heapq.heappop(held)[2]
    while held:
        yield heapq.heappop(held)[2]


def merged(streams: Iterable[Iterable[Event]]) -> Iterator[Event]:
    """Merge several files, each put in order by itself."""
    return heapq.merge(*(in_order(stream) for stream in streams), key=lambda event: event.time_ms)


def entries(events: Iterable[Event], config: JudgeConfig, report: Report, needed: set[str]) -> Iterator[Entry]:
    """
    Yield what observe would have written: a summary every 100 ms of event time, beats while nothing happens.

    A silence longer than anything that judge waits for is passed over in one
    step. ``needed`` are the rollouts with a policy; others are counted.
    """
    fold = Fold(SOURCE, FoldConfig())
    patience_ms = config.lag_max_ms + config.idle_source_ms + 2 * config.propagation_ms
    batch: list[Event] = []
    at_ms = seen = 0
    for event in events:
        report.events += 1
        _count_unwatched(event, needed, report)
        time_ms = max(event.time_ms, at_ms - FLUSH_MS)
        if not at_ms:
            report.first_ms = event.time_ms
            at_ms = time_ms // FLUSH_MS * FLUSH_MS + FLUSH_MS
        report.last_ms = max(report.last_ms, event.time_ms)
        if time_ms >= at_ms:
            yield _flush(fold, batch, at_ms, seen)
            seen += len(batch)
            batch = []
            boundary_ms = time_ms // FLUSH_MS * FLUSH_MS + FLUSH_MS
            yield from _beats(at_ms + FLUSH_MS, min(boundary_ms, at_ms + patience_ms))
            at_ms = boundary_ms
        batch.append(event)
    if at_ms:
        yield _flush(fold, batch, at_ms, seen)
        yield from _beats(at_ms + FLUSH_MS, at_ms + patience_ms)


def _beats(from_ms: Millis, to_ms: Millis) -> Iterator[Entry]:
    for at_ms in range(from_ms, to_ms, FLUSH_MS):
        yield Beat(source=SOURCE, at_ms=at_ms, passed_ms=at_ms)


def _flush(fold: Fold, batch: list[Event], at_ms: Millis, seen: int) -> Summary:
    # What lies further back than the window could order has arrived now; the rest when it happened.
    fold.take_events(batch, [max(event.time_ms, at_ms - FLUSH_MS) for event in batch])
    flags = fold.flush(at_ms)
    offsets = [seen, seen + len(batch) - 1] if batch else []
    return Summary(source=SOURCE, at_ms=at_ms, passed_ms=at_ms, offsets=offsets, flags=flags)


def _count_unwatched(event: Event, needed: set[str], report: Report) -> None:
    for flag in event.flags:
        key = rollout_key(event.environment, flag)
        if key not in needed:
            report.unwatched[key] = report.unwatched.get(key, 0) + 1


def decisions(
    events: Iterable[Event], policies: list[Policy], report: Report, config: JudgeConfig | None = None
) -> Iterator[Decision]:
    """
    Yield the decisions that a live guardian would have taken, in the order of ``decided_at``.

    A decision is answered at once as in shadow mode: recorded traffic goes on
    as it was recorded, so nothing can be read back from it.
    """
    config = config or JudgeConfig()
    bank, offset, told = Bank(config), 0, set[str]()

    def apply(entry: Entry) -> Iterator[Decision]:
        nonlocal offset
        effects = bank.apply(offset, entry)
        offset += 1
        for effect in effects:
            if isinstance(effect, Decide) and effect.decision.decision_id not in told:
                told.add(effect.decision.decision_id)
                made = effect.decision
                key = rollout_key(made.environment, made.flag_key)
                yield made
                at_ms = bank.sources.now_ms
                yield from apply(ReceiptEntry(at_ms=at_ms, key=key, decision_id=made.decision_id, status="shadow"))

    for entry in entries(events, config, report, {p.key for p in policies}):
        if not offset:
            for policy in policies:
                document, hashed = policy.to_document(), policy_hash(policy)
                at_ms = entry.at_ms - FLUSH_MS
                yield from apply(PolicyEntry(at_ms=at_ms, key=policy.key, hash=hashed, document=document))
        for made in apply(entry):
            report.decisions += 1
            report.kills += made.action in ("kill", "kill_flag")
            yield made


def main(
    files: list[str],
    policy_paths: list[Path],
    *,
    as_json: bool = False,
    fail_on: str = "",
    out: TextIO = sys.stdout,
    err: TextIO = sys.stderr,
) -> int:
    """Replay files; return the exit code: 0; 2 for input that is of no use; 3 where ``fail_on`` was decided."""
    report = Report()
    try:
        policies = load_policies(policy_paths)
    except GuardianError as error:
        err.write(f"{error}\n")
        return 2
    failed = False
    try:
        streams = [events_of(lines, report) for lines in lines_of(files, sys.stdin.buffer)]
        for made in decisions(merged(streams), policies, report):
            out.write(f"{_line(made, as_json)}\n")
            failed |= bool(fail_on) and made.action.startswith(fail_on)
    except (OSError, EOFError) as error:
        err.write(f"{error}\n")
        return 2
    err.write(summary(report))
    return 3 if failed else 0


def _line(made: Decision, as_json: bool) -> str:
    return made.model_dump_json() if as_json else f"{made.decided_at} {made.explanation}"


def summary(report: Report) -> str:
    """Return the account of a replay, for people."""
    span_s = (report.last_ms - report.first_ms) / 1_000
    text = [
        (
            f"{report.lines:,} lines: {report.events:,} events over {span_s:,.1f} s, "
            f"{report.skipped:,} skipped, {report.unreadable:,} unreadable"
        ),
        f"{report.decisions:,} decisions, {report.kills:,} of them kills",
    ]
    text += [f"  {complaint}" for complaint in report.complaints]
    if report.unreadable > len(report.complaints):
        text.append(f"  ... and {report.unreadable - len(report.complaints):,} more")
    for key, count in sorted(report.unwatched.items())[:10]:
        text.append(f"  no policy for {key}: {count:,} events not judged")
    return "\n".join(text) + "\n"


__all__ = ["Report", "decisions", "entries", "events_of", "main", "merged", "summary"]
