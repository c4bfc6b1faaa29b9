"""What a trial found: the same events, read with and without faults, compared."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from tests.torture.faults import TIME_S, Terms
from tests.torture.ledger import Ledger
from tests.torture.story import Story, Totals
from tests.torture.striking import Striker, Struck

Heard = Mapping[str, list[float]]
"""When each thing was heard of, seconds by the clock, in order."""

LATE_MOST_S, STORE_MOST_S = TIME_S, 15.0


@dataclass
class Found:
    """
    What a trial found; nothing in ``wrong``, and it has passed.

    ``slow`` is what took longer than it may where nothing else keeps the machine busy, and faults leave time for it.
    ``late_s`` is how much later than undisturbed each verdict came, ``after_fault_s`` the same, or from the last fault before.
    """

    seed: int
    leaves_time: bool
    kills: int
    missed: int
    struck: list[Struck]
    sent: int
    dead: int
    counted: int
    lost: int
    doubled: int
    verdicts: int
    late_s: list[float]
    after_fault_s: list[float]
    in_store_s: list[float]
    takeover_s: dict[str, list[float]]
    recovery_s: list[float]
    return_s: list[float]
    wrong: list[str] = field(default_factory=list)
    slow: list[str] = field(default_factory=list)


def compared(
    story: Story, calm: Ledger, struck: Ledger, judge_s: Heard, striker: Striker, seed: int, terms: Terms
) -> Found:
    """Compare what came of the same events with and without faults; *judge_s* is when the struck judge was heard of."""
    wrong: list[str] = []
    strikes = striker.struck
    lost = doubled = 0  # of the last, which is the struck one
    for name, ledger in (("calm", calm), ("struck", struck)):
        lost, doubled, texts = differences(story.totals, ledger.summed())
        wrong += [f"{name}: the journal: {text}" for text in texts]
        wrong += [f"{name}: judge has it otherwise than the journal: {text}" for text in ledger.misjudged()]
        dead = ledger.dead()
        if len(dead) != story.malformed or set(dead.values()) - {1}:
            often = {value: times for value, times in dead.items() if times > 1}
            wrong.append(f"{name}: {len(dead)} unreadable records of {story.malformed} as dead letters, several times {often}")
        ledger.check_effects()
        wrong += [f"{name}: {text}" for text in ledger.wrong]
    verdicts, again = calm.verdicts(), struck.verdicts()
    kills_told = {(flag, "treatment", "kill") for flag in story.harm_from_s}
    if set(verdicts) != kills_told:
        wrong.append(f"calm: decided {sorted(set(verdicts) ^ kills_told)} otherwise than the story has it")
    if set(again) != set(verdicts):
        wrong.append(f"struck: decided {sorted(set(verdicts) ^ set(again))} otherwise than undisturbed")
    both_s = {verdict: (at_s, again[verdict]) for verdict, at_s in verdicts.items() if verdict in again}
    late_s = {verdict: came_s - at_s for verdict, (at_s, came_s) in both_s.items()}
    slow = [f"the verdict on {flag} {late:.1f} s late" for (flag, *_), late in late_s.items() if late > LATE_MOST_S]
    in_store_s = struck.in_store_after_s()
    slow += [f"a kill in the store after {took:.1f} s" for took in in_store_s if took > STORE_MOST_S]
    heard_s = {"observe": struck.heard_s(), "judge": judge_s}
    takeover_s = {worker: takeovers(of, strikes, worker, len(striker.hosts)) for worker, of in heard_s.items()}
    slow += [
        f"{worker} took over {took:.1f} s after {datetime.fromtimestamp(at_s, UTC):%H:%M:%S}"
        for worker, times in takeover_s.items() for at_s, took in times.items() if took > TIME_S
    ]  # fmt: skip
    everything = {f"{worker} {name}": times for worker, of in heard_s.items() for name, times in of.items()}
    sent = sum(times for (*_, kind), times in story.totals.items() if kind != "errors")
    counted = sum(times for (*_, kind), times in struck.summed().items() if kind != "errors")
    kills, missed = sum(one.fault.is_kill for one in strikes), sum(fault.is_kill for fault in striker.missed)
    return Found(
        seed, terms.leaves_time, kills, missed, strikes, sent, len(struck.dead()), counted, lost, doubled, len(again),
        [*late_s.values()], [came_s - due(at_s, came_s, strikes) for at_s, came_s in both_s.values()], in_store_s,
        {worker: [*times.values()] for worker, times in takeover_s.items()}, recoveries(everything, strikes),
        returns(everything, strikes, len(striker.hosts)), wrong, slow if terms.leaves_time else [],
    )  # fmt: skip


def due(undisturbed_s: float, came_s: float, strikes: list[Struck]) -> float:
    """Return when a verdict was due: when it came undisturbed, or at the last fault before it came, if that was later."""
    return max([undisturbed_s, *(one.at_s for one in strikes if one.at_s < came_s)])


def differences(expected: Totals, found: Totals) -> tuple[int, int, list[str]]:
    """Return how many are missing, how many too many, and where."""
    texts, less, more = [], 0, 0
    for cell in sorted(set(expected) | set(found)):
        there, wanted = found[cell], expected[cell]
        less, more = less + max(wanted - there, 0), more + max(there - wanted, 0)
        if there != wanted:
            texts.append(f"{' '.join(cell)}: {there} instead of {wanted}")
    return less, more, texts


def takeovers(heard_s: Heard, strikes: list[Struck], worker: str, hosts: int) -> dict[float, float]:
    """
    Return for each kill of the worker, or of a host, by its time, how long everything it is in charge of was not heard of.

    A kill that is followed by another one, or by a broker's, before that is left out: it cannot be told whose wait it was.
    So is one after which none of so many *hosts* was there to take anything over; see ``returns``.
    """
    others = sorted(one.at_s for one in strikes if one.fault.kind in (worker, "host", "broker", "leave", "sleep"))
    found = {}
    for at_s in sorted(one.at_s for one in strikes if one.fault.kind in (worker, "host")):
        again_s = heard_again(heard_s, at_s)
        if again_s is None or somebody_from(at_s, strikes, hosts) > at_s or any(at_s < other <= again_s for other in others):
            continue
        found[at_s] = again_s - at_s
    return found


def returns(heard_s: Heard, strikes: list[Struck], hosts: int) -> list[float]:
    """
    Return for each time that no host was there how long it took, from when one was started again, until all was heard of.

    Where another fault came meanwhile, it is left out.
    """
    gone = [one.at_s for one in strikes if one.fault.kind in ("host", "leave")]
    began_s = {from_s for at_s in gone if (from_s := somebody_from(at_s, strikes, hosts)) > at_s}
    again_s = {one: heard_again(heard_s, one) for one in sorted(began_s)}
    return [at_s - one for one, at_s in again_s.items() if at_s is not None and due(one, at_s, strikes) == one]


def somebody_from(at_s: float, strikes: list[Struck], hosts: int) -> float:
    """Return from when on, at that moment or after it, one of so many *hosts* was there or had been started again."""
    gone = [one for one in strikes if one.fault.kind in ("host", "leave") and one.at_s <= at_s]
    back_s = {one.fault.number: one.at_s + one.fault.away_s for one in gone}
    return max(at_s, min(back_s.get(number, at_s) for number in range(hosts)))


def recoveries(heard_s: Heard, strikes: list[Struck]) -> list[float]:
    """Return for each death of a broker, or from the last fault of the time, how long it took until everything was heard of."""
    again = [heard_again(heard_s, one.at_s) for one in strikes if one.fault.kind == "broker"]
    return [again_s - due(0.0, again_s, strikes) for again_s in again if again_s is not None]


def heard_again(heard_s: Heard, at_s: float) -> float | None:
    """Return when everything was heard of after that; ``None`` where it never was."""
    again_s = [times[at] for times in heard_s.values() if (at := bisect_right(times, at_s)) < len(times)]
    return max(again_s) if len(again_s) == len(heard_s) else None
