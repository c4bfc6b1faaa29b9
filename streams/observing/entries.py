"""What one flush of one source writes: summaries and beats, one journal partition each, and dead letters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import msgspec

from guardian.journal import Beat, Summary, encode
from guardian.names import Millis
from guardian.summaries import Arm, FlagSums, Tick
from streams.deadletters import DeadLetter
from streams.observing.transactions import Message
from streams.partitioning import partition_of

BEAT_MS = 1_000
ENTRY_BYTES_MAX = 700_000
"""Brokers take a megabyte by default; a summary that is larger is written in parts."""


@dataclass(slots=True)
class Journalist:
    """
    Writes the journal's entries of one source.

    ``passed_ms`` is the last progress written; ``said_ms`` when each journal
    partition last heard of the source.
    """

    source: str
    topic: str
    partitions: int
    passed_ms: Millis = 0
    said_ms: dict[int, Millis] = field(default_factory=dict)

    def copy(self) -> Journalist:
        """Return one that can go on while this one remembers what is committed."""
        return replace(self, said_ms=dict(self.said_ms))

    def entries(
        self, flags: Iterable[FlagSums], offsets: list[int], now_ms: Millis, passed_ms: Millis
    ) -> Iterator[Message]:
        """Yield a summary for each journal partition that owns one of the flags, and beats for silent ones."""
        passed_ms = max(passed_ms, self.passed_ms)
        owned: dict[int, list[FlagSums]] = {}
        for flag in flags:
            owned.setdefault(partition_of(flag.key, self.partitions), []).append(flag)
        for partition in range(self.partitions):
            if sums := owned.get(partition):
                whole = Summary(source=self.source, at_ms=now_ms, passed_ms=passed_ms, offsets=offsets, flags=sums)
                parts = list(split(whole, ENTRY_BYTES_MAX))
                for part in parts[:-1]:
                    # What is still to come has not been passed.
                    part.passed_ms = self.passed_ms
                yield from (Message(self.topic, encode(part), partition) for part in parts)
            elif self._is_silent(partition, now_ms):
                beat = Beat(source=self.source, at_ms=now_ms, passed_ms=passed_ms)
                yield Message(self.topic, encode(beat), partition)
            else:
                continue
            self.said_ms[partition] = now_ms
        self.passed_ms = passed_ms

    def _is_silent(self, partition: int, now_ms: Millis) -> bool:
        return now_ms - self.said_ms.get(partition, 0) >= BEAT_MS


def dead_letters(topic: str, letters: Iterable[DeadLetter]) -> Iterator[Message]:
    """Yield the records of dead letters."""
    for letter in letters:
        yield Message(topic, letter.value, key=letter.key, headers=letter.kafka_headers())


def split(summary: Summary, bytes_max: int) -> Iterator[Summary]:
    """Yield summaries that add up to this one and are encoded in at most so many bytes, where that can be."""
    halves = _halves(summary.flags) if len(encode(summary)) > bytes_max else None
    if halves is None:
        yield summary
        return
    for half in halves:
        yield from split(msgspec.structs.replace(summary, flags=half), bytes_max)


def _halves(flags: Sequence[FlagSums]) -> tuple[list[FlagSums], list[FlagSums]] | None:
    if len(flags) > 1:
        middle = len(flags) // 2
        return list(flags[:middle]), list(flags[middle:])
    (flag,) = flags
    rest = FlagSums(key=flag.key, ticks=flag.ticks)
    if flag.delays or flag.mixed or flag.cohort:
        told = FlagSums(key=flag.key, delays=flag.delays, mixed=flag.mixed, cohort=flag.cohort)
        if flag.ticks:
            return [rest], [told]
        return _halves_told(told)
    if len(flag.ticks) > 1:
        middle = len(flag.ticks) // 2
        return [FlagSums(key=flag.key, ticks=flag.ticks[:middle])], [FlagSums(key=flag.key, ticks=flag.ticks[middle:])]
    return _halves_tick(flag.key, flag.ticks[0]) if flag.ticks else None


def _halves_told(flag: FlagSums) -> tuple[list[FlagSums], list[FlagSums]] | None:
    told = len(flag.mixed) + len(flag.cohort)
    if flag.delays and told:
        return [FlagSums(key=flag.key, delays=flag.delays)], [FlagSums(key=flag.key, mixed=flag.mixed, cohort=flag.cohort)]
    if flag.delays:
        return _halves_delays(flag)
    if told < 2:
        return None
    mixed_at, cohort_at = (len(flag.mixed) + 1) // 2, len(flag.cohort) // 2
    first = FlagSums(key=flag.key, mixed=flag.mixed[:mixed_at], cohort=flag.cohort[:cohort_at])
    return [first], [FlagSums(key=flag.key, mixed=flag.mixed[mixed_at:], cohort=flag.cohort[cohort_at:])]


def _halves_delays(flag: FlagSums) -> tuple[list[FlagSums], list[FlagSums]] | None:
    cells = [(name, bucket) for name, counts in flag.delays.items() for bucket in counts]
    if len(cells) < 2:
        return None
    first, second = FlagSums(key=flag.key), FlagSums(key=flag.key)
    for number, (name, bucket) in enumerate(cells):
        half = first if number < len(cells) // 2 else second
        half.delays.setdefault(name, {})[bucket] = flag.delays[name][bucket]
    return [first], [second]


def _halves_tick(key: str, tick: Tick) -> tuple[list[FlagSums], list[FlagSums]] | None:
    cells = [(segment, name) for segment, arms in (("", tick.arms), *tick.segments.items()) for name in sorted(arms)]
    if len(cells) > 1:
        middle = len(cells) // 2
        halves = ({cell: _arm(tick, cell) for cell in half} for half in (cells[:middle], cells[middle:]))
    else:
        parts = _halves_arm(_arm(tick, cells[0])) if cells else None
        if parts is None:
            return None
        halves = ({cells[0]: part} for part in parts)
    first, second = (_one(key, tick, half) for half in halves)
    _share_company(tick, first.ticks[0], second.ticks[0])
    first.ticks[0].served = tick.served
    return [first], [second]


def _share_company(tick: Tick, first: Tick, second: Tick) -> None:
    """Give what a tick tells of other flags to the half that has the arm; where both have a part of it, to the first."""
    for flag, rows in tick.company.items():
        for name, met in rows.items():
            half = first if name in first.arms or name not in second.arms else second
            half.company.setdefault(flag, {})[name] = met


def _halves_arm(arm: Arm) -> tuple[Arm, Arm] | None:
    """Return two arms that add up to one: the longest of its lists is divided."""
    name = max(("units", "reporters", "fresh"), key=lambda name: len(getattr(arm, name)))
    hashed: list[int] = getattr(arm, name)
    if len(hashed) < 2:
        return None
    middle = len(hashed) // 2
    if name == "units":
        # Each failing unit keeps an error and an outcome beside it: neither part says more failed than ran.
        failed = len(hashed) - middle
        rest = {"outcomes": arm.outcomes - failed, "errors": arm.errors - failed}
        second = Arm(outcomes=failed, errors=failed, units=hashed[middle:])
    else:
        rest = {}
        second = Arm(fresh_shift=arm.fresh_shift if name == "fresh" else 0)
        setattr(second, name, hashed[middle:])
    return msgspec.structs.replace(arm, **{name: hashed[:middle]}, **rest), second


def _arm(tick: Tick, cell: tuple[str, str]) -> Arm:
    segment, name = cell
    return (tick.segments[segment] if segment else tick.arms)[name]


def _one(key: str, tick: Tick, cells: dict[tuple[str, str], Arm]) -> FlagSums:
    made = Tick(start_ms=tick.start_ms, length_ms=tick.length_ms, arms={}, segments={}, company={})
    for (segment, name), arm in cells.items():
        arms = made.segments.setdefault(segment, {}) if segment else made.arms
        arms[name] = arm
    return FlagSums(key=key, ticks=[made])
