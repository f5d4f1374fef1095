"""The contract of stages: what every step of a program can do, and what an affine one, an operator, can do besides.

A new kind of stage is a frozen dataclass that derives from :class:`Operator` or
:class:`~onelayer.algebra.activations.Activation`. What it leaves out is computed in a slow general way, or taken for
unknown.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onelayer.algebra.checks import FloatArray, IntArray
from onelayer.algebra.ranges import Range
from onelayer.errors import OnelayerError

if TYPE_CHECKING:
    from onelayer.algebra.dense import Dense
    from onelayer.algebra.separable import Separable

__all__ = [
    "Cost",
    "FloatArray",
    "Footprint",
    "IntArray",
    "Operator",
    "Shape",
    "Stage",
    "TooLargeError",
    "WindowWeights",
]

T = TypeVar("T")
Shape = tuple[int, int, int]
"""Channels, height, width."""

Arrays = Mapping[str, NDArray[Any]]
"""The arrays of a stage, by the names of its fields."""

Footprint = tuple[int, int] | float | None
"""Input pixels of one channel that an output value reads: (rows, columns) of a band, or a mean number; None for stages
that act on single values, and where it is not known."""

ROUNDING = 1e-12
"""Largest difference of float64 sums of normalised weights that count as equal: a few thousand roundings."""

# A naive banded kernel spent about 0.1 ns on reading or writing one float32 sample and 0.03 ns on one multiplication.
MULTIPLICATIONS_PER_SAMPLE = 4
"""Number of multiplications of a vectorised kernel that take as long as moving one sample to or from memory."""

STAGES_BY_KIND: dict[str, type[Stage]] = {}
"""Every kind of stage that files can hold, by its name there."""

_SAMPLES_PER_BLOCK = 4_000_000


class TooLargeError(OnelayerError):
    """A matrix that would not fit: dense weights or sparse taps beyond the limit."""


class Stage(ABC):
    """One step of a program: an operator or an activation.

    ``class Blur(Operator, kind="blur")`` names a kind of stage in files; a kind without a name cannot be saved. The
    fields of the dataclass are what a file holds, arrays as arrays and all else as JSON.
    """

    kind: ClassVar[str | None] = None
    """Name of this kind of stage in files."""

    def __init_subclass__(cls, kind: str | None = None) -> None:
        super().__init_subclass__()
        if kind is not None:
            cls.kind = kind
            STAGES_BY_KIND[kind] = cls

    @property
    def is_identity(self) -> bool:
        """Whether it is known to change no value at all."""
        return False

    @property
    def keeps_integers(self) -> bool:
        """Whether it is known to give integers for integers."""
        return False

    @property
    def copies_values(self) -> bool:
        """Whether every output value is known to be an input value or a constant."""
        return False

    @property
    def description(self) -> str:
        """Description for people, as a phrase."""
        return type(self).__name__

    @property
    def footprint(self) -> Footprint:
        """Input pixels of one channel that an output value reads, padding of bands included."""
        return None

    @abstractmethod
    def apply(self, x: ArrayLike) -> FloatArray:
        """Compute the slow, obviously right reference.

        Args:
            x: Images [..., C, H, W] of any real dtype; any number of batch dimensions, also empty ones.

        Returns:
            Images [..., C', H', W'], float64.

        Raises:
            OnelayerError: If the images have another shape, or a value is outside of what is defined.
        """

    @abstractmethod
    def output_range(self, input_range: Range) -> Range:
        """Find the smallest and the largest value of each output channel.

        Args:
            input_range: Range of the input; every sample may take every value in it.

        Raises:
            OnelayerError: If the range has another number of channels, or reaches beyond what is defined.
        """

    def parameters(self) -> dict[str, Any]:
        """Return the parameters that a file holds as JSON: numbers, texts and lists of these, by name."""
        return {name: value for name, value in self._parts().items() if not isinstance(value, np.ndarray)}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that a file holds, by name."""
        return {name: value for name, value in self._parts().items() if isinstance(value, np.ndarray)}

    @classmethod
    def from_parts(cls, parameters: Mapping[str, Any], arrays: Arrays) -> Self:
        """Build a stage from what :meth:`parameters` and :meth:`arrays` gave, whoever wrote that.

        Raises:
            OnelayerError: If a part is missing or not what the stage can be built from; the error names the field.
        """
        parts = {**parameters, **arrays}
        stage: Self = cast("Any", cls)(**{name: part(parts, name) for name in _field_names(cls)})
        return stage

    def is_same(self, other: Stage) -> bool:
        """Whether another stage is of the same kind and has equal parts."""
        if type(self) is not type(other) or self.parameters() != other.parameters():
            return False
        ours, theirs = self.arrays(), other.arrays()
        return ours.keys() == theirs.keys() and all(np.array_equal(ours[name], theirs[name]) for name in ours)

    def _parts(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _field_names(type(self))}


def part(parts: Mapping[str, Any], name: str) -> Any:
    """Take a part of a stage out of a file's.

    Raises:
        OnelayerError: If it is missing.
    """
    if name not in parts:
        raise OnelayerError(f"there is no {name}", expected="every field of the stage")
    return parts[name]


def parts_of(name: str, parts: Mapping[str, T]) -> dict[str, T]:
    """Take the parts of one field, ``rows.starts`` and the like, out of a file's, by their names within the field."""
    prefix = f"{name}."
    return {full.removeprefix(prefix): value for full, value in parts.items() if full.startswith(prefix)}


def _field_names(kind: type) -> list[str]:
    return [field.name for field in dataclasses.fields(cast("Any", kind)) if field.init]


@dataclass(frozen=True)
class Cost:
    """The cost of one image.

    Args:
        multiplications: Multiplications by weights of the kernel's bands, padding of the bands included. Weights that
            only select samples (a crop, a flip, a channel swap) multiply nothing.
        samples: Numbers read from and written to memory: the input, the output, and the bias where it is an image.
    """

    multiplications: int
    samples: int

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.multiplications + other.multiplications, self.samples + other.samples)

    @property
    def total(self) -> int:
        """Multiplications and samples, in units of one multiplication."""
        return self.multiplications + MULTIPLICATIONS_PER_SAMPLE * self.samples


@dataclass(frozen=True, eq=False)
class WindowWeights:
    """Weights of one output value on a window of an image; those outside of it are zero.

    Args:
        weights: float64 [C, h, w].
        top: Row of the image that the window's first row is.
        left: Column of the image that the window's first column is.
        offset: Number that is added to the weighted sum.
    """

    weights: FloatArray
    top: int
    left: int
    offset: float

    @property
    def place(self) -> tuple[slice, slice]:
        """The rows and columns of the image that it covers."""
        _, height, width = self.weights.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)

    def trimmed(self) -> WindowWeights:
        """Cut off rows and columns of zeros around it; one pixel is left where all are zero."""
        read = (self.weights != 0.0).any(axis=0)
        (top, bottom), (left, right) = (ends(np.flatnonzero(read.any(axis=axis))) for axis in (1, 0))
        weights = self.weights[:, top:bottom, left:right]
        return WindowWeights(weights, self.top + top, self.left + left, self.offset)


def ends(places: NDArray[np.signedinteger]) -> tuple[int, int]:
    """Find the first of these places and what is behind the last; 0 and 1 where there is none."""
    return (int(places.min()), int(places.max()) + 1) if len(places) else (0, 1)


class Operator(Stage):
    """An affine map from images [..., C, H, W] to images [..., C', H', W'], float64."""

    in_shape: Shape
    """Channels, height and width of the input."""
    out_shape: Shape
    """Channels, height and width of the output."""

    @property
    def cost(self) -> Cost:
        """Cost of one image, computed in the cheapest order; that of a dense matrix unless more is known."""
        inputs, outputs = samples_of(self.in_shape), samples_of(self.out_shape)
        return Cost(inputs * outputs, inputs + outputs)

    @property
    def bias_samples(self) -> int:
        """Numbers of the bias that are read from memory: all where it is an image, or else none."""
        return 0

    @property
    def rounds_sums(self) -> bool:
        """Whether :meth:`apply` rounds its sums to less than float64, so that it is affine up to rounding only."""
        return False

    @abstractmethod
    def apply_transposed(self, y: ArrayLike) -> FloatArray:
        """Apply the adjoint of the linear part (without the bias): [..., C', H', W'] to [..., C, H, W].

        Raises:
            OnelayerError: If the last three dimensions are not :attr:`out_shape`.
        """

    def to_dense(self) -> Dense:
        """Multiply out the same map as one matrix.

        Raises:
            TooLargeError: If that matrix has more than 50 million weights.
        """
        # Dense is an operator itself.
        from onelayer.algebra.dense import Dense, refuse_too_large

        refuse_too_large(self.in_shape, self.out_shape)
        weight = np.concatenate([self.weight_rows(outputs) for outputs in blocks_of_outputs(self)])
        return Dense(weight.reshape(len(weight), -1), self.offset().ravel(), self.in_shape, self.out_shape)

    def offset(self) -> FloatArray:
        """Compute what is added to the linear part, [C', H', W']: the output for an image of zeros."""
        return self.apply(np.zeros(self.in_shape))

    def weight_rows(self, outputs: IntArray) -> FloatArray:
        """Find the weights that some output samples have on the input.

        Args:
            outputs: Indices into the flattened output, int64 [n].

        Returns:
            float64 [n, C, H, W].
        """
        units = np.zeros((len(outputs), samples_of(self.out_shape)))
        units[np.arange(len(outputs)), outputs] = 1.0
        return self.apply_transposed(units.reshape(len(outputs), *self.out_shape))

    def output_range(self, input_range: Range) -> Range:
        """Find the smallest and the largest value of each output channel, exact up to float64 rounding.

        Args:
            input_range: Range of the input; every sample may take every value in it.

        Raises:
            OnelayerError: If the range has another number of channels.
        """
        refuse_other_channels(input_range, self)
        return self._output_range(input_range)

    def _output_range(self, input_range: Range) -> Range:
        ends = [extremes(self.weight_rows(outputs), input_range) for outputs in blocks_of_outputs(self)]
        low, high = (np.concatenate(end).reshape(self.out_shape) + self.offset() for end in zip(*ends, strict=True))
        return Range(low.min(axis=(1, 2)), high.max(axis=(1, 2)))

    def with_weights(self, change: Callable[[FloatArray], FloatArray]) -> Operator:
        """Make the operator whose weights and biases are changed one by one: rounded, or made absolute.

        Args:
            change: Function of every number by itself, which keeps 0 and 1 as they are.
        """
        return self.to_dense().with_weights(change)

    def rescaled(self, factors: FloatArray, bias: FloatArray) -> Operator:
        """Make the operator whose linear part is multiplied by a factor per channel, with another bias.

        Args:
            factors: Factors of the output channels, [C'].
            bias: Bias in units of the result, [C'] or [C', H', W'].
        """
        return self.to_dense().rescaled(factors, bias)

    @property
    def roundings(self) -> int:
        """Rounded operations on the way of any term to its output in floating point; a copy takes none."""
        return self.to_dense().roundings

    def read_by(self, window: WindowWeights) -> WindowWeights:
        """Follow weights on the output back to the input.

        Args:
            window: Weights on a part of the output.

        Returns:
            The weights that the same sum has on the input.
        """
        whole = np.zeros(self.out_shape)
        whole[:, *window.place] = window.weights
        offset = window.offset + float((whole * self.offset()).sum())
        return WindowWeights(self.apply_transposed(whole), 0, 0, offset)

    def split_selection(self) -> tuple[Separable, Operator] | None:
        """Take a selection of samples out of its front, so that what runs before it computes no more than is needed.

        Returns:
            Two operators whose product is this one; the first only copies samples, and no more than there are. None
            where the first would be the identity.
        """
        return None


def blocks_of_outputs(operator: Operator) -> Iterator[IntArray]:
    """Divide the indices of an operator's output samples into blocks whose weight rows fit into memory."""
    outputs = samples_of(operator.out_shape)
    at_a_time = max(1, _SAMPLES_PER_BLOCK // (samples_of(operator.in_shape) + outputs))
    for begin in range(0, outputs, at_a_time):
        yield np.arange(begin, min(begin + at_a_time, outputs))


def extremes(weights: FloatArray, input_range: Range) -> tuple[FloatArray, FloatArray]:
    """Find the smallest and the largest weighted sum over all images within a range.

    Args:
        weights: float64 [n, C, H, W].
        input_range: Range of the images.

    Returns:
        Two float64 arrays [n].
    """
    positive, negative = np.maximum(weights, 0.0).sum(axis=(2, 3)), np.minimum(weights, 0.0).sum(axis=(2, 3))
    low, high = input_range.low, input_range.high
    return positive @ low + negative @ high, positive @ high + negative @ low


def refuse_other_channels(input_range: Range, operator: Operator) -> None:
    """Raise OnelayerError if a range has another number of channels than an operator's input."""
    channels = operator.in_shape[0]
    if len(input_range.low) != channels:
        raise OnelayerError(
            f"a range of {len(input_range.low)} channels was given", expected=f"{channels}, as the operator has"
        )


def as_images(x: ArrayLike, shape: Shape) -> FloatArray:
    """Convert images to float64 [..., *shape].

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
    """Count the numbers of an image of this shape."""
    channels, height, width = shape
    return channels * height * width
