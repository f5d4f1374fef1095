"""When a measured matrix counts as a known one."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from onelayer.algebra.operator import FloatArray
from onelayer.errors import OnelayerError

CLEARLY = 1.5
"""How many times as far another known matrix has to be, for the nearest to be the right one."""

_MEANINGFUL = 0.5
"""A tolerance of more than this part of the largest entry would let almost anything pass."""


def measured(matrix: ArrayLike, tolerance: float) -> FloatArray:
    """A matrix to be named, float64 [n_out, n_in].

    Raises:
        OnelayerError: If it is none, is empty or not finite, or the tolerance is negative.
    """
    entries = np.asarray(matrix, dtype=np.float64)
    if entries.ndim != 2 or entries.size == 0 or not np.isfinite(entries).all() or not tolerance >= 0.0:
        raise OnelayerError(
            f"a matrix of shape {entries.shape} and the tolerance {tolerance} were given",
            expected="finite entries [n_out, n_in] and a tolerance ≥ 0",
        )
    return entries


def is_meaningful(tolerance: float, entries: FloatArray) -> bool:
    """Whether a tolerance tells one matrix from another; any does for a matrix of zeros."""
    largest = float(np.abs(entries).max())
    return largest == 0.0 or tolerance < _MEANINGFUL * largest
