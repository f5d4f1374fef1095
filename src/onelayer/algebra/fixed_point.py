"""Weights as whole numbers over a power of two, as Pillow and PyTorch resize bytes with them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from onelayer.algebra.axis import AxisMap
from onelayer.algebra.checks import FloatArray, IntArray

LARGEST_BITS = 22
"""Bits of fraction in both libraries, at most: 8 bits of a pixel and 2 to spare make 32."""


def in_fixed_point(axis: AxisMap, limit: int | None) -> AxisMap:
    """Round the weights of an axis to whole numbers over ``2**bits``, halves away from zero.

    Sums of bytes with such weights are exact in float64, in any order.

    Args:
        axis: Resized axis in float64, from :meth:`AxisMap.resample`.
        limit: Number that the largest weight stays below as a whole number, so that bits are as many as possible, but
            22 at most (PyTorch, whose weights are of 16 bits); None for always 22 (Pillow).
    """
    scale = float(1 << bits_of(axis, limit))
    weights = axis.weights
    whole = np.trunc(weights * scale + np.copysign(0.5, weights))
    return replace(axis, weights=whole / scale)


def bits_of(axis: AxisMap, limit: int | None) -> int:
    """Choose the bits of fraction for :func:`in_fixed_point`. Source: ``UpSampleKernel.cpp`` in PyTorch."""
    if limit is None:
        return LARGEST_BITS
    largest = float(axis.weights.max())
    fitting = (bits for bits in range(LARGEST_BITS) if int(0.5 + largest * (1 << (bits + 1))) >= limit)
    return next(fitting, LARGEST_BITS)


def whole_weights(axis: AxisMap) -> tuple[IntArray, int] | None:
    """Recover what :func:`in_fixed_point` rounded to, but for zeros at the end of the fraction.

    Returns:
        Weights as int64 [n_out, taps], and the bits of fraction that they have at least; None if it takes more than 22.
    """
    scaled: FloatArray = axis.weights * (1 << LARGEST_BITS)
    whole = scaled.astype(np.int64)
    if (whole != scaled).any():
        return None
    bits = LARGEST_BITS
    common = int(np.bitwise_or.reduce(np.abs(whole), axis=None))
    while bits and common % 2 == 0:
        whole, common, bits = whole // 2, common // 2, bits - 1
    return whole, bits
