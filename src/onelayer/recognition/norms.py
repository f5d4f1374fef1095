"""Norms of differences of weights: by the weights alone, or by their effect on images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, final

import numpy as np

from onelayer.algebra.operator import FloatArray, Shape, samples_of
from onelayer.errors import OnelayerError


@final
@dataclass(frozen=True, eq=False)
class ImageStatistics:
    """Covariance and mean of images.

    Args:
        covariance: Covariance of their values, float64 [C·H·W, C·H·W], images flattened as (channel, row, column); only
            its lower triangle is read.
        mean: Mean image, float64 [C·H·W]; None where it is not known.

    Raises:
        OnelayerError: If the two do not fit together, are not finite, or images do not vary.
    """

    covariance: FloatArray
    mean: FloatArray | None = None

    def __post_init__(self) -> None:
        covariance = np.array(self.covariance, dtype=np.float64)
        if covariance.ndim != 2 or covariance.shape[0] != covariance.shape[1]:
            raise OnelayerError(f"a covariance of shape {covariance.shape} was given", expected="a square matrix")
        covariance = np.tril(covariance) + np.tril(covariance, -1).T
        if not np.isfinite(covariance).all() or not covariance.trace() > 0.0:
            raise OnelayerError(
                "a covariance without variance was given", expected="finite numbers, those on the diagonal positive"
            )
        object.__setattr__(self, "covariance", covariance)
        if self.mean is not None:
            mean = np.array(self.mean, dtype=np.float64)
            if mean.shape != covariance.shape[:1] or not np.isfinite(mean).all():
                raise OnelayerError(
                    f"a mean of shape {mean.shape} was given", expected=f"finite numbers {covariance.shape[:1]}"
                )
            object.__setattr__(self, "mean", mean)


class Norm(Protocol):
    """Norm of weights W [C', H', W', C, H, W]: the root of ``Σ W·G·W``, G being a matrix over the inputs."""

    def weighted(self, weights: FloatArray) -> FloatArray:
        """Compute ``W·G``, of the same shape."""

    def moment(self, along: int, grams: tuple[FloatArray, FloatArray, FloatArray]) -> FloatArray:
        """Sum G over two of the input's three axes, with weights.

        Args:
            along: Axis that remains: 0 for channels, 1 for rows, 2 for columns.
            grams: ``FᵀF`` of the factors F of all three axes, [C, C], [H, H] and [W, W]; that of ``along`` is not used.

        Returns:
            float64 [n, n], n being the length of the axis.
        """

    @property
    def inputs(self) -> int:
        """Number of inputs."""


@final
@dataclass(frozen=True)
class PlainNorm:
    """Norm in which all weights count alike: G is the unit matrix.

    Args:
        in_shape: Shape of the images.
    """

    in_shape: Shape

    @property
    def inputs(self) -> int:
        """Number of inputs, C·H·W."""
        return samples_of(self.in_shape)

    def weighted(self, weights: FloatArray) -> FloatArray:
        """Return the weights themselves."""
        return weights

    def moment(self, along: int, grams: tuple[FloatArray, FloatArray, FloatArray]) -> FloatArray:
        """Compute a multiple of the unit matrix."""
        others = [float(np.trace(gram)) for axis, gram in enumerate(grams) if axis != along]
        return np.eye(self.in_shape[along]) * others[0] * others[1]


@final
class ImageNorm:
    """Norm in which weights count for their effect on images: G is the images' covariance.

    The squared norm is the mean squared error that weights make, over images less their mean.

    Args:
        covariance: Covariance of the images, float64 [C·H·W, C·H·W].
        in_shape: Shape of the images.
    """

    def __init__(self, covariance: FloatArray, in_shape: Shape) -> None:
        self.covariance = covariance
        self.in_shape = in_shape

    @property
    def inputs(self) -> int:
        """Number of inputs, C·H·W."""
        return samples_of(self.in_shape)

    def weighted(self, weights: FloatArray) -> FloatArray:
        """Compute ``W·G``, of the same shape."""
        product: FloatArray = weights.reshape(-1, self.inputs) @ self.covariance
        return product.reshape(weights.shape)

    def moment(self, along: int, grams: tuple[FloatArray, FloatArray, FloatArray]) -> FloatArray:
        """Compute the covariance of images that the other two factors were applied to."""
        tensor = self.covariance.reshape(*self.in_shape, *self.in_shape)
        channel, rows, cols = grams
        # One pair of axes after the other, and the large tensor as it lies: several times faster than all at once.
        moment: FloatArray
        match along:
            case 0:
                moment = np.einsum("chdi,hi->cd", np.einsum("chwdik,wk->chdi", tensor, cols), rows)
            case 1:
                moment = np.einsum("chdi,cd->hi", np.einsum("chwdik,wk->chdi", tensor, cols), channel)
            case _:
                moment = np.einsum("cwdk,cd->wk", np.einsum("chwdik,hi->cwdk", tensor, rows), channel)
        return moment


def norm_for(covariance: FloatArray | None, in_shape: tuple[int, int, int], transpose: bool) -> Norm:
    """Choose the norm for weights as :func:`~onelayer.recognition.kronecker.weights_of` gives them.

    Args:
        covariance: Covariance of images, [C·H·W, C·H·W]; None where it is not known.
        in_shape: Shape of the images.
        transpose: Whether their height and width are swapped first.
    """
    channels, height, width = in_shape
    shape = (channels, width, height) if transpose else in_shape
    if covariance is None:
        return PlainNorm(shape)
    if transpose:
        places = np.arange(covariance.shape[0]).reshape(in_shape).swapaxes(-1, -2).ravel()
        covariance = covariance[np.ix_(places, places)]
    return ImageNorm(covariance, shape)
