"""What every operator can do, whatever it is made of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onelayer.errors import OnelayerError

if TYPE_CHECKING:
    from onelayer.algebra.dense import Dense

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

Shape = tuple[int, int, int]
"""Channels, height, width."""

ROUNDING = 1e-12
"""What float64 sums of normalised weights may differ by and still count as equal: a few thousand roundings."""

# A naive banded kernel spent about 0.1 ns on reading or writing one float32 sample and 0.03 ns on one multiplication.
MULTIPLICATIONS_PER_SAMPLE = 4
"""How many multiplications of a vectorised kernel take as long as moving one sample to or from memory."""


class TooLargeError(OnelayerError):
    """A matrix that would not fit: dense weights or sparse taps beyond the limit."""


@dataclass(frozen=True)
class Cost:
    """What one image costs.

    Args:
        multiplications: By weights of the kernel's bands, padding of the bands included. Weights that only select
            samples (a crop, a flip, a channel swap) multiply nothing.
        samples: Numbers read from and written to memory: the input, the output, and the bias where it is an image.
    """

    multiplications: int
    samples: int

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.multiplications + other.multiplications, self.samples + other.samples)

    @property
    def total(self) -> int:
        """Both, in units of one multiplication."""
        return self.multiplications + MULTIPLICATIONS_PER_SAMPLE * self.samples


class Operator(ABC):
    """An affine map from images [..., C, H, W] to images [..., C', H', W'], float64."""

    in_shape: Shape
    """Channels, height and width of the input."""
    out_shape: Shape
    """Channels, height and width of the output."""

    @property
    @abstractmethod
    def cost(self) -> Cost:
        """What one image costs, computed in the cheapest order."""

    @property
    @abstractmethod
    def is_identity(self) -> bool:
        """Whether every output sample is exactly the input sample at the same place."""

    @abstractmethod
    def apply(self, x: ArrayLike) -> FloatArray:
        """The slow, obviously right reference.

        Args:
            x: Images [..., C, H, W] of any real dtype; any number of batch dimensions, also empty ones.

        Returns:
            Images [..., C', H', W'], float64.

        Raises:
            OnelayerError: If the last three dimensions are not :attr:`in_shape`.
        """

    @abstractmethod
    def apply_transposed(self, y: ArrayLike) -> FloatArray:
        """The adjoint of the linear part (without the bias): [..., C', H', W'] to [..., C, H, W].

        Raises:
            OnelayerError: If the last three dimensions are not :attr:`out_shape`.
        """

    @abstractmethod
    def to_dense(self) -> Dense:
        """The same map as one matrix.

        Raises:
            TooLargeError: If that matrix has more than 50 million weights.
        """


def as_images(x: ArrayLike, shape: Shape) -> FloatArray:
    """Images as float64 [..., *shape].

    Raises:
        OnelayerError: If the last three dimensions are not ``shape``.
    """
    images = np.asarray(x, dtype=np.float64)
    if images.shape[-3:] != shape:
        raise OnelayerError(
            f"images of shape {images.shape} were given",
            expected=f"channels, height and width {shape} as the last three dimensions",
            hint="An operator is built for one image size; build one for this size.",
        )
    return images


def samples_of(shape: Shape) -> int:
    """How many numbers an image of this shape has."""
    channels, height, width = shape
    return channels * height * width
