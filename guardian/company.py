"""
What a rollout knows of the other flags that its requests ran under: whether one does harm, and whether we do beside it.

Two questions of each, both about the same requests. *Is one of its variations evident?* It fails more than its others
do, among the requests of one and the same variation of ours. *Is ours evident beside it?* It fails more than control
does, among the requests of one and the same variation of its. That both flags are seen together answers neither.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import msgspec
import numpy as np

from guardian.names import Millis
from guardian.sequential import DEFAULT_GRID, Fading, two_sample_blocks
from guardian.sequential.checks import Floats

WITHOUT = ""
"""Stands for the other flag's variation where a request did not run under that flag."""
WRONG = 0.05
"""What an account holds without evidence: those of all suspects together, and that of each variation of ours."""
COMPANIONS_MAX = 16
VARIATIONS_MAX = 32
"""Of another flag; requests that ran under any further one are left out of what is known of it."""
FORGOTTEN_MS = 600_000
"""A flag that was not met for so long makes room for another one."""
BLOCK_MS = 1_000
BLOCK_OUTCOMES = 100
"""A block closes when it spans so long, or holds so many outcomes."""
RECENT_S = 60.0
"""How long it is remembered who runs under what, and how often that fails."""
_GUESS = (10.0, 0.1)
"""Outcomes and failures that are imagined before the first."""

Table = dict[str, dict[str, list[float]]]
"""By our variation and the other flag's: outcomes, and units that failed for the first time."""
Pairs = list[tuple[str, tuple[float, float, float, float, float]]]
"""By whom it is about: ``n_t, x_t, n_c, x_c`` of a block, and a guess of control's rate from earlier ones."""


class Suspect(msgspec.Struct):
    """
    A variation of another flag: the evidence that it does harm, whatever variation of ours a request runs under.

    ``since`` are the sums since there has been any, and ``since_ms`` is when that was: for people, and for how much of
    a harm it explains; never for whether there is one. ``rank`` decides its part of ``WRONG``.
    """

    account: Fading
    rank: int
    since: Table = {}
    since_ms: Millis = 0


class Companion(msgspec.Struct):
    """
    Another flag under which requests of ours run, too.

    ``own`` says by our variations how evident their harm is among requests that the other flag treats alike.
    ``recent`` is who ran under what of late, ``open`` the block that fills.
    """

    suspects: dict[str, Suspect] = {}
    own: dict[str, Fading] = {}
    recent: Table = {}
    open: Table = {}
    from_ms: Millis = 0
    to_ms: Millis = 0
    epoch_ms: Millis = 0
    read_ms: Millis = 0

    def names(self) -> list[str]:
        """Return its variations that are known, by name."""
        known = {name for table in (self.recent, self.open) for row in table.values() for name in row}
        return sorted(known - {WITHOUT})


Company = dict[str, Companion]
"""By the other flag."""


def take_company(
    company: Company, told: dict[str, Table], span: tuple[Millis, Millis], epoch_ms: Millis, control: str, alive: list[str]
) -> None:
    """Take a mature tick over ``span``, of one of our epochs, and let the accounts read the blocks that it fills."""
    for flag, table in told.items():
        held = _companion(company, flag, span[1])
        if held is None:
            continue
        if not held.open or held.epoch_ms != epoch_ms:
            # A block never mixes epochs: what had been begun is given up.
            held.open, held.epoch_ms, held.from_ms = {}, epoch_ms, span[0]
        add(held.open, _bounded(held, table))
        held.to_ms = span[1]
        if held.to_ms - held.from_ms >= BLOCK_MS or _outcomes(held.open) >= BLOCK_OUTCOMES:
            _meet(company, held, alive)
            _read(held, control)


def _bounded(held: Companion, table: Table) -> Table:
    """Return the table without variations for which there is no room."""
    new = {name for row in table.values() for name in row} - {WITHOUT, *held.suspects}
    if len(held.suspects) + len(new) <= VARIATIONS_MAX:
        return table
    known = set(held.names())
    kept = {WITHOUT, *known, *sorted(new - known)[: max(VARIATIONS_MAX - len(known), 0)]}
    return {ours: {name: cell for name, cell in row.items() if name in kept} for ours, row in table.items()}


def _companion(company: Company, flag: str, now_ms: Millis) -> Companion | None:
    held = company.get(flag)
    if held is None:
        for name in [name for name, one in company.items() if one.to_ms < now_ms - FORGOTTEN_MS]:
            del company[name]
        if len(company) >= COMPANIONS_MAX:
            return None
        held = company[flag] = Companion()
    return held


def _meet(company: Company, held: Companion, alive: list[str]) -> None:
    """Open accounts for variations that are new: who is there decides it, never how requests ended."""
    held.own = {name: held.own.get(name) or Fading(WRONG) for name in alive}
    names = held.names()
    taken = {one.rank for other in company.values() for one in other.suspects.values()}
    for name in names if len(names) > 1 else ():
        if name not in held.suspects:
            rank = next(rank for rank in range(1, len(taken) + 2) if rank not in taken)
            held.suspects[name] = Suspect(Fading(WRONG / (rank * (rank + 1))), rank)
            taken.add(rank)


def _read(held: Companion, control: str) -> None:
    elapsed_s = max(held.to_ms - held.read_ms, 0) / 1_000.0 if held.read_ms else 0.0
    ours = [(name, pair) for name in held.own for pair in _beside(held, name, control)]
    theirs = [(name, pair) for name in held.suspects for pair in _among(held, name)]
    found = _log_e([*ours, *theirs])
    for name, account in held.own.items():
        account.update(_of(found[: len(ours)], ours, name), elapsed_s)
    for name, suspect in held.suspects.items():
        suspect.account.update(_of(found[len(ours) :], theirs, name), elapsed_s)
        if suspect.account.log_e() <= 0.0:
            suspect.since, suspect.since_ms = {}, 0
        else:
            suspect.since_ms = suspect.since_ms or held.from_ms
            add(suspect.since, held.open)
    keep = math.exp(-elapsed_s / RECENT_S)
    for row in held.recent.values():
        for cell in row.values():
            cell[:] = [keep * value for value in cell]
    add(held.recent, held.open)
    held.open, held.read_ms = {}, held.to_ms


def _beside(held: Companion, ours: str, control: str) -> Iterator[tuple[float, float, float, float, float]]:
    """Yield our variation against control, in each part of the requests that the other flag treats alike."""
    for name in [*held.names(), WITHOUT]:
        t, c = cell(held.open, ours, name), cell(held.open, control, name)
        yield *t, *c, _guess(cell(held.recent, control, name))


def _among(held: Companion, theirs: str) -> Iterator[tuple[float, float, float, float, float]]:
    """Yield the other flag's variation against its others, among the requests of each variation of ours."""
    others = [name for name in held.names() if name != theirs]
    for ours in sorted(held.open):
        t, c = cell(held.open, ours, theirs), total(held.open, ours, others)
        yield *t, *c, _guess(total(held.recent, ours, others))


def _log_e(pairs: Pairs) -> Floats:
    if not pairs:
        return np.zeros((0, DEFAULT_GRID.size))
    n_t, x_t, n_c, x_c, p_hat = np.array([pair for _, pair in pairs]).T
    return two_sample_blocks(n_t, x_t, n_c, x_c, p_hat=p_hat)


def _of(found: Floats, pairs: Pairs, whom: str) -> Floats:
    """Return the log e-values about somebody: the parts have no request in common, so theirs add up."""
    chosen = np.array([name == whom for name, _ in pairs], dtype=np.bool_)
    summed: Floats = found[chosen].sum(axis=0)
    return summed


def _guess(seen: tuple[float, float]) -> float:
    return (seen[1] + _GUESS[1]) / (seen[0] + _GUESS[0])


def add(into: Table, table: Table) -> None:
    """Add a table to another."""
    for ours, row in table.items():
        held = into.setdefault(ours, {})
        for theirs, (n, x) in row.items():
            sums = held.setdefault(theirs, [0.0, 0.0])
            sums[0] += n
            sums[1] += x


def cell(table: Table, ours: str, theirs: str) -> tuple[float, float]:
    """Return outcomes and failures of one cell."""
    n, x = table.get(ours, {}).get(theirs, (0.0, 0.0))
    return n, x


def total(table: Table, ours: str, theirs: list[str]) -> tuple[float, float]:
    """Return outcomes and failures of several cells of one of our variations."""
    cells = [cell(table, ours, name) for name in theirs]
    return sum(n for n, _ in cells), sum(x for _, x in cells)


def _outcomes(table: Table) -> float:
    return sum(n for row in table.values() for n, _ in row.values())
