"""The nearest Kronecker product of three factors to a matrix of weights, and how near it is.

A matrix W [C'H'W', CHW] is ``channel ⊗ rows ⊗ cols`` if and only if the same numbers, arranged as a tensor [C'C, H'H,
W'W], are the outer product of three vectors, which are the factors, flattened (Van Loan and Pitsianis, *Approximation
with Kronecker products*, 1993, for two of them). So the nearest product is the nearest tensor of rank one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self, final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import ArpackError, svds

from onelayer.algebra import Dense
from onelayer.algebra.operator import FloatArray
from onelayer.recognition.norms import Norm, PlainNorm

_ROUNDS = 100
"""Largest number of rounds of the alternation."""
_STEADY = 1e-11
"""Relative change of each factor, in the Frobenius norm, below which the alternation ends."""
_SOLVABLE = 1e-13
"""Addition to a moment's diagonal, relative to its mean: images may lack a direction altogether."""
LEADING = 5
"""Number of singular values to find."""
_SMALL = 64
"""Largest side of a matrix whose singular values are all computed, as they cost little."""
Masks = tuple[NDArray[np.bool_] | None, NDArray[np.bool_] | None, NDArray[np.bool_] | None]
"""Support of each factor, bool of its shape; None for all of it."""
_CROSSED = ("pqrchw,qh,rw->pc", "pqrchw,pc,rw->qh", "pqrchw,pc,qh->rw")


@final
@dataclass(frozen=True, eq=False)
class KroneckerFactors:
    """``channel ⊗ rows ⊗ cols``.

    Args:
        channel: float64 [C', C].
        rows: float64 [H', H].
        cols: float64 [W', W].
    """

    channel: FloatArray
    rows: FloatArray
    cols: FloatArray

    @property
    def each(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Channel, rows and columns factor."""
        return self.channel, self.rows, self.cols

    @property
    def grams(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """``FᵀF`` of each factor F."""
        channel, rows, cols = (factor.T @ factor for factor in self.each)
        return channel, rows, cols

    @property
    def weights(self) -> FloatArray:
        """Kronecker product, float64 [C', H', W', C, H, W]."""
        product: FloatArray = np.einsum("pc,qh,rw->pqrchw", *self.each, optimize=True)
        return product

    def with_factor(self, along: int, factor: FloatArray) -> Self:
        """Replace a factor: 0 channels, 1 rows, 2 columns."""
        return replace(self, **{("channel", "rows", "cols")[along]: factor})

    def balanced(self) -> Self:
        """Scale the factors so that the taps of rows and cols add up to one at most outputs, as those of resizes do.

        The product stays the same. Where taps add up to nothing (differences), their largest tap becomes one.
        """
        rows, cols = (gain_of(factor.sum(axis=1), _largest(factor)) for factor in (self.rows, self.cols))
        return replace(self, channel=self.channel * (rows * cols), rows=self.rows / rows, cols=self.cols / cols)


def gain_of(sums: FloatArray, largest: FloatArray) -> float:
    """Find the sum of an output's taps, at most outputs; where that is nothing, the largest tap.

    Args:
        sums: Sum of the taps of each output, [n_out].
        largest: Largest tap of each output by its size, with its sign, [n_out].
    """
    extent = float(np.abs(largest).max(initial=0.0))
    if extent == 0.0:
        return 1.0
    # Outputs that read nothing (zero padding) have no say.
    middle = float(np.median(sums[np.abs(largest) > 0.1 * extent]))
    return middle if abs(middle) > 0.1 * extent else float(largest[np.abs(largest).argmax()])


def _largest(factor: FloatArray) -> FloatArray:
    places = np.abs(factor).argmax(axis=1)
    largest: FloatArray = factor[np.arange(len(factor)), places]
    return largest


def weights_of(dense: Dense, transpose: bool) -> FloatArray:
    """Reshape weights to float64 [C', H', W', C, H, W]; ``transpose`` swaps height and width of the images first."""
    weights = dense.weight.reshape(*dense.out_shape, *dense.in_shape)
    return np.ascontiguousarray(weights.swapaxes(-1, -2)) if transpose else weights


def rearranged(weights: FloatArray) -> FloatArray:
    """Rearrange weights [C', H', W', C, H, W] to the tensor [C'C, H'H, W'W] of rank one for a Kronecker product."""
    outputs, inputs = weights.shape[:3], weights.shape[3:]
    lengths = [ours * theirs for ours, theirs in zip(outputs, inputs, strict=True)]
    return np.ascontiguousarray(weights.transpose(0, 3, 1, 4, 2, 5)).reshape(lengths)


def unfolded(tensor: FloatArray, along: int) -> FloatArray:
    """Unfold a tensor of three axes to a matrix whose rows are one of them."""
    return np.moveaxis(tensor, along, 0).reshape(tensor.shape[along], -1)


def leading(matrix: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Find the largest singular values of a matrix [m, n], descending, and its first left singular vector [m].

    There are at most :data:`LEADING` values.
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


def nearest_product(weights: FloatArray) -> tuple[KroneckerFactors, FloatArray]:
    """Find the nearest Kronecker product, all weights counting alike.

    It has the first singular vectors of the three unfoldings, improved by alternation.

    Args:
        weights: Weights, float64 [C', H', W', C, H, W].

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
    start = KroneckerFactors(channel * scale, rows, cols)
    plain = PlainNorm((inputs[0], inputs[1], inputs[2]))
    return alternated(weights, start, plain, (None, None, None)), spectra[1]


def alternated(
    weights: FloatArray, start: KroneckerFactors, norm: Norm, masks: Masks, fitted: tuple[int, ...] = (1, 2, 0)
) -> KroneckerFactors:
    """Fit factors to weights by alternating least squares: one factor after the other.

    Args:
        weights: Weights, float64 [C', H', W', C, H, W].
        start: Factors to begin with.
        norm: Norm of the distance from the weights.
        masks: Support of each factor.
        fitted: Factors that are fitted, in turn: 0 channels, 1 rows, 2 columns; the others stay.
    """
    factors, crossed = start, norm.weighted(weights)
    if not any(factor.any() for factor in start.each):
        return start
    for _ in range(_ROUNDS):
        before = factors
        for along in fitted:
            others = [factor for axis, factor in enumerate(factors.each) if axis != along]
            target: FloatArray = np.einsum(_CROSSED[along], crossed, *others, optimize=True)
            moment = norm.moment(along, factors.grams)
            factors = factors.with_factor(along, _solved(moment, target, masks[along]))
        factors = factors.balanced() if len(fitted) > 1 and 0 in fitted else factors
        if len(fitted) == 1 or _change(before, factors) < _STEADY:
            break
    return factors


def _solved(moment: FloatArray, target: FloatArray, mask: NDArray[np.bool_] | None) -> FloatArray:
    """Solve ``x·moment = target`` for the rows x, within the mask."""
    steadied = moment + np.eye(len(moment)) * (_SOLVABLE * np.trace(moment) / len(moment))
    if mask is None:
        return np.linalg.solve(steadied, target.T).T
    factor = np.zeros_like(target)
    for row, allowed in enumerate(mask):
        if allowed.any():
            factor[row, allowed] = np.linalg.solve(steadied[np.ix_(allowed, allowed)], target[row, allowed])
    return factor


def _change(before: KroneckerFactors, after: KroneckerFactors) -> float:
    """Compute the largest relative change of a factor, in the Frobenius norm; both sides are balanced alike."""
    changes = [
        float(np.linalg.norm(new - old)) / max(float(np.linalg.norm(new)), 1e-300)
        for old, new in zip(before.each, after.each, strict=True)
    ]
    return max(changes)


def energy(weights: FloatArray, norm: Norm) -> float:
    """Compute the squared norm of weights [C', H', W', C, H, W]."""
    return max(float(np.vdot(weights, norm.weighted(weights))), 0.0)


def expected_noise(weights: FloatArray, factors: KroneckerFactors, norm: Norm, along: int) -> float:
    """Estimate the standard deviation of a factor's taps by the propagation of errors.

    If the residual of the product is noise that is white in the norm, of variance v in each direction, the
    taps of one output have the covariance ``v·moment⁻¹``.

    Args:
        weights: Weights, float64 [C', H', W', C, H, W].
        factors: Factors that were fitted to them.
        norm: Norm of the fit.
        along: The factor: 0 channels, 1 rows, 2 columns.
    """
    outputs = weights[..., 0, 0, 0].size
    variance = energy(weights - factors.weights, norm) / (outputs * norm.inputs)
    moment = norm.moment(along, factors.grams)
    spread = np.linalg.pinv(moment, hermitian=True).diagonal()
    return float(np.sqrt(variance * max(float(spread.max()), 0.0)))
