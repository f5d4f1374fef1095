"""Split whole weights into digits, so that float32 sums of their products with whole numbers stay exact."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onelayer.algebra.checks import FloatArray, IntArray

EXACT = 1 << 24
"""Whole numbers below this, and their sums as long as these stay below it, are exact in float32 in any order."""

MOST_BITS = 11
"""Bits of a low digit, at most: float32 arithmetic on tensor cores (TF32) has that many."""


@dataclass(frozen=True, eq=False)
class Digit:
    """A digit of weights: ``floor((sum of products + carry of the digit before) · 2**-bits)`` is the next one's carry.

    Args:
        weights: Whole numbers of the digit over ``2**bits``, float64.
        scale: ``2**-bits``, which a carry is multiplied by.
    """

    weights: FloatArray
    scale: float


def split(whole: IntArray, bits: int, most: int, carry: int = 0) -> list[Digit] | None:
    """Split weights into digits, the lowest first.

    Floors nest: ``floor((a + x) / n) == floor((a + floor(x)) / n)`` for whole numbers a and n. So the sums of the
    digits, from the lowest on, each with what the floor of the one before carries over, give the rounded whole sum
    without any number of 24 bits or more.

    Args:
        whole: Weights as whole numbers, int64 [n_out, taps].
        bits: Bits of their fraction.
        most: Largest absolute value that a weight is multiplied by, a whole number.
        carry: Largest absolute value of what the digits before carry over.

    Returns:
        The digits, of which the last leaves room for the half that rounds; None if no digits are small enough.
    """
    half = (1 << bits) >> 1
    if _largest_sum(whole, most) + carry + half < EXACT:
        return [Digit(whole / (1 << bits), 2.0**-bits)]
    for low_bits in range(min(MOST_BITS, bits), 0, -1):
        base = 1 << low_bits
        low = (whole + base // 2) % base - base // 2
        reached = _largest_sum(low, most) + carry
        if reached < EXACT:
            rest = split((whole - low) // base, bits - low_bits, most, reached // base + 1)
            return None if rest is None else [Digit(low / base, 2.0**-low_bits), *rest]
    return None


def _largest_sum(whole: IntArray, most: int) -> int:
    return int(np.abs(whole).sum(axis=1).max()) * most
