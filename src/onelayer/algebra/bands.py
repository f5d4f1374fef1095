"""Arithmetic of banded matrices, given as first columns [n_out] and weights from there on [n_out, taps]."""

from __future__ import annotations

import numpy as np

from onelayer.algebra.checks import FloatArray, IntArray
from onelayer.algebra.operator import ROUNDING

Band = tuple[IntArray, FloatArray]

# Terms of a product that are held at a time; without a limit two wide bands would fill the memory.
_TERMS_PER_BLOCK = 1 << 20


def trimmed(n_in: int, starts: IntArray, weights: FloatArray) -> Band:
    """Narrow a matrix to the width that its widest row has from the first to the last nonzero weight.

    Args:
        n_in: Columns of the matrix.
        starts: First columns, int64 [n_out].
        weights: float64 [n_out, taps]; zeros may lie outside of the columns.

    Returns:
        Starts and weights with every column in bounds.
    """
    nonzero = weights != 0.0
    taps = weights.shape[1]
    inside = bool(starts.min() >= 0) and bool(starts.max() + taps <= n_in)
    if inside and bool((nonzero[:, 0] & nonzero[:, -1]).any()):
        return starts, weights
    first = nonzero.argmax(axis=1)
    last = taps - 1 - nonzero[:, ::-1].argmax(axis=1)
    empty = ~nonzero[np.arange(len(starts)), first]
    first[empty] = last[empty] = 0
    width = int((last - first).max()) + 1
    begins = np.maximum(np.minimum(starts + first, n_in - width), 0)
    columns = (begins - starts)[:, None] + np.arange(width)
    known = (columns >= 0) & (columns < taps)
    moved = np.take_along_axis(weights, np.clip(columns, 0, taps - 1), axis=1)
    return begins, np.where(known, moved, 0.0)


def product(n_in: int, second: Band, first: Band) -> Band:
    """Multiply two matrices, ``second · first``, and trim the product.

    Every column of ``second`` must be a row of ``first``.

    Args:
        n_in: Columns of ``first``.
        second: Factor that is applied last.
        first: Factor that is applied first.
    """
    starts, weights = second
    first_starts, first_weights = first
    taps, first_taps = weights.shape[1], first_weights.shape[1]
    if taps == 1:
        return trimmed(n_in, first_starts[starts], weights * first_weights[starts])
    # Taps along the first axis: NumPy reduces along it many times faster than along a short last one.
    columns = weights.T
    read = starts + np.arange(taps)[:, None]
    runs = first_starts[read]
    # A weight of zero reads nothing: it must not widen the band.
    live = columns != 0.0
    low = np.where(live, runs, n_in).min(axis=0)
    high = np.where(live, runs, -1).max(axis=0) + first_taps
    width = max(int((high - low).max()), first_taps)
    low = np.minimum(low, n_in - width)
    offsets = np.where(live, runs - low, 0)
    band = np.empty((len(starts), width))
    rows_per_block = max(1, _TERMS_PER_BLOCK // (taps * first_taps))
    for at in range(0, len(starts), rows_per_block):
        rows = slice(at, at + rows_per_block)
        count = len(starts[rows])
        places = offsets[:, rows] + np.arange(count) * width
        terms = columns[:, rows, None] * first_weights[read[:, rows]]
        flat = (places[:, :, None] + np.arange(first_taps)).ravel()
        band[rows] = np.bincount(flat, terms.ravel(), minlength=count * width).reshape(count, width)
    return trimmed(n_in, low, band)


def common_sum(row_sums: FloatArray) -> float | None:
    """Find the sum that all rows have, up to their rounding; None where they differ."""
    first = float(row_sums[0])
    same = np.abs(row_sums - first) <= ROUNDING * max(1.0, abs(first))
    return first if bool(same.all()) else None
