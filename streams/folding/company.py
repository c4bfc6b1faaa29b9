"""How the outcomes of a flag ended by the variations of the other watched flags that they ran under."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from guardian.names import split_rollout_key
from guardian.summaries import Tick
from streams.codecs import OUTCOME
from streams.folding.chunk import Chunk, spread
from streams.folding.companies import ALONE
from streams.folding.counting import counted
from streams.folding.names import Names

Int64s = npt.NDArray[np.int64]

COMPANIONS_MAX = 16
"""Other flags that are told of in a flush, of each flag: those with which it shares most outcomes."""
VARIATIONS_MAX = 8
"""Variations of each of them that are told of, likewise."""


def add_company(chunk: Chunk, group: Int64s, arm: Int64s, names: Names, ticks: Sequence[Tick]) -> None:
    """
    Add to the tick of each group how its outcomes ended by company; nothing where no two watched flags met.

    ``group`` is that of each pair; ``arm`` and ``ticks`` have one entry a group.
    """
    if not chunk.company.any():
        return
    pairs = np.flatnonzero(((chunk.kind == OUTCOME) & (chunk.company != ALONE))[chunk.event])
    event = chunk.event[pairs]
    cell = (group[pairs] * len(names.companies) + chunk.company[event]) * 2 + chunk.error[event]
    cells, counts = counted(cell, chunk.weight_of(pairs), arm.size * len(names.companies) * 2)
    in_group, company = np.divmod(cells // 2, len(names.companies))
    owner, other = _others(in_group, company, arm, names)
    key, which = np.unique(in_group[owner] * len(names) + other, return_inverse=True)
    is_error = (cells % 2)[owner] == 1
    outcomes = np.bincount(which, weights=counts[owner], minlength=key.size).astype(np.int64)
    errors = np.bincount(which, weights=counts[owner] * is_error, minlength=key.size).astype(np.int64)
    in_group, other = np.divmod(key, len(names))
    told = _most(arm[in_group], other, outcomes, names) if np.unique(other).size > VARIATIONS_MAX else slice(None)
    for at, with_arm, n, x in zip(*(column[told].tolist() for column in (in_group, other, outcomes, errors)), strict=True):
        _, flag = split_rollout_key(names.flag_keys[int(names.flag_of_arm[with_arm])])
        rows = ticks[at].company.setdefault(flag, {})
        rows.setdefault(names.variations[int(arm[at])], {})[names.variations[with_arm]] = n, x


def _others(in_group: Int64s, company: Int64s, arm: Int64s, names: Names) -> tuple[Int64s, Int64s]:
    """Return the arms beside the group's own in each company that has it: the place in ``company``, and the arm."""
    owner, entry = spread(*names.companies.of(company))
    other, own = names.companies.arms[entry], arm[in_group[owner]]
    # A flag that is not watched, or one too many, is in no company, though its outcomes may have one.
    is_in = np.bincount(owner, weights=other == own, minlength=company.size)[owner] > 0
    chosen = is_in & (other != own)
    return owner[chosen], other[chosen]


def _most(arm: Int64s, other: Int64s, outcomes: Int64s, names: Names) -> npt.NDArray[np.bool_]:
    """Return which rows are told: of each flag the flags that it shares most with, and their commonest variations."""
    flag, other_flag = names.flag_of_arm[arm], names.flag_of_arm[other]
    by_flag = flag * names.flag_hash.size + other_flag
    of_flags = _is_largest(by_flag, flag, outcomes, COMPANIONS_MAX, names.flag_hash[other_flag])
    by_arm = flag * len(names) + other
    return of_flags & _is_largest(by_arm, by_flag, outcomes, VARIATIONS_MAX, other)


def _is_largest(
    key: Int64s, within: Int64s, outcomes: Int64s, most: int, tie: npt.NDArray[np.generic]
) -> npt.NDArray[np.bool_]:
    """Return which rows have one of the ``most`` keys with most outcomes of those ``within`` the same; ties by ``tie``."""
    keys, first, which = np.unique(key, return_index=True, return_inverse=True)
    total, of = np.bincount(which, weights=outcomes, minlength=keys.size), within[first]
    order = np.lexsort((tie[first], -total, of))
    begins = np.searchsorted(of[order], of[order])
    chosen = np.zeros(keys.size, dtype=np.bool_)
    chosen[order] = np.arange(keys.size) - begins < most
    found: npt.NDArray[np.bool_] = chosen[which]
    return found
