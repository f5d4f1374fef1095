"""The nearest Kronecker product of three factors to a matrix of weights, and how near it is.

A matrix W [C'H'W', CHW] is ``channel ⊗ rows ⊗ cols`` if and only if the same numbers, arranged as a tensor [C'C, H'H,
W'W], are the outer product of three vectors, which are the factors, flattened (Van Loan and Pitsianis, *Approximation
with Kronecker products*, 1993, for two of them). So the nearest product is the nearest tensor of rank one.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse.linalg import ArpackError, svds

from onelayer.algebra import Dense
from onelayer.algebra.operator import FloatArray
from onelayer.recognition.alternating import alternated
from onelayer.recognition.factors import Factors
from onelayer.recognition.norms import PlainNorm

LEADING = 5
"""Singular values that are looked at."""
_SMALL = 64
"""A side of a matrix up to which all its singular values cost little."""


def weights_of(dense: Dense, transpose: bool) -> FloatArray:
    """Weights float64 [C', H', W', C, H, W]; with ``transpose``, of images whose height and width are swapped first."""
    weights = dense.weight.reshape(*dense.out_shape, *dense.in_shape)
    return np.ascontiguousarray(weights.swapaxes(-1, -2)) if transpose else weights


def rearranged(weights: FloatArray) -> FloatArray:
    """Weights [C', H', W', C, H, W] as the tensor [C'C, H'H, W'W] that is of rank one for a Kronecker product."""
    outputs, inputs = weights.shape[:3], weights.shape[3:]
    lengths = [ours * theirs for ours, theirs in zip(outputs, inputs, strict=True)]
    return np.ascontiguousarray(weights.transpose(0, 3, 1, 4, 2, 5)).reshape(lengths)


def unfolded(tensor: FloatArray, along: int) -> FloatArray:
    """A tensor of three axes as a matrix whose rows are one of them."""
    return np.moveaxis(tensor, along, 0).reshape(tensor.shape[along], -1)


def leading(matrix: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The largest singular values of a matrix [m, n], at most :data:`LEADING`, and the first left singular vector [m].

    The values descend.
    """
    if min(matrix.shape) > _SMALL and matrix.any():
        try:
            return _iterated(matrix)
        except ArpackError:
            pass  # of a matrix of exactly one singular value, for example
    left, values, _ = np.linalg.svd(matrix, full_matrices=False)
    return values[:LEADING], left[:, 0]


def _iterated(matrix: FloatArray) -> tuple[FloatArray, FloatArray]:
    # A fixed start makes the result the same every time; one without symmetry is orthogonal to no singular vector.
    start = np.random.default_rng(0).standard_normal(min(matrix.shape))
    left, values, _ = svds(matrix, k=LEADING, v0=start)
    order = np.argsort(values)[::-1]
    return values[order], left[:, order[0]]


def nearest_product(weights: FloatArray) -> tuple[Factors, FloatArray]:
    """The nearest Kronecker product, all weights counting alike.

    The first singular vectors of the three unfoldings, improved by alternation.

    Args:
        weights: float64 [C', H', W', C, H, W].

    Returns:
        The factors, and the largest singular values of the unfolding with the rows' axis against the other two.
    """
    tensor = rearranged(weights)
    spectra, vectors = zip(*(leading(unfolded(tensor, along)) for along in range(3)), strict=True)
    outputs, inputs = weights.shape[:3], weights.shape[3:]
    channel, rows, cols = (
        vector.reshape(ours, theirs) for vector, ours, theirs in zip(vectors, outputs, inputs, strict=True)
    )
    scale = float(np.einsum("i,j,k,ijk->", *vectors, tensor, optimize=True))
    start = Factors(channel * scale, rows, cols)
    plain = PlainNorm((inputs[0], inputs[1], inputs[2]))
    return alternated(weights, start, plain, (None, None, None)), spectra[1]
