"""The spatial part of an operator as a sparse matrix over pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from onelayer.algebra.operator import FloatArray, IntArray
from onelayer.algebra.separable import Separable
from onelayer.algebra.spatial_sparse import SpatialSparse

Spatial = Separable | SpatialSparse


def taps_per_row(operator: Spatial) -> IntArray:
    """How many taps :func:`pixel_matrix` holds, while it is built, for each row of the output, int64 [H']."""
    if isinstance(operator, Separable):
        taps = operator.rows.taps * operator.cols.taps * operator.cols.n_out
        return np.full(operator.rows.n_out, taps, dtype=np.int64)
    pointers: IntArray = operator.matrix.indptr.astype(np.int64)
    return np.diff(pointers[:: operator.out_size[1]])


def pixel_matrix(operator: Spatial, first: int = 0, last: int | None = None) -> Any:
    """The taps of the output's rows ``first`` … ``last`` − 1, of all by default.

    Returns:
        A ``csr_array`` [rows·W', H·W] without stored zeros, its indices ascending in each row.
    """
    rows = range(operator.out_shape[1])[first:last]
    if isinstance(operator, SpatialSparse):
        width = operator.out_size[1]
        return operator.matrix[rows.start * width : rows.stop * width]
    return _banded(operator, slice(rows.start, rows.stop))


def _banded(operator: Separable, part: slice) -> Any:
    _, height, width = operator.in_shape
    rows, cols = operator.rows, operator.cols
    down = rows.starts[part, None] + np.arange(rows.taps)
    along = cols.starts[:, None] + np.arange(cols.taps)
    # Axes of the four: output row, output column, and the two bands, the one along the input's columns last.
    if operator.transpose:
        places = along[None, :, :, None] * width + down[:, None, None, :]
        weights: FloatArray = cols.weights[None, :, :, None] * rows.weights[part, None, None, :]
    else:
        places = down[:, None, :, None] * width + along[None, :, None, :]
        weights = rows.weights[part, None, :, None] * cols.weights[None, :, None, :]
    pixels, taps = places.shape[0] * places.shape[1], rows.taps * cols.taps
    pointers = np.arange(pixels + 1) * taps
    matrix = sparse.csr_array((weights.ravel(), places.ravel(), pointers), shape=(pixels, height * width))
    matrix.eliminate_zeros()
    return matrix
