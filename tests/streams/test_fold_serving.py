"""Promises of the fold about who still serves what was killed."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import msgspec
import numpy as np
import pytest

from guardian.plan import Plan
from guardian.summaries import OTHERS, SERVICES_MAX, FlagSums, Served, Tick, add_served
from streams.codecs import Line
from streams.fold import Fold, FoldConfig
from streams.folding.serving import VERSIONS_MAX
from tests.support.events import NOON_MS, exposure, flat, line, outcome
from tests.support.folds import content

KEY = "production|checkout-v2"
PROOFS = {KEY: frozenset({"treatment"})}


def served(flags: Iterable[FlagSums], key: str = KEY) -> Served:
    """What services showed of a flag, over all ticks."""
    found: Served = {}
    for sums in flags:
        for tick in sums.ticks if sums.key == key else ():
            found = add_served(found, tick.served)
    return found


def fold_of(proofs: Any = PROOFS, plans: Any = None) -> Fold:
    fold = Fold("t/0")
    fold.plans, fold.proofs = plans or {}, proofs
    return fold


def without_served(flags: Iterable[FlagSums]) -> Any:
    def bare(tick: Tick) -> Tick:
        return msgspec.structs.replace(tick, served={})

    return content([msgspec.structs.replace(one, ticks=[bare(tick) for tick in one.ticks]) for one in flags])


def traffic(dice: random.Random, count: int = 2_000) -> list[Line]:
    """Exposures and outcomes of two flags by five services, one of which is unnamed."""
    events = []
    for number in range(count):
        common = {
            "service_name": dice.choice((None, "checkout-api", "search-api", "cart", "mail")), "id": str(number),
            "context_id": f"u-{dice.randrange(50)}", "time": NOON_MS - dice.randrange(3_000),
        }  # fmt: skip
        shown = dice.choice(("control", "treatment", "treatment"))
        if dice.random() < 0.5:
            events.append(outcome({"checkout-v2": shown, "new-cart": "on"}, **common))
        else:
            flag = dice.choice(("checkout-v2", "new-cart"))
            events.append(exposure(flag, shown, flag_version=dice.choice((None, "16", 17)), **common))
    return [line(event, number) for number, event in enumerate(events)]


def test_services_are_counted_by_what_they_show():
    """Of the killed variation by the flag's version, of all others together; exposures and outcomes apart, with their weight."""
    fold = fold_of()
    events = [
        exposure(service_name="checkout-api", flag_version="16", id="1"),
        exposure(service_name="checkout-api", flag_version="16", id="2", sampledrate=5),
        exposure(service_name="checkout-api", variant="control", flag_version="17", id="3"),
        exposure(service_name="search-api", id="4"),
        outcome({"checkout-v2": "treatment", "new-cart": "on"}, service_name="checkout-api", id="5"),
        exposure("new-cart", service_name="checkout-api", id="6"),
    ]
    fold.take([line(event, number) for number, event in enumerate(events)], NOON_MS)
    flags = fold.flush()

    assert served(flags) == {
        "checkout-api": {"": {"": (1, 0)}, "treatment": {"": (0, 1), "16": (6, 0)}},
        "search-api": {"treatment": {"": (1, 0)}},
    }
    assert {} == served(flags, "production|new-cart")


@pytest.mark.parametrize("version", ["16+g3", 16, 1.5, None, "x" * 300])
@pytest.mark.parametrize("form", ["structured", "bare", "binary", "dotted"])
def test_the_version_is_read_in_every_form(form: str, version: Any):
    """Text or number, in the data of each form of an event, by either of its names; none where there is none."""
    name = "feature_flag.version" if form == "dotted" else "flag_version"
    event = exposure(service_name="a", **{name: version, "id": "1"})
    record = line(flat(event) if form == "bare" else event)
    if form == "binary":
        headers = tuple((f"ce_{part}", str(event[part]).encode()) for part in ("specversion", "source", "type", "id"))
        record = line(event["data"], headers=(*headers, ("ce_time", b"2026-11-21T12:00:00Z")))
    fold = Fold("t/0", FoldConfig(bare=form == "bare"))
    fold.proofs = PROOFS
    assert [] == fold.take([record], NOON_MS)

    assert {"a": {"treatment": {"" if version is None else f"{version}"[:256]: (1, 0)}}} == served(fold.flush())


def test_what_is_counted_beside_changes_nothing(dice: random.Random):
    """All else is summed as without it, whatever plans want, and nothing is counted of a flag without a kill to be proven."""
    lines, plans = traffic(dice), {KEY: Plan(latency=True, fresh=True, company=True), "production|new-cart": Plan(company=True)}
    plain, proving = fold_of({}, plans), fold_of(PROOFS, plans)
    for fold in (plain, proving):
        fold.take(lines, NOON_MS)
    before, after = plain.flush(), proving.flush()

    assert content(before) == without_served(after)
    assert {} == served(before)
    assert served(after)


def test_it_adds_up_however_it_is_cut(dice: random.Random):
    """Batches, flushes, what is taken ahead, and what is taken once more after going back: the same counts."""
    lines = traffic(dice)
    whole = fold_of()
    whole.take(lines, NOON_MS)
    expected = served(whole.flush())

    parts, flags = fold_of(), []
    for start in range(0, len(lines), 130):
        parts.take(lines[start : start + 130], NOON_MS)
        if dice.random() < 0.3:
            flags += parts.flush()
            point = parts.savepoint()
            parts.take(lines[start + 130 : start + 260], NOON_MS)
            parts.rollback(point)
    assert expected == served([*flags, *parts.flush()])

    ahead = fold_of()
    ahead.take_ahead(ahead.decode(lines), NOON_MS, np.sort(np.arange(len(lines)) // 500)[: len(ahead.decode(lines))])
    assert expected == served([one for _ in range(6) for one in ahead.flush()])


def test_names_that_are_made_up_are_counted_together():
    """So many services are told apart, and so many versions of each; what is beyond is in the sums of all others."""
    fold = fold_of()
    events = [exposure(service_name=f"s{n:04d}", flag_version="1", id=f"s{n}") for n in range(3 * SERVICES_MAX)]
    events += [exposure(service_name="s0000", flag_version=f"v{n}", id=f"v{n}") for n in range(50)]
    fold.take([line(event, number) for number, event in enumerate(events)], NOON_MS)
    found = served(fold.flush())

    assert SERVICES_MAX + 1 == len(found)
    assert (2 * SERVICES_MAX, 0) == found[OTHERS]["treatment"][""]
    assert VERSIONS_MAX + 1 == len(found["s0000"]["treatment"])
    assert 51 == sum(exposures for exposures, _ in found["s0000"]["treatment"].values())


def test_it_ends_with_the_proof():
    """Once nothing has to be proven any more, nothing is counted; a second kill begins anew."""
    fold, found = fold_of(), []
    for number, proofs in enumerate((PROOFS, {}, PROOFS)):
        fold.proofs = proofs
        fold.take([line(exposure(service_name="a", id=str(number)), number)], NOON_MS)
        found.append(served(fold.flush()))

    assert [{"a": {"treatment": {"": (1, 0)}}}, {}, {"a": {"treatment": {"": (1, 0)}}}] == found
