"""How noisy learned weights are, told from the weights alone."""

from __future__ import annotations

import numpy as np

from onelayer.algebra.operator import FloatArray

_MEDIAN_OF_NORMAL = 0.6744897501960817
"""The median size of a normal variable of standard deviation 1."""
_QUARTILE_OF_NORMAL = 0.31863936396437514
"""The size that a quarter of its values stay below."""
_SINGLE = 1e-6
"""Pipelines that layers are learned from compute in float32, with weights that are rounded to it."""
_ARITHMETIC = 64 * float(np.finfo(np.float64).eps)
"""What float64 sums may be off by, relative to the largest weight: no noise is below."""
_NEGLIGIBLE = 0.03
"""Noise of taps beyond this part of the largest tap is no noise, but small taps of a wide filter."""

CLEAR = 6.0
"""Standard deviations of noise that a weight has to exceed to count: of millions of normal ones, none does."""


def weight_noise(residual: FloatArray, largest: float) -> FloatArray:
    """The standard deviation of each output's weights, from what a fit leaves of them.

    The median size: all but a few weights of an output are far from its support, and the few do not move the median,
    however badly they are fitted.

    Args:
        residual: Weights less those of the nearest product, float64 [outputs, inputs].
        largest: The size of the largest weight.

    Returns:
        float64 [outputs], at least what rounding makes of numbers of that size.
    """
    medians = np.median(np.abs(residual), axis=1) / _MEDIAN_OF_NORMAL
    floored: FloatArray = np.maximum(medians, _ARITHMETIC * largest)
    return floored


def above_noise(weight: FloatArray, noise: FloatArray) -> FloatArray:
    """The weights that stand out, all others being 0, of the same shape [outputs, inputs].

    Args:
        weight: float64 [outputs, inputs].
        noise: Standard deviations, float64 [outputs].
    """
    clear: FloatArray = np.where(np.abs(weight) > CLEAR * noise[:, None], weight, 0.0)
    return clear


def tap_tolerance(factor: FloatArray, expected: float, relative: float) -> float:
    """How far a factor's taps may be off, so that a tap below that need not be there at all.

    The largest of three: :data:`CLEAR` standard deviations of noise, which are expected, or seen; as many times what is
    wrong with the weights as a whole, if none of it averages out; and float32 rounding.

    Noise is seen in the smallest quarter of the entries. A wide filter, which has no entry that should be zero, is told
    from noise by the size of that quarter.

    Args:
        factor: Fitted without any assumption about its support, float64 [n_out, n_in].
        expected: Standard deviation of its taps by the propagation of errors, if those of all weights are independent.
        relative: What a product leaves of the weights, relative to them.
    """
    squares = factor**2
    if not squares.any():
        return 0.0
    largest = float(np.sqrt(squares.max()))
    seen = float(np.quantile(np.abs(factor), 0.25)) / _QUARTILE_OF_NORMAL
    noise = max(expected, seen if seen <= _NEGLIGIBLE * largest else 0.0)
    # The mean square of the taps, each weighted by its square: entries that are zero have no say.
    typical = float(np.sqrt((squares**2).sum() / squares.sum()))
    return max(CLEAR * noise, CLEAR * relative * typical, _SINGLE * largest)
