"""A program as steps that ONNX's and PyTorch's plain operators can do, each with the constants that it takes.

Values between steps are float32 [..., C, H, W]. Where a program has the original's roundings, every product and sum of
a step stays a whole number over a power of two that float32 holds exactly, whatever the order of a runtime's sums.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import singledispatch
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from onelayer.algebra import (
    AxisMap,
    ChannelMap,
    Clamp,
    Dense,
    Float32Sum,
    FloatOp,
    Gamma,
    Lookup,
    Program,
    Quantize,
    Range,
    Separable,
    SpatialSparse,
    Stage,
    Taps,
)
from onelayer.algebra.activations import Rounding
from onelayer.algebra.checks import IntArray
from onelayer.algebra.fixed_point import whole_weights
from onelayer.backends.portable.digits import Digit, split
from onelayer.errors import OnelayerError
from onelayer.image_spec import RoundingMode

Float32Array = NDArray[np.float32]
AxisName = Literal["rows", "cols"]

BLOCK = 32
"""Output samples of an axis that one matrix product gives; they read a short window of the axis."""

WHOLE = 64 * 64
"""Matrices of at most so many entries are multiplied whole."""


class NotPortableError(OnelayerError):
    """A program that plain operators cannot compute, or not with every rounding of the original."""


@dataclass(frozen=True, eq=False)
class Take:
    """Copy samples of an axis.

    Args:
        axis: The axis.
        places: Samples that are copied, int64 [n_out].
    """

    axis: AxisName
    places: IntArray

    @property
    def run(self) -> tuple[int, int, int] | None:
        """Start, end and step of a slice that copies the same; the end of a reversed one may be -1."""
        steps = np.unique(np.diff(self.places))
        first, last = int(self.places[0]), int(self.places[-1])
        if len(self.places) == 1:
            return first, first + 1, 1
        if len(steps) == 1 and steps[0] in (1, -1):
            return first, last + int(steps[0]), int(steps[0])
        return None


@dataclass(frozen=True)
class Swap:
    """Swap rows and columns."""


@dataclass(frozen=True)
class ZeroPad:
    """Put zeros around an axis.

    Args:
        axis: The axis.
        before: Number of samples before it.
        after: Number of samples after it.
    """

    axis: AxisName
    before: int
    after: int


@dataclass(frozen=True, eq=False)
class Frame:
    """Put a value per channel in place of what is not kept.

    Args:
        rows: Whether each row is kept, [H].
        cols: Whether each column is kept, [W]. A pixel is kept where both are.
        values: Values of the frame, float32 [C].
    """

    rows: NDArray[np.bool_]
    cols: NDArray[np.bool_]
    values: Float32Array


@dataclass(frozen=True, eq=False)
class Block:
    """Neighbouring outputs of an axis, and the window that they read.

    Args:
        start: First sample of the window.
        digits: Weights of each digit, float32 [window, outputs].
    """

    start: int
    digits: tuple[Float32Array, ...]

    @property
    def end(self) -> int:
        """Sample behind the window."""
        return self.start + len(self.digits[0])


@dataclass(frozen=True, eq=False)
class Products:
    """Multiply an axis by matrices, block by block, and carry the floors of low digits over to higher ones.

    Args:
        axis: The axis.
        n_in: Its length.
        blocks: Blocks of outputs, in order.
        carries: Factors of the floors of all digits but the last; see :func:`onelayer.backends.portable.digits.split`.
        clip: Bounds of the results, which are rounded half up before; None for sums as they are.
    """

    axis: AxisName
    n_in: int
    blocks: tuple[Block, ...]
    carries: tuple[float, ...] = ()
    clip: tuple[float, float] | None = None


@dataclass(frozen=True, eq=False)
class Mix:
    """Mix channels: sums of float32 products.

    Args:
        matrix: Weights, float32 [C', C].
    """

    matrix: Float32Array


@dataclass(frozen=True, eq=False)
class TakeChannels:
    """Copy channels.

    Args:
        places: Channels that are copied, int64 [C'].
    """

    places: IntArray


@dataclass(frozen=True, eq=False)
class Luma:
    """Add up products of bytes of the channels with float32 weights, as PyTorch rounds them.

    A product that is rounded before it is added comes from a table. One that is added with a single rounding (FMA) is
    in two parts, both exact, whose errors are added in the end; all 16.8 million colors give the same byte.

    Args:
        high: Products of each channel, or their high part, float32 [C, 256].
        low: Low part of the products, zero where they are rounded, float32 [C, 256].
    """

    high: Float32Array
    low: Float32Array


@dataclass(frozen=True, eq=False)
class Multiply:
    """Multiply each channel by a number.

    Args:
        factors: Numbers, float32 [C] or [1].
    """

    factors: Float32Array


@dataclass(frozen=True, eq=False)
class Add:
    """Add a number to each channel, or an image.

    Args:
        values: Numbers, float32 [C] or [1], or an image [C, H, W].
    """

    values: Float32Array


@dataclass(frozen=True)
class Round:
    """Round to whole numbers.

    Args:
        rounding: Direction; ``truncate`` for values of at least zero only.
    """

    rounding: Rounding


@dataclass(frozen=True)
class Clip:
    """Clip values.

    Args:
        low: Lower bound.
        high: Upper bound.
    """

    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Table:
    """Look whole numbers 0 … 255 up.

    Args:
        values: Entries, float32 [256], or [C, 256] with a table per channel.
    """

    values: Float32Array


@dataclass(frozen=True)
class Power:
    """Raise values to a power.

    Args:
        exponent: The exponent.
    """

    exponent: float


@dataclass(frozen=True, eq=False)
class Warp:
    """Add up pixels with weights.

    Args:
        pixels: Pixels of the flattened image, int64 [H'·W', K].
        weights: Their weights, float32 [H'·W', K].
        size: Height and width of the output.
    """

    pixels: IntArray
    weights: Float32Array
    size: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Matrix:
    """Multiply flattened images by a matrix.

    Args:
        weight: float32 [C'·H'·W', C·H·W].
        bias: float32 [C'·H'·W'].
        shape: Channels, height and width of the output.
    """

    weight: Float32Array
    bias: Float32Array
    shape: tuple[int, int, int]


Step = (
    Take
    | Swap
    | ZeroPad
    | Frame
    | Products
    | Mix
    | TakeChannels
    | Luma
    | Multiply
    | Add
    | Round
    | Clip
    | Table
    | Power
    | Warp
    | Matrix
)


def portable_steps(program: Program, input_range: Range, rounding: RoundingMode) -> tuple[Step, ...]:
    """Turn a program into steps.

    Args:
        program: A simplified program.
        input_range: Range of its input.
        rounding: ``exact`` for a program with every rounding of the original, of which no bit may change.

    Raises:
        NotPortableError: If a stage has no plain operators, or none that keep its every bit.
    """
    if rounding == "fused":
        return tuple(step for stage in program.stages for step in real_steps(stage))
    return tuple(_exact(program.stages, input_range))


def _exact(stages: Sequence[Stage], values: Range) -> Iterator[Step]:
    left, are_whole = list(stages), True
    while left:
        stage, following = left.pop(0), (left[0] if left else None)
        rounds = following if isinstance(following, Quantize) and are_whole else None
        if isinstance(stage, Clamp) or (stage.copies_values and isinstance(stage, Separable | SpatialSparse | Lookup)):
            yield from real_steps(stage)
        elif isinstance(stage, Quantize) and are_whole:
            yield Clip(stage.low, stage.high)
        elif rounds is not None and isinstance(stage, Separable | Float32Sum):
            yield from _whole_sums(stage, rounds, values) if isinstance(stage, Separable) else _luma(stage, rounds)
            left.pop(0)
            values = stage.output_range(values)
            stage = rounds
        else:
            raise _not_exact(stage)
        are_whole = are_whole and (isinstance(stage, Quantize) or stage.keeps_integers)
        values = stage.output_range(values)


def _not_exact(stage: Stage) -> NotPortableError:
    sums = "its float32 sums use fused multiply-add, which no runtime's operator does on request"
    return NotPortableError(
        f"{stage.description}: " + (sums if isinstance(stage, Float32Sum) else "its roundings have no plain operators"),
        expected="resizes of PIL images, or v2 resizes of uint8 tensors, if every bit is to be the original's",
        hint="Use rounding='fused' for real arithmetic, or like= a PIL image where the pipeline takes these.",
    )


def _whole_sums(stage: Separable, rounds: Quantize, values: Range) -> Iterator[Step]:
    """State sums of whole numbers with whole weights over a power of two, rounded half up."""
    axes: dict[AxisName, AxisMap] = {"rows": stage.rows, "cols": stage.cols}
    summed = [name for name, axis in axes.items() if not axis.copies_values]
    mixes = not stage.channel.copies_values
    if len(summed) + mixes != 1 or stage.bias.any() or rounds.rounding != "half_up":
        raise _not_exact(stage)
    most = int(np.ceil(max(-values.low.min(), values.high.max())))
    if stage.transpose:
        yield Swap()
    for name, axis in axes.items():
        if name not in summed:
            yield from copies(name, axis)
    if mixes:
        # The bits of its fraction do not matter: a mix of few channels is one digit.
        as_axis = AxisMap(stage.channel.n_in, np.zeros(stage.channel.n_out, dtype=np.int64), stage.channel.matrix)
        digits = _digits(as_axis, most)
        if digits is None or len(digits) > 1:
            raise _not_exact(stage)
        yield Mix(stage.channel.matrix.astype(np.float32))
        yield from real_steps(rounds)
        return
    yield from channel_steps(stage.channel)
    for name in summed:
        axis = axes[name]
        if (digits := _digits(axis, most)) is None:
            raise _not_exact(stage)
        yield replace(products(name, axis, digits), clip=(rounds.low, rounds.high))


def _digits(axis: AxisMap, most: int) -> list[Digit] | None:
    whole = whole_weights(axis)
    return None if whole is None else split(whole[0], whole[1], most)


def products(name: AxisName, axis: AxisMap, digits: Sequence[Digit]) -> Products:
    """Write an axis as blocks of matrices.

    Args:
        name: Name of the axis.
        axis: Its map.
        digits: Digits of its weights.
    """
    size = axis.n_out if axis.n_in * axis.n_out <= WHOLE else BLOCK
    blocks = []
    for first in range(0, axis.n_out, size):
        outputs = slice(first, first + size)
        starts = axis.starts[outputs]
        start = int(starts.min())
        length = int(starts.max()) - start + axis.taps
        places = starts[:, None] - start + np.arange(axis.taps)
        matrices = []
        for digit in digits:
            matrix = np.zeros((len(starts), length))
            np.put_along_axis(matrix, places, digit.weights[outputs], axis=1)
            matrices.append(np.ascontiguousarray(matrix.T, dtype=np.float32))
        blocks.append(Block(start, tuple(matrices)))
    return Products(name, axis.n_in, tuple(blocks), tuple(digit.scale for digit in digits[1:]))


def copies(name: AxisName, axis: AxisMap) -> Iterator[Step]:
    """State what copies samples of an axis, with zeros where it copies none."""
    copied = axis.weights[:, 0] != 0.0
    if not copied.any():
        yield products(name, axis, [Digit(axis.weights, 1.0)])
        return
    first, last = int(copied.argmax()), len(copied) - int(copied[::-1].argmax())
    if not copied[first:last].all():
        yield products(name, axis, [Digit(axis.weights, 1.0)])
        return
    if not AxisMap.select(axis.n_in, axis.starts[first:last]).is_identity:
        yield Take(name, axis.starts[first:last])
    if (first, last) != (0, len(copied)):
        yield ZeroPad(name, first, len(copied) - last)


def channel_steps(channel: ChannelMap) -> Iterator[Step]:
    """State a map of channels in real arithmetic."""
    if channel.is_identity:
        return
    if channel.is_selection:
        yield TakeChannels(channel.sources)
    elif channel.is_diagonal:
        yield Multiply(channel.matrix.diagonal().astype(np.float32))
    else:
        yield Mix(channel.matrix.astype(np.float32))


@singledispatch
def real_steps(stage: Stage) -> Iterator[Step]:
    """State a stage in float32 arithmetic.

    Raises:
        NotPortableError: If it has no plain operators.
    """
    raise NotPortableError(
        f"{stage.description}: there are no plain operators for it",
        expected="resizes, crops, flips, pads, warps, mixes of channels, tables and arithmetic on values",
    )


@real_steps.register
def _(stage: Separable) -> Iterator[Step]:
    if stage.transpose:
        yield Swap()
    lowered: dict[str, Callable[[], Iterator[Step]]] = {
        "rows": lambda: _axis("rows", stage.rows),
        "cols": lambda: _axis("cols", stage.cols),
        "channel": lambda: channel_steps(stage.channel),
    }
    for factor in stage.order:
        yield from lowered[factor]()
    yield from _bias(stage)


def _axis(name: AxisName, axis: AxisMap) -> Iterator[Step]:
    if axis.copies_values:
        yield from copies(name, axis)
    else:
        yield products(name, axis, [Digit(axis.weights, 1.0)])


def _bias(stage: Separable | SpatialSparse) -> Iterator[Step]:
    bias = stage.bias
    if not bias.any():
        return
    if isinstance(stage, Separable) and bias.ndim == 3 and stage.copies_values:
        rows, cols = (axis.weights[:, 0] != 0.0 for axis in (stage.rows, stage.cols))
        kept = np.logical_and.outer(rows, cols)
        values = bias.max(axis=(1, 2)) + bias.min(axis=(1, 2))
        if (np.where(kept, 0.0, values[:, None, None]) == bias).all():
            yield Frame(rows, cols, values.astype(np.float32))
            return
    yield Add(bias.astype(np.float32))


@real_steps.register
def _(stage: SpatialSparse) -> Iterator[Step]:
    matrix = stage.matrix
    counts = np.diff(matrix.indptr)
    taps = max(1, int(counts.max()))
    places = np.arange(taps) < counts[:, None]
    pixels, weights = np.zeros(places.shape, dtype=np.int64), np.zeros(places.shape, dtype=np.float32)
    pixels[places], weights[places] = matrix.indices, matrix.data
    yield Warp(pixels, weights, stage.out_size)
    yield from channel_steps(stage.channel)
    yield from _bias(stage)


@real_steps.register
def _(stage: Dense) -> Iterator[Step]:
    yield Matrix(stage.weight.astype(np.float32), stage.bias.astype(np.float32), stage.out_shape)


@real_steps.register
def _(stage: Clamp) -> Iterator[Step]:
    yield Clip(stage.low, stage.high)


@real_steps.register
def _(stage: Quantize) -> Iterator[Step]:
    # Clipped first where fractions are cut off, so that these are of values of at least zero.
    if stage.rounding == "truncate":
        if stage.low < 0:
            raise NotPortableError(
                f"{stage.description}, to values below zero", expected="fractions cut off to uint8 or uint16"
            )
        yield Clip(stage.low, stage.high)
        yield Round("truncate")
        return
    yield Round(stage.rounding)
    yield Clip(stage.low, stage.high)


@real_steps.register
def _(stage: Lookup) -> Iterator[Step]:
    table = stage.table.astype(np.float32)
    if (table != stage.table).any():
        raise NotPortableError("a table of float64 values", expected="values that float32 holds")
    yield Table(table)


@real_steps.register
def _(stage: Gamma) -> Iterator[Step]:
    yield Power(stage.gamma)
    if stage.gain != 1.0:
        yield Multiply(np.array([stage.gain], dtype=np.float32))


@real_steps.register
def _(stage: FloatOp) -> Iterator[Step]:
    numbers = stage.numbers.astype(np.float32)
    if stage.operation == "subtract":
        yield Add(-numbers)
    else:
        yield Multiply(numbers if stage.operation == "multiply" else (1.0 / stage.numbers).astype(np.float32))


@real_steps.register
def _(stage: Float32Sum) -> Iterator[Step]:
    yield from real_steps(stage.real)


def _luma(stage: Float32Sum, rounds: Quantize) -> Iterator[Step]:
    """State a sum of all channels, the same for each output, of which the fraction is cut off."""
    taps, unfused = stage.channel, stage.unfused
    if not isinstance(taps, Taps) or rounds.rounding != "truncate" or rounds.low < 0 or not _are_alike(taps):
        raise _not_exact(stage)
    assert isinstance(stage.rows, AxisMap)
    assert isinstance(stage.cols, AxisMap)
    yield from copies("rows", stage.rows)
    yield from copies("cols", stage.cols)
    # As in Float32Sum: whole groups of products are rounded before they are added, the rest are not.
    fused_from = 1 + (taps.n_in - 1) // unfused * unfused if unfused else 1
    values = np.arange(256, dtype=np.float64)
    high, low = np.zeros((2, taps.n_in, 256), dtype=np.float32)
    for channel, weight in enumerate(taps.weights[0].astype(np.float64).tolist()):
        mantissa, exponent = np.frexp(weight)
        # Twelve bits, and the rest, which has twelve too: products with bytes are exact.
        coarse = float(np.ldexp(np.rint(mantissa * 4096) / 4096, exponent))
        if channel < fused_from:
            high[channel] = (values * weight).astype(np.float32)
        else:
            high[channel], low[channel] = values * coarse, values * (weight - coarse)
    yield Luma(high, low)
    if taps.n_out > 1:
        yield TakeChannels(np.zeros(taps.n_out, dtype=np.int64))
    yield from real_steps(rounds)


def _are_alike(taps: Taps) -> bool:
    """Whether each output adds up all samples with the same weights."""
    reads_all = (taps.starts == 0) & (taps.counts == taps.n_in)
    return bool(reads_all.all() and (taps.weights == taps.weights[0]).all())
