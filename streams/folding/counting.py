"""
Sums by number, two ways to the same: small key spaces in a dense table, large ones sorted first.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Int64s = npt.NDArray[np.int64]

_DENSE_FLOOR = 65_536
_DENSE_PER_ITEM = 8
"""A dense table may have this many cells an item: zeroing a cell is about that much cheaper than sorting an item."""


def is_dense(cells: int, items: int) -> bool:
    """Say whether so many items are counted cheaper in a table of so many cells than sorted."""
    return cells <= _DENSE_FLOOR + _DENSE_PER_ITEM * items


def totals(cell: Int64s, weight: Int64s | None, cells: int) -> Int64s:
    """Return the sum of the weights in each cell, of at least so many; ``weight`` is None where all weigh 1."""
    return np.bincount(cell, weights=weight, minlength=cells).astype(np.int64)


def counted(cell: Int64s, weight: Int64s | None, cells: int) -> tuple[Int64s, Int64s]:
    """Return the distinct cells, of so many that there can be, in their order, and the sum of the weights in each."""
    if is_dense(cells, cell.size):
        table = totals(cell, weight, cells)
        there = np.flatnonzero(table)
        return there, table[there]
    distinct, which = np.unique(cell, return_inverse=True)
    return distinct, totals(which, weight, 0)
