"""The best affine layer there is for given images, from sums over them: least squares by normal equations."""

from __future__ import annotations

import math
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, blas, cho_factor, cho_solve

from onelayer.algebra import Dense, Shape
from onelayer.algebra.dense import refuse_too_large
from onelayer.algebra.operator import FloatArray
from onelayer.errors import OnelayerError

_BLOCK = 2048
"""Images that are summed at a time."""

_MOST_INPUTS = 20_000
"""Values of an image: sums of products of so many take 3.2 GB."""

_STEADY = 100.0
"""How far the ridge lies above what rounding in float64 can make of an eigenvalue."""


class LeastSquares:
    """Streaming least squares: images in batches of any size, from data of any size.

    In memory are sums of products of the inputs, [D, D] in float64, and of inputs and outputs, [D, D'], for D = C·H·W
    and D' = C'·H'·W'; solving takes the former once more. Sums are of deviations from mid-grey, so that little is lost
    when the means are subtracted.

    Args:
        in_shape: (C, H, W) of the inputs.
        out_shape: (C', H', W') of the outputs.

    Raises:
        OnelayerError: If an image has more than 20,000 values, or the layer would be too large.
    """

    def __init__(self, in_shape: Shape, out_shape: Shape) -> None:
        inputs, outputs = math.prod(in_shape), math.prod(out_shape)
        if inputs > _MOST_INPUTS:
            raise OnelayerError(
                f"least squares was asked for images of {in_shape}, {inputs:,} values each",
                expected=f"at most {_MOST_INPUTS:,}",
                hint="Learn on smaller images, or identify the function (onelayer.identify), which takes any size.",
            )
        refuse_too_large(in_shape, out_shape)
        self.in_shape, self.out_shape = in_shape, out_shape
        self.count = 0
        self._products = np.zeros((inputs, inputs), order="F")
        self._crossed = np.zeros((outputs, inputs), order="F")
        self._inputs, self._outputs = np.zeros(inputs), np.zeros(outputs)

    def partial_fit(self, inputs: NDArray[np.floating], outputs: NDArray[np.floating]) -> Self:
        """Add images to the sums.

        Args:
            inputs: Floating point [N, C, H, W], values in [0, 1]; N may be 0.
            outputs: What they shall become, floating point [N, C', H', W'].

        Raises:
            OnelayerError: If shapes do not fit, or a value is not finite; nothing is added then.
        """
        found, expected = (inputs.shape, outputs.shape), ((len(inputs), *self.in_shape), (len(inputs), *self.out_shape))
        if found != expected:
            raise OnelayerError(
                f"images of {found[0]} and {found[1]} were given", expected=f"{expected[0]} and {expected[1]}"
            )
        if not (np.isfinite(inputs).all() and np.isfinite(outputs).all()):
            raise OnelayerError("images with NaN or infinite values were given", expected="finite values")
        for begin in range(0, len(inputs), _BLOCK):
            here = slice(begin, begin + _BLOCK)
            x = inputs[here].reshape(-1, len(self._inputs)).astype(np.float64) - 0.5
            y = outputs[here].reshape(-1, len(self._outputs)).astype(np.float64)
            # Symmetric: one half is computed. Transposed views are in the order that BLAS writes to in place.
            self._products = blas.dsyrk(1.0, x.T, 1.0, self._products, lower=1, overwrite_c=1)
            self._crossed = blas.dgemm(1.0, y.T, x.T, 1.0, self._crossed, trans_b=1, overwrite_c=1)
            self._inputs += x.sum(axis=0)
            self._outputs += y.sum(axis=0)
        self.count += len(inputs)
        return self

    @property
    def mean(self) -> FloatArray:
        """Of the inputs, [D]."""
        return self._inputs / max(self.count, 1) + 0.5

    @property
    def mean_output(self) -> FloatArray:
        """Of the outputs, [D']."""
        return self._outputs / max(self.count, 1)

    def covariance(self) -> FloatArray:
        """Of the inputs, [D, D]; only its lower triangle counts.

        Raises:
            OnelayerError: If there was no image yet.
        """
        self._refuse_none()
        mean = self._inputs / self.count
        covariance: FloatArray = self._products / self.count
        return blas.dsyr(-1.0, mean, lower=1, a=covariance, overwrite_a=1)  # type: ignore[no-any-return]

    def solve(self, ridge: float | None = None) -> tuple[Dense, float]:
        """The layer with the least mean squared error over all images so far, and the ridge that it took.

        The ridge is added to each input's variance. Directions in which images vary less than that keep small weights,
        instead of whatever rounding errors make of them.

        Args:
            ridge: In units of the variance of values in [0, 1]; None for a hundred times what float64 loses in such a
                matrix, 2⁻⁵² times the sum of its eigenvalues. Doubled as often as the solution needs.

        Raises:
            OnelayerError: If there was no image yet.
        """
        factor, ridge = self._factored(ridge)
        mean = self._inputs / self.count
        shifted = self._outputs / self.count
        crossed = self._crossed / self.count - np.outer(shifted, mean)
        weight = cho_solve((factor, True), crossed.T, check_finite=False).T
        bias = shifted - weight @ (mean + 0.5)
        return Dense(np.ascontiguousarray(weight), bias, self.in_shape, self.out_shape), ridge

    def factor(self) -> FloatArray:
        """The Cholesky factor of the inputs' covariance, lower triangular [D, D], with a ridge as in :meth:`solve`.

        Raises:
            OnelayerError: If there was no image yet.
        """
        return self._factored(None)[0]

    def _factored(self, ridge: float | None) -> tuple[FloatArray, float]:
        """The factor, and the ridge that it took."""
        while True:
            # Anew for each ridge: the factor takes its place in memory.
            covariance = self.covariance()
            if ridge is None:
                ridge = _STEADY * float(np.finfo(np.float64).eps) * float(np.trace(covariance))
            ridge = max(ridge, float(np.finfo(np.float64).tiny))
            covariance[np.diag_indices_from(covariance)] += ridge
            try:
                return cho_factor(covariance, lower=True, overwrite_a=True, check_finite=False)[0], ridge
            except LinAlgError:
                ridge *= 2

    def _refuse_none(self) -> None:
        if not self.count:
            raise OnelayerError("there are no images yet", expected="at least one, given to partial_fit")
