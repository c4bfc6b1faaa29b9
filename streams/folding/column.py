"""An array that grows."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


class Column:
    """An array that grows by appending."""

    def __init__(self, dtype: Any) -> None:
        self._array: npt.NDArray[Any] = np.zeros(64, dtype=dtype)
        self._count = 0

    def append(self, *values: float) -> None:
        """Append the values."""
        if self._count + len(values) > self._array.size:
            self._array = np.resize(self._array, 2 * (self._count + len(values)))
        self._array[self._count : self._count + len(values)] = values
        self._count += len(values)

    def __len__(self) -> int:
        return self._count

    @property
    def array(self) -> npt.NDArray[Any]:
        """The values so far."""
        return self._array[: self._count]
