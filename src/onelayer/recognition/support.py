"""Which taps of a factor are there at all."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from onelayer.algebra import AxisMap
from onelayer.algebra.operator import FloatArray


def bands(factor: FloatArray, tolerance: float) -> NDArray[np.bool_]:
    """Where the taps are: for each output, from the first to the last that exceeds the tolerance.

    Args:
        factor: float64 [n_out, n_in].
        tolerance: What entries exceed that are no noise.

    Returns:
        bool [n_out, n_in]; a row without such a tap is all False.
    """
    clear = np.abs(factor) > tolerance
    seen_before = np.logical_or.accumulate(clear, axis=1)
    seen_after = np.logical_or.accumulate(clear[:, ::-1], axis=1)[:, ::-1]
    return seen_before & seen_after


def widened(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Bands with one more tap at each end; bool [n_out, n_in]."""
    return binary_dilation(mask, np.ones((1, 3)))  # type: ignore[no-any-return]


def banded(factor: FloatArray) -> AxisMap:
    """A matrix [n_out, n_in] as a map with as few taps as there are from the first to the last that is not zero."""
    n_out, n_in = factor.shape
    return AxisMap(n_in, np.zeros(n_out, dtype=np.int64), factor).trim()
