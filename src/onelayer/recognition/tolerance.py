"""Noise of measured weights, and when a weight counts as zero or as a known one."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import binary_dilation

from onelayer.algebra import AxisMap
from onelayer.algebra.operator import FloatArray
from onelayer.errors import OnelayerError

CLEARLY = 1.5
"""Ratio of the distances of the second nearest and the nearest known matrix, for the nearest to be the right one."""
_MEANINGFUL = 0.5
"""Largest useful tolerance, relative to the largest entry; a larger one would let almost anything pass."""


MEDIAN_OF_NORMAL = 0.6744897501960817
"""Median of the absolute value of a normal variable of standard deviation 1."""
_QUARTILE_OF_NORMAL = 0.31863936396437514
"""First quartile of that absolute value."""
_FLOAT32 = 1e-6
"""Error of float32 weights and arithmetic, in which the pipelines compute that layers are learned from."""
_ARITHMETIC = 64 * float(np.finfo(np.float64).eps)
"""Error of float64 sums, relative to the largest weight: no noise is below."""
_NEGLIGIBLE = 0.03
"""Largest noise of taps, relative to the largest tap; beyond are small taps of a wide filter."""


def checked_matrix(matrix: ArrayLike, tolerance: float) -> FloatArray:
    """Convert a matrix that is to be named to float64 [n_out, n_in].

    Raises:
        OnelayerError: If it is no matrix, is empty or not finite, or the tolerance is negative.
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


CLEAR = 6.0
"""Number of standard deviations of noise that a weight has to exceed to count: of millions of values, none does."""


def weight_noise(residual: FloatArray, largest: float) -> FloatArray:
    """Estimate the standard deviation of the noise of each output's weights from the residual of a fit.

    It is told from the median size: all but a few weights of an output are far from its support, and the few do not
    move the median, however badly they are fitted.

    Args:
        residual: Weights less those of the nearest product, float64 [outputs, inputs].
        largest: Size of the largest weight.

    Returns:
        float64 [outputs], at least the error of rounding numbers of that size.
    """
    medians = np.median(np.abs(residual), axis=1) / MEDIAN_OF_NORMAL
    floored: FloatArray = np.maximum(medians, _ARITHMETIC * largest)
    return floored


def above_noise(weight: FloatArray, noise: FloatArray) -> FloatArray:
    """Keep the weights that stand out of the noise, and set all others to 0.

    Args:
        weight: Weights, float64 [outputs, inputs].
        noise: Standard deviations, float64 [outputs].
    """
    clear: FloatArray = np.where(np.abs(weight) > CLEAR * noise[:, None], weight, 0.0)
    return clear


def tap_tolerance(factor: FloatArray, expected: float, relative: float) -> float:
    """Estimate the largest error of a factor's taps; a smaller tap may be zero in truth.

    It is the largest of three: :data:`CLEAR` standard deviations of noise, which are expected, or observed; as many
    times the error of the weights as a whole, if none of it averages out; and float32 rounding.

    Noise is observed in the smallest quarter of the entries. A wide filter, which has no entry that should be zero, is
    told from noise by the size of that quarter.

    Args:
        factor: Factor fitted without any assumption about its support, float64 [n_out, n_in].
        expected: Standard deviation of its taps by the propagation of errors, if those of all weights are independent.
        relative: Residual of the nearest product, relative to the weights.
    """
    squares = factor**2
    if not squares.any():
        return 0.0
    largest = float(np.sqrt(squares.max()))
    observed = float(np.quantile(np.abs(factor), 0.25)) / _QUARTILE_OF_NORMAL
    noise = max(expected, observed if observed <= _NEGLIGIBLE * largest else 0.0)
    # The mean square of the taps, each weighted by its square: entries that are zero have no say.
    typical = float(np.sqrt((squares**2).sum() / squares.sum()))
    return max(CLEAR * noise, CLEAR * relative * typical, _FLOAT32 * largest)


def bands(factor: FloatArray, tolerance: float) -> NDArray[np.bool_]:
    """Find the taps of each output, from the first to the last that exceeds a tolerance.

    Args:
        factor: Taps, float64 [n_out, n_in].
        tolerance: Largest size of noise.

    Returns:
        bool [n_out, n_in]; a row without such a tap is all False.
    """
    clear = np.abs(factor) > tolerance
    from_first = np.logical_or.accumulate(clear, axis=1)
    to_last = np.logical_or.accumulate(clear[:, ::-1], axis=1)[:, ::-1]
    return from_first & to_last


def widened(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Widen bands by one tap at each end; bool [n_out, n_in]."""
    return binary_dilation(mask, np.ones((1, 3)))  # type: ignore[no-any-return]


def banded(factor: FloatArray) -> AxisMap:
    """Turn a matrix [n_out, n_in] into a map with the taps from the first to the last that is not zero."""
    n_out, n_in = factor.shape
    return AxisMap(n_in, np.zeros(n_out, dtype=np.int64), factor).trim()
