"""The result of ``recognise()``: the structure of a learned layer, and its distance from the learned weights."""

from __future__ import annotations

import io
from dataclasses import dataclass
from itertools import combinations
from typing import final

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from onelayer.algebra import Dense, Operator, Program, Range, Separable, difference_range, simplify
from onelayer.algebra.operator import FloatArray, Shape
from onelayer.frontends import ImageSpec, PixelType
from onelayer.layer import OneLayer
from onelayer.programs import Output, Outputs, SavedPrograms

_WIDTH = 100
"""Width of the text form in characters."""
_ANY_FLOAT = 1e30
_DTYPES: tuple[PixelType, ...] = ("float32", "float64")
_ROWS_AT_A_TIME = 256


@final
@dataclass(frozen=True)
class Names:
    """Names of the factors; ``fitted: …`` where no known map is near enough.

    Args:
        rows: Name of the map of the vertical axis.
        cols: Name of the map of the horizontal axis.
        channels: Name of the mixing of channels.
        offset: Name of the offset.
    """

    rows: str
    cols: str
    channels: str
    offset: str


@final
@dataclass(frozen=True)
class Residual:
    """Difference of the learned weights from the recognised ones.

    Args:
        largest: Largest difference of two weights.
        rms: Root mean squared difference, over all weights.
        output: Channel, row and column of the output with the largest difference.
        input: Channel, row and column of the input that it weighs.
        on_images: Root mean squared difference of the outputs on images, in units of the output, by their covariance
            and mean; None where these are not known.
    """

    largest: float
    rms: float
    output: Shape
    input: Shape
    on_images: float | None


@final
@dataclass(frozen=True, eq=False, repr=False)
class Recognised:
    """A learned layer as channel ⊗ rows ⊗ cols.

    Attributes:
        operator: The operator, with the exact taps of known maps, and fitted taps where a factor is no known map.
        names: Names of its factors.
        snapped: Factors with exact taps: of ``rows``, ``cols``, ``channels``.
        noise: Standard deviation of the weights of each output, float64 [C', H', W'].
        sparsity: Fraction of the learned weights that do not stand out of the noise, 0 … 1.
        singular_values: Largest singular values of the learned weights, arranged as [H'·H, C'·C·W'·W]: the first stands
            out if they are a Kronecker product.
        share: Fraction of the energy above the noise, or of the energy on images if their covariance is known, that is
            in a single Kronecker product; 0 … 1.
        residual: Difference of the learned weights from the recognised ones.
    """

    operator: Separable
    names: Names
    snapped: tuple[str, ...]
    noise: FloatArray
    sparsity: float
    singular_values: FloatArray
    share: float
    residual: Residual

    def layer(self) -> OneLayer:
        """Make a layer that runs the operator on the fused kernels, for float32 or float64 tensors [..., C, H, W]."""
        programs = {}
        program = Program(self.operator.in_shape, (self.operator,))
        any_value = Range.of(self.operator.in_shape[0], -_ANY_FLOAT, _ANY_FLOAT)
        for dtype in _DTYPES:
            spec = ImageSpec(self.operator.in_shape, dtype, "tensor")
            output_spec = ImageSpec(self.operator.out_shape, dtype, "tensor")
            programs[spec] = Outputs((Output(simplify(program, any_value), output_spec),), "one")
        return OneLayer(SavedPrograms(programs, "recognised"))

    def to_text(self) -> str:
        """Return the table as plain text."""
        console = Console(file=io.StringIO(), width=_WIDTH, color_system=None, legacy_windows=False)
        with console.capture() as capture:
            console.print(self)
        return "\n".join(line.rstrip() for line in capture.get().rstrip().splitlines())

    def __rich__(self) -> Table:
        table = Table(title="Recognised", box=box.SIMPLE_HEAD, show_header=False)
        table.add_column(no_wrap=True)
        table.add_column()
        into, out = ("×".join(map(str, shape)) for shape in (self.operator.in_shape, self.operator.out_shape))
        table.add_row("shape", f"{into} → {out}" + (", height and width swapped first" * self.operator.transpose))
        for name in ("rows", "cols", "channels", "offset"):
            table.add_row(name, getattr(self.names, name))
        table.add_row("noise of the weights", f"{float(np.median(self.noise)):.2g}")
        table.add_row("weights within the noise", f"{self.sparsity:.2%}")
        table.add_row("singular values", ", ".join(f"{value:.4g}" for value in self.singular_values))
        table.add_row("energy in one product", f"{self.share:.6%}")
        output, source = (", ".join(map(str, place)) for place in (self.residual.output, self.residual.input))
        table.add_row("largest difference", f"{self.residual.largest:.2g}, of output ({output}) to input ({source})")
        table.add_row("RMS difference", f"{self.residual.rms:.2g}")
        if self.residual.on_images is not None:
            table.add_row("RMS difference on images", f"{self.residual.on_images:.2g}")
        return table

    __str__ = __repr__ = to_text


def residual_of(
    learned: Dense, operator: Separable, covariance: FloatArray | None, mean: FloatArray | None
) -> Residual:
    """Compare learned weights with an operator.

    Args:
        learned: The learned layer.
        operator: The operator that was recognised in it.
        covariance: Covariance of images, [C·H·W, C·H·W]; None where it is not known.
        mean: Mean of images, [C·H·W]; None where it is not known.
    """
    recognised = operator.to_dense()
    difference = learned.weight - recognised.weight
    at, of = np.unravel_index(int(np.abs(difference).argmax()), difference.shape)
    on_images = None
    if covariance is not None:
        squared = float(np.vdot(difference, difference @ covariance))
        if mean is not None:
            apart = learned.bias - recognised.bias + difference @ mean
            squared += float(apart @ apart)
        on_images = float(np.sqrt(max(squared, 0.0) / len(difference)))
    return Residual(
        float(np.abs(difference[at, of])),
        float(np.sqrt(np.mean(difference**2))),
        _place(int(at), learned.out_shape),
        _place(int(of), learned.in_shape),
        on_images,
    )


def _place(index: int, shape: Shape) -> Shape:
    channel, row, col = (int(place) for place in np.unravel_index(index, shape))
    return channel, row, col


def largest_difference(one: Operator, other: Operator, low: float = 0.0, high: float = 1.0) -> float:
    """Compute the largest difference of any output value, over all images with values in a range, in real arithmetic.

    See :func:`onelayer.algebra.difference_range`: some image attains it.

    Args:
        one: A Separable, SpatialSparse or Dense.
        other: Another operator, between images of the same shapes.
        low: Smallest value of an image.
        high: Largest value of an image.

    Returns:
        The difference in units of the output.

    Raises:
        OnelayerError: If shapes differ, or the range is none.
        TooLargeError: If there are too many taps to compare.
    """
    smallest, largest = difference_range(one, other, Range.of(one.in_shape[0], low, high))
    return float(np.maximum(-smallest, largest).max())


def comparison_table(
    learned: Operator, recognised: Operator, true: Operator, low: float = 0.0, high: float = 1.0
) -> Table:
    """Tabulate the differences of a learned layer, the recognised operator and the true one, pair by pair.

    Args:
        learned: The learned layer.
        recognised: The operator that was recognised in it.
        true: The operator of the derived pipeline.
        low: Smallest value of an image.
        high: Largest value of an image. A grey level of the output is 1/255 of the range's length.

    Raises:
        OnelayerError: If shapes differ, or the range is none.
        TooLargeError: If there are too many taps to compare.
    """
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("Difference", no_wrap=True)
    for name in ("Largest\nweight", "RMS\nweight", "Proved bound\n(units)", "Proved bound\n(levels)"):
        table.add_column(name, justify="right", no_wrap=True)
    named = {"learned": learned, "recognised": recognised, "true": true}
    for (first, one), (second, other) in combinations(named.items(), 2):
        largest, rms = _weight_difference(one, other)
        bound = largest_difference(one, other, low, high)
        levels = bound * 255.0 / (high - low) if high > low else 0.0
        table.add_row(f"{first} – {second}", f"{largest:.3g}", f"{rms:.3g}", f"{bound:.3g}", f"{levels:.3g}")
    return table


def _weight_difference(one: Operator, other: Operator) -> tuple[float, float]:
    outputs = int(np.prod(one.out_shape))
    largest, squares, count = 0.0, 0.0, 0
    for begin in range(0, outputs, _ROWS_AT_A_TIME):
        part = np.arange(begin, min(begin + _ROWS_AT_A_TIME, outputs))
        difference = one.weight_rows(part) - other.weight_rows(part)
        largest = max(largest, float(np.abs(difference).max()))
        squares += float((difference**2).sum())
        count += difference.size
    return largest, float(np.sqrt(squares / count))
