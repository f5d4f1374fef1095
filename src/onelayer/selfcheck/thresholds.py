"""Images whose weighted sums lie next to where they are rounded, so that a weight that is off by one shows.

A resize of bytes adds up bytes times whole weights of up to 22 bits and cuts the bits of fraction off. In an image of
noise a weight that is off by one changes one value in a hundred thousand. Here bytes are chosen so that the sum of each
output lies on either side of the next whole byte, closer than the bytes that it reads are large: then every such weight
changes a byte. That finds nearly all weights of bicubic and Lanczos filters that are off by one. Of few taps, or equal
ones, most weights could be off by one without changing any image.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from onelayer.algebra import AxisMap, fixed_point
from onelayer.algebra.checks import FloatArray
from onelayer.selfcheck.contents import Bytes

_LEAST = 64
"""Smallest byte that is read, where there are bytes enough to choose from: it is how close a sum has to be."""

_BASES = 256
"""Choices of all bytes but two for an output."""


def lines_at_thresholds(rng: Generator, axis: AxisMap, limit: int | None) -> Bytes:
    """Choose lines of bytes for the resize of an axis, two for each output: just beyond a threshold, and just before.

    Args:
        rng: Source of random numbers.
        axis: Resized axis in real arithmetic.
        limit: As in :func:`onelayer.algebra.fixed_point.in_fixed_point`.

    Returns:
        uint8 [2·n_out, n_in].
    """
    unit = float(1 << fixed_point.bits_of(axis, limit))
    weights = np.rint(fixed_point.in_fixed_point(axis, limit).weights * unit)
    lines = rng.integers(0, 256, (2 * axis.n_out, axis.n_in), dtype=np.uint8)
    for output, (start, row) in enumerate(zip(axis.starts, weights, strict=True)):
        for line, chosen in zip(lines[2 * output : 2 * output + 2], _on_both_sides(rng, row, unit), strict=True):
            line[start : start + axis.taps] = chosen
    return lines


def _on_both_sides(rng: Generator, weights: FloatArray, unit: float) -> tuple[Bytes, Bytes]:
    """Choose bytes whose sum, with a half, lies just beyond a multiple of ``unit``, and bytes that miss it just."""
    sizes = np.abs(weights)
    used, first = np.flatnonzero(weights), int(sizes.argmax())
    # Equal weights would give the same sums again and again.
    second = int(np.where(sizes == sizes[first], 0.0, sizes).argmax())
    if weights[second] == 0.0:
        second = int(used[-1])
    # With all pairs of two bytes, sorted, the best pair for each choice of the others is found at once.
    bases = rng.integers(_LEAST, 256, (_BASES, len(weights))).astype(np.float64)
    bases[:, [first, second]] = 0.0
    values = np.arange(_LEAST if len(used) > 2 else 1, 256, dtype=np.float64)
    pairs = ((weights[first] * values[:, None] + weights[second] * values) % unit).ravel()
    order = pairs.argsort()
    wanted = -(bases @ weights + unit / 2) % unit
    behind = np.searchsorted(pairs[order], wanted)
    found = []
    for beyond in (True, False):
        places = order[(behind - (not beyond)) % len(order)]
        tried = bases.copy()
        tried[:, first] += values[places // len(values)]
        tried[:, second] += values[places % len(values)] * (first != second)
        sums = tried @ weights + unit / 2
        distances = sums % unit if beyond else unit - 1 - sums % unit
        # What is saturated has no threshold.
        distances[(sums < unit) | (sums >= 255 * unit)] = unit
        found.append(tried[distances.argmin()].astype(np.uint8))
    return found[0], found[1]
