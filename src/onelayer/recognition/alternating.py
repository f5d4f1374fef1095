"""Factors fitted to weights: alternating least squares, in a norm and on a support."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from onelayer.algebra.operator import FloatArray
from onelayer.recognition.factors import Factors
from onelayer.recognition.norms import Norm

_ROUNDS = 100
_STEADY = 1e-11
"""Relative change of each factor, in the Frobenius norm, below which the alternation has arrived."""
_SOLVABLE = 1e-13
"""Added to a moment's diagonal, relative to its mean: images may lack a direction altogether."""

Masks = tuple[NDArray[np.bool_] | None, NDArray[np.bool_] | None, NDArray[np.bool_] | None]

_CROSSED = ("pqrchw,qh,rw->pc", "pqrchw,pc,rw->qh", "pqrchw,pc,qh->rw")


def alternated(
    weights: FloatArray, start: Factors, norm: Norm, masks: Masks, fitted: tuple[int, ...] = (1, 2, 0)
) -> Factors:
    """The product nearest to weights in a norm, by alternating least squares: one factor after the other.

    Args:
        weights: float64 [C', H', W', C, H, W].
        start: Where to begin.
        norm: In which the distance is measured.
        masks: Of each factor, where it may be other than zero, bool of its shape; None for everywhere.
        fitted: Which factors are fitted (0 channels, 1 rows, 2 columns), in turn; the others stay.
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
    """The rows x with ``x·moment = target``, within the mask."""
    steadied = moment + np.eye(len(moment)) * (_SOLVABLE * np.trace(moment) / len(moment))
    if mask is None:
        return np.linalg.solve(steadied, target.T).T
    factor = np.zeros_like(target)
    for row, allowed in enumerate(mask):
        if allowed.any():
            factor[row, allowed] = np.linalg.solve(steadied[np.ix_(allowed, allowed)], target[row, allowed])
    return factor


def _change(before: Factors, after: Factors) -> float:
    """The largest relative change of a factor, in the Frobenius norm; both balanced alike."""
    changes = [
        float(np.linalg.norm(new - old)) / max(float(np.linalg.norm(new)), 1e-300)
        for old, new in zip(before.each, after.each, strict=True)
    ]
    return max(changes)


def energy(weights: FloatArray, norm: Norm) -> float:
    """The squared norm of weights [C', H', W', C, H, W]."""
    return max(float(np.vdot(weights, norm.weighted(weights))), 0.0)


def expected_noise(weights: FloatArray, factors: Factors, norm: Norm, along: int) -> float:
    """The standard deviation of a factor's taps, by the propagation of errors.

    If what the product leaves of the weights is noise that is white in the norm, of variance v in each direction, the
    taps of one output have the covariance ``v·moment⁻¹``.

    Args:
        weights: float64 [C', H', W', C, H, W].
        factors: Fitted to them.
        norm: In which they were fitted.
        along: Which factor.
    """
    outputs = weights[..., 0, 0, 0].size
    variance = energy(weights - factors.weights, norm) / (outputs * norm.inputs)
    moment = norm.moment(along, factors.grams)
    spread = np.linalg.pinv(moment, hermitian=True).diagonal()
    return float(np.sqrt(variance * max(float(spread.max()), 0.0)))
