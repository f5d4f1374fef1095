"""Compute sums that round to float32 as PyTorch's do: :class:`onelayer.algebra.Float32Sum` along one axis.

Eight neighbours go together, each with the same taps. Along rows these are columns. Along columns they are rows, which
are laid side by side first, eight at a time.
"""

from __future__ import annotations

import numpy as np

from onelayer.backends.cpu.compilation import exact_inlined, exact_kernel
from onelayer.backends.cpu.float32_sums import fused

_EIGHT = 8


@exact_inlined
def _added(values, first, between, count, fused_from, weights, i, sums):
    """Set ``sums[0:8] = Σ_k weights[i, k] · values[first + k·between + (0 … 7)]``; k < ``fused_from`` are unfused."""
    for lane in range(_EIGHT):
        sums[lane] = values[first + lane] * weights[i, 0]
    for k in range(1, fused_from):
        for lane in range(_EIGHT):
            sums[lane] = sums[lane] + values[first + k * between + lane] * weights[i, k]
    for k in range(fused_from, count):
        for lane in range(_EIGHT):
            sums[lane] = fused(values[first + k * between + lane], weights[i, k], sums[lane])


@exact_kernel
def sums_of_columns(images, starts, counts, weights, unfused, out):
    """Sum along the last axis.

    Args:
        images: float32 [lines, n_in], contiguous.
        starts: int64 [n_out].
        counts: int64 [n_out].
        weights: float32 [n_out, K].
        unfused: Size of the groups of products that are rounded before they are added.
        out: float32 [lines, n_out].
    """
    lines, n_in = images.shape
    interleaved, sums = np.zeros(n_in * _EIGHT, np.float32), np.zeros(_EIGHT, np.float32)
    for begin in range(0, lines, _EIGHT):
        rows = min(_EIGHT, lines - begin)
        for r in range(rows):
            for j in range(n_in):
                interleaved[j * _EIGHT + r] = images[begin + r, j]
        for i in range(len(starts)):
            fused_from = 1 + (counts[i] - 1) // unfused * unfused if unfused else 1
            _added(interleaved, starts[i] * _EIGHT, _EIGHT, counts[i], fused_from, weights, i, sums)
            for r in range(rows):
                out[begin + r, i] = sums[r]


@exact_kernel
def sums_of_rows(images, starts, counts, weights, unfused, out):
    """Sum along the last axis but one.

    Args:
        images: float32 [planes, n_in, width], contiguous.
        starts: int64 [n_out].
        counts: int64 [n_out].
        weights: float32 [n_out, K].
        unfused: Size of the groups of products that are rounded before they are added.
        out: float32 [planes, n_out, width].
    """
    planes, _, width = images.shape
    last, sums = max(width - _EIGHT, 0), np.zeros(_EIGHT, np.float32)
    # Fewer than eight columns have what lies behind them computed too; behind the last plane there is room for it.
    values = np.zeros(images[0].size + _EIGHT, np.float32)
    for plane in range(planes):
        values[: images[plane].size] = images[plane].ravel()
        for i in range(len(starts)):
            fused_from = 1 + (counts[i] - 1) // unfused * unfused if unfused else 1
            for block in range((width + _EIGHT - 1) // _EIGHT):
                j = min(block * _EIGHT, last)
                _added(values, starts[i] * width + j, width, counts[i], fused_from, weights, i, sums)
                for lane in range(min(_EIGHT, width)):
                    out[plane, i, j + lane] = sums[lane]
