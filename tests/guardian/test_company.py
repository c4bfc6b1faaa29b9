"""What a rollout knows of the other flags that its requests ran under."""

from __future__ import annotations

import random
from collections.abc import Mapping

import numpy as np
import pytest

from guardian.company import BLOCK_MS, COMPANIONS_MAX, FORGOTTEN_MS, WITHOUT, WRONG, Company, Table, take_company

C, T = "control", "treatment"
T0_MS = 1_790_000_000_000


def table(cells: Mapping[tuple[str, str], tuple[float, float]]) -> Table:
    found: Table = {}
    for (ours, theirs), (n, x) in cells.items():
        found.setdefault(ours, {})[theirs] = [float(n), float(x)]
    return found


def taken(tables: list[Table], *, flag: str = "b", epoch_ms: int = 0) -> Company:
    """Take a block a second."""
    company: Company = {}
    for number, one in enumerate(tables):
        at_ms = T0_MS + number * BLOCK_MS
        take_company(company, {flag: one}, (at_ms, at_ms + BLOCK_MS), epoch_ms, C, [T])
    return company


def test_harm_of_the_other_is_evident_and_ours_is_not() -> None:
    """Where the other's treatment fails a fifth of the time, whatever ours is, it is evident, and ours is not."""
    bad = table({(C, C): (40, 0), (C, T): (10, 2), (T, C): (10, 0), (T, T): (40, 8)})
    held = taken([bad] * 10)["b"]

    assert held.suspects[T].account.is_evident()
    assert not held.suspects[C].account.is_evident()
    assert not held.own[T].is_evident()


def test_our_harm_is_evident_and_the_other_is_not() -> None:
    """The same with the roles changed."""
    bad = table({(C, C): (40, 0), (C, T): (10, 0), (T, C): (10, 2), (T, T): (40, 8)})
    held = taken([bad] * 10)["b"]

    assert held.own[T].is_evident()
    assert not any(suspect.account.is_evident() for suspect in held.suspects.values())


def test_two_flags_that_are_always_seen_together_say_nothing() -> None:
    """Where each request has treatment of both or of none, there is no evidence about either, whatever fails."""
    bad = table({(C, C): (50, 0), (T, T): (50, 25)})
    held = taken([bad] * 100)["b"]

    assert held.own[T].log_e() == pytest.approx(0.0, abs=1e-9)
    assert held.suspects[T].account.log_e() == pytest.approx(0.0, abs=1e-9)


def test_requests_without_the_other_flag_tell_of_ours_alone() -> None:
    """Pages that the other flag has no part in are compared with each other, never with those that it has."""
    worse_page = table({(C, WITHOUT): (50, 25), (T, WITHOUT): (50, 25), (C, T): (25, 0), (T, T): (25, 0), (T, C): (25, 0)})
    held = taken([worse_page] * 50)["b"]

    assert not held.own[T].is_evident()
    assert not any(suspect.account.is_evident() for suspect in held.suspects.values())
    ours = table({(C, WITHOUT): (50, 1), (T, WITHOUT): (50, 10)})
    assert taken([ours] * 10)["b"].own[T].is_evident()


def test_a_flag_with_one_variation_is_no_suspect() -> None:
    """Nothing can be compared of a flag that everybody has alike."""
    assert not taken([table({(C, T): (50, 5), (T, T): (50, 5)})] * 3)["b"].suspects


def test_all_suspects_together_hold_no_more_than_is_allowed() -> None:
    """Without evidence, the accounts of all suspects add up to less than 0.05, however many there are."""
    even = table({(C, C): (25, 0), (C, T): (25, 0), (T, C): (25, 0), (T, T): (25, 0)})
    company: Company = {}
    for number in range(2 * COMPANIONS_MAX):
        take_company(company, {f"flag-{number}": even}, (T0_MS, T0_MS + BLOCK_MS), 0, C, [T])
    suspects = [suspect for held in company.values() for suspect in held.suspects.values()]

    assert COMPANIONS_MAX == len(company)
    assert 2 * COMPANIONS_MAX == len(suspects) == len({suspect.rank for suspect in suspects})
    assert 0.9 * WRONG < sum(suspect.account.alpha for suspect in suspects) <= WRONG


def test_a_flag_that_is_gone_makes_room() -> None:
    """A seventeenth flag is known once one of the sixteen has not been met for ten minutes, and takes its rank."""
    even = table({(C, C): (25, 0), (C, T): (25, 0), (T, C): (25, 0), (T, T): (25, 0)})
    company: Company = {}
    for number in range(COMPANIONS_MAX):
        take_company(company, {f"flag-{number}": even}, (T0_MS, T0_MS + BLOCK_MS), 0, C, [T])
    before = sorted(s.rank for held in company.values() for s in held.suspects.values())
    stay = {f"flag-{number}": even for number in range(1, COMPANIONS_MAX)}
    later_ms = T0_MS + FORGOTTEN_MS + 2 * BLOCK_MS
    take_company(company, stay, (later_ms, later_ms + BLOCK_MS), 0, C, [T])
    take_company(company, {"late": even}, (later_ms, later_ms + BLOCK_MS), 0, C, [T])

    assert "late" in company
    assert "flag-0" not in company
    assert before == sorted(s.rank for held in company.values() for s in held.suspects.values())


def test_a_block_never_mixes_our_epochs() -> None:
    """What a block held when our shares changed is given up."""
    company: Company = {}
    few = table({(C, C): (5, 0), (C, T): (5, 0), (T, C): (5, 5), (T, T): (5, 5)})
    take_company(company, {"b": few}, (T0_MS, T0_MS + 200), 1, C, [T])
    take_company(company, {"b": few}, (T0_MS + 200, T0_MS + 400), 2, C, [T])

    assert 20 == sum(n for row in company["b"].open.values() for n, _ in row.values())


def test_innocents_are_hardly_ever_evident(dice: random.Random) -> None:
    """
    Of 80 rollouts whose every request fails alike, correlated flags or not, no more ever have anything evident within a
    minute than is promised: 0.05 (1 + 60/30/2 + 60/600/2) in the account of ours, two thirds of that in those of suspects.
    """
    rng, ever = np.random.default_rng(dice.randrange(2**32)), 0
    for _ in range(80):
        with_it, base = rng.uniform(0.1, 0.9), 10 ** rng.uniform(-2.5, -0.5)
        company: Company = {}
        found = False
        for number in range(60):
            cells = {}
            for ours, part in ((C, 0.3), (T, with_it)):
                for theirs, share in ((C, 1.0 - part), (T, part)):
                    n = int(rng.poisson(25 * share))
                    cells[ours, theirs] = n, int(rng.binomial(n, base))
            at_ms = T0_MS + number * BLOCK_MS
            take_company(company, {"b": table(cells)}, (at_ms, at_ms + BLOCK_MS), 0, C, [T])
            held = company["b"]
            found |= held.own[T].is_evident() or any(one.account.is_evident() for one in held.suspects.values())
        ever += found

    assert ever <= 80 * WRONG * (1.0 + 60.0 / 30.0 / 2.0 + 60.0 / 600.0 / 2.0) * (1.0 + 2.0 / 3.0)
