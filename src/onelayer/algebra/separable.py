"""Affine maps that work on channels, rows and columns independently of each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import permutations
from typing import Any, Literal, Self, final

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from onelayer.algebra import checks
from onelayer.algebra.axis import AxisMap
from onelayer.algebra.channels import ChannelMap, bias_image, settled_bias
from onelayer.algebra.checks import FloatArray, IntArray
from onelayer.algebra.operator import ROUNDING, Arrays, Cost, Footprint, Operator, Shape, part, parts_of, samples_of
from onelayer.algebra.spatial import SpatialOperator
from onelayer.memory_limits import refuse_impossible

FactorName = Literal["channel", "rows", "cols"]

# Among orders of equal cost the first wins: along the columns' axis memory is contiguous.
_ORDERS: tuple[tuple[FactorName, ...], ...] = tuple(permutations(("cols", "rows", "channel")))


@final
@dataclass(frozen=True, eq=False)
class Separable(SpatialOperator, kind="separable"):
    """``y = channel · (rows ⊗ cols) · x + bias``, where ``transpose`` swaps height and width of x first.

    The three factors commute, so a kernel may take them in any order; :attr:`order` is the cheapest.

    Args:
        channel: Mixing of channels; a matrix [C', C] will do.
        rows: Map of the vertical axis (of the transposed image, if ``transpose``).
        cols: Map of the horizontal axis (of the transposed image, if ``transpose``).
        bias: float64 [C'], or an image [C', H', W']; an image that is constant in each channel becomes [C'].
        transpose: Whether height and width are swapped first, which rotation by a right angle needs besides flips.

    Raises:
        OnelayerError: If the channel matrix or the bias has another shape or is not finite.
    """

    channel: ChannelMap
    rows: AxisMap
    cols: AxisMap
    bias: FloatArray
    transpose: bool = False
    in_shape: Shape = field(init=False)
    out_shape: Shape = field(init=False)

    def __post_init__(self) -> None:
        channel, transpose = ChannelMap.of(self.channel), checks.truth("transpose", self.transpose)
        height, width = self.rows.n_in, self.cols.n_in
        if transpose:
            height, width = width, height
        out_shape = (channel.n_out, self.rows.n_out, self.cols.n_out)
        object.__setattr__(self, "channel", channel)
        object.__setattr__(self, "transpose", transpose)
        object.__setattr__(self, "in_shape", (channel.n_in, height, width))
        object.__setattr__(self, "out_shape", out_shape)
        object.__setattr__(self, "bias", settled_bias(self.bias, out_shape))

    @classmethod
    def identity(cls, shape: Shape) -> Self:
        """Make the operator that changes nothing."""
        channels, height, width = shape
        return cls.of_axes(channels, AxisMap.identity(height), AxisMap.identity(width))

    @classmethod
    def of_axes(cls, channels: int, rows: AxisMap, cols: AxisMap, transpose: bool = False) -> Self:
        """Apply the same maps of the axes to every channel, without a bias."""
        return cls(ChannelMap.identity(channels), rows, cols, np.zeros(channels), transpose)

    @classmethod
    def of_channels(cls, channel: ChannelMap | ArrayLike, bias: ArrayLike, size: tuple[int, int]) -> Self:
        """Compute ``channel · x + bias`` at every pixel of images of this height and width.

        Args:
            channel: Mixing matrix [C', C].
            bias: Offsets [C'].
            size: Height and width.
        """
        height, width = size
        identities = AxisMap.identity(height), AxisMap.identity(width)
        return cls(ChannelMap.of(channel), *identities, np.asarray(bias))

    def with_fill(self, fill: ArrayLike) -> Self:
        """Add ``fill`` in place of what zero padding leaves out of a weighted sum.

        Args:
            fill: One number, or one per output channel, in the unit of the output.
        """
        refuse_impossible("a fill", self.out_shape, np.dtype(np.float64).itemsize)
        fills = np.broadcast_to(np.asarray(fill, dtype=np.float64), self.out_shape[:1])
        missing = 1.0 - np.outer(self.rows.row_sums, self.cols.row_sums)
        # Normalised weights add up to one but for their rounding, which is nothing that is missing.
        missing[np.abs(missing) <= ROUNDING] = 0.0
        bias = bias_image(self.bias) + fills[:, None, None] * missing
        return type(self)(self.channel, self.rows, self.cols, bias, self.transpose)

    @cached_property
    def gain(self) -> float | None:
        """The factor that constant images are multiplied by in space; None where it depends on the place."""
        if self.rows.gain is None or self.cols.gain is None:
            return None
        return self.rows.gain * self.cols.gain

    @cached_property
    def order(self) -> tuple[FactorName, ...]:
        """The order of the three factors that takes the fewest multiplications.

        Found with the spans of the axes, which cost little to know and are all but equal to what is read.
        """
        read = self.channel.reads, self.rows.span, self.cols.span
        return min(_ORDERS, key=lambda order: self._multiplications(order, read))

    @cached_property
    def cost(self) -> Cost:
        """Multiplications in :attr:`order`; values between the factors count as staying in the cache.

        Channels, rows and columns of the input that no output depends on are neither read nor computed with.
        """
        channels, height, width = read = self.channel.reads, self.rows.reads, self.cols.reads
        samples = channels * height * width + samples_of(self.out_shape) + self.bias_samples
        return Cost(self._multiplications(self.order, read), samples)

    def _multiplications(self, order: tuple[FactorName, ...], read: Shape) -> int:
        channels, height, width = read
        count = 0
        for factor in order:
            match factor:
                case "channel":
                    count += self.channel.multiplications * height * width
                    channels = self.out_shape[0]
                case "rows":
                    count += self.rows.multiplications * channels * width
                    height = self.out_shape[1]
                case "cols":
                    count += self.cols.multiplications * channels * height
                    width = self.out_shape[2]
        return count

    @property
    def keeps_pixels(self) -> bool:
        """Whether every pixel stays where it is."""
        return self.rows.is_identity and self.cols.is_identity and not self.transpose

    @cached_property
    def is_identity(self) -> bool:
        """Whether all three factors are identities, nothing is transposed and the bias is zero."""
        return self.keeps_pixels and self.channel.is_identity and not self.bias.any()

    @cached_property
    def is_scale(self) -> bool:
        """Whether it only multiplies each channel by a number and adds one."""
        return self.keeps_pixels and self.channel.is_diagonal and self.bias.ndim == 1

    @cached_property
    def is_choice(self) -> bool:
        """Whether every output value is a copy of an input value, and there are no more of them along any axis."""
        axes = self.rows, self.cols
        return (
            all(axis.is_selection and axis.n_out <= axis.n_in for axis in axes)
            and self.channel.is_identity
            and not self.bias.any()
        )

    @property
    def copies_values(self) -> bool:
        """Whether every output value is an input value or a constant."""
        return self.channel.copies_values and self.rows.copies_values and self.cols.copies_values

    @property
    def keeps_integers(self) -> bool:
        """Whether all weights and the bias are integers."""
        factors = self.channel, self.rows, self.cols
        return all(factor.keeps_integers for factor in factors) and np.array_equal(self.bias, np.rint(self.bias))

    @property
    def footprint(self) -> Footprint:
        """Rows and columns of the band that an output value reads."""
        rows, cols = self.rows.taps, self.cols.taps
        return (cols, rows) if self.transpose else (rows, cols)

    @property
    def pixel_description(self) -> str:
        """Description of what happens to pixels, for people; empty if they stay."""
        return ", ".join(
            filter(None, ["swap rows and cols" if self.transpose else "", _description(self.rows, self.cols)])
        )

    @property
    def pixel_roundings(self) -> int:
        """Rounded operations on the way of any pixel to an output pixel; a copy takes none."""
        return self.rows.roundings + self.cols.roundings

    @property
    def taps_per_row(self) -> IntArray:
        """Taps of each row of the output, padding of the bands included, int64 [H']."""
        taps = self.rows.taps * self.cols.taps * self.cols.n_out
        return np.full(self.rows.n_out, taps, dtype=np.int64)

    def pixel_matrix(self, first: int = 0, last: int | None = None) -> Any:
        """Write the taps of the output's rows ``first`` … ``last`` − 1 as a ``csr_array`` [rows·W', H·W]."""
        _, height, width = self.in_shape
        rows, cols = self.rows, self.cols
        chosen = slice(first, last)
        down = rows.starts[chosen, None] + np.arange(rows.taps)
        along = cols.starts[:, None] + np.arange(cols.taps)
        # Axes of the four: output row, output column, and the two bands, the one along the input's columns last.
        if self.transpose:
            places = along[None, :, :, None] * width + down[:, None, None, :]
            weights: FloatArray = cols.weights[None, :, :, None] * rows.weights[chosen, None, None, :]
        else:
            places = down[:, None, :, None] * width + along[None, :, None, :]
            weights = rows.weights[chosen, None, :, None] * cols.weights[None, :, None, :]
        pixels, taps = places.shape[0] * places.shape[1], rows.taps * cols.taps
        pointers = np.arange(pixels + 1) * taps
        matrix = scipy.sparse.csr_array((weights.ravel(), places.ravel(), pointers), shape=(pixels, height * width))
        matrix.eliminate_zeros()
        return matrix

    def apply_to_pixels(self, x: FloatArray) -> FloatArray:
        """Apply the map of pixels alone: [..., H, W] to [..., H', W']."""
        turned = x.swapaxes(-1, -2) if self.transpose else x
        return self.cols.apply(self.rows.apply(turned, axis=-2), axis=-1)

    def apply_to_pixels_transposed(self, y: FloatArray) -> FloatArray:
        """Apply the adjoint of the map of pixels alone: [..., H', W'] to [..., H, W]."""
        images = self.rows.apply_transposed(self.cols.apply_transposed(y, axis=-1), axis=-2)
        return images.swapaxes(-1, -2) if self.transpose else images

    def pixels_of(self, row: IntArray, col: IntArray) -> FloatArray:
        """Find the weights that the output pixels at these rows and columns, [n] each, have on pixels, [n, H, W]."""
        rows, cols = (axis.to_sparse()[places].toarray() for axis, places in ((self.rows, row), (self.cols, col)))
        weights: FloatArray = rows[:, :, None] * cols[:, None, :]
        return weights.swapaxes(1, 2) if self.transpose else weights

    def pixels_read_by(self, weights: FloatArray, rows: slice, cols: slice) -> tuple[FloatArray, int, int]:
        """Follow weights [C, h, w] on a part of the output back to the input, without mixing channels."""
        top, down = self.rows.read_by(rows)
        left, along = self.cols.read_by(cols)
        spread = np.zeros((len(weights), down.shape[1], along.shape[1]))
        for values, own in zip(spread, weights, strict=True):
            # Zeros that are never written take no memory, and most outputs read one channel only.
            if own.any():
                np.matmul(down.T @ own, along, out=values)
        return (spread.swapaxes(1, 2), left, top) if self.transpose else (spread, top, left)

    def pixel_sums(self) -> tuple[FloatArray, FloatArray]:
        """Add up the positive and the negative weights of the output pixels that can be extreme, both [pixels]."""
        sums_of = _signed_sums if self.bias.ndim == 3 else _extreme_sums
        (rows_plus, rows_minus), (cols_plus, cols_minus) = sums_of(self.rows), sums_of(self.cols)
        positive = np.outer(rows_plus, cols_plus) + np.outer(rows_minus, cols_minus)
        negative = np.outer(rows_plus, cols_minus) + np.outer(rows_minus, cols_plus)
        return positive.ravel(), negative.ravel()

    def _pixels_with_weights(self, change: Callable[[FloatArray], FloatArray]) -> dict[str, Any]:
        return {"rows": self.rows.with_weights(change), "cols": self.cols.with_weights(change)}

    def split_selection(self) -> tuple[Separable, Operator] | None:
        """Take crops, flips and the transposition out of its front."""
        rows_selection, rows = self.rows.split_selection()
        cols_selection, cols = self.cols.split_selection()
        if rows_selection.is_identity and cols_selection.is_identity and not self.transpose:
            return None
        selection = Separable.of_axes(self.in_shape[0], rows_selection, cols_selection, self.transpose)
        return selection, replace(self, rows=rows, cols=cols, transpose=False)

    def parameters(self) -> dict[str, Any]:
        """Return the parameters that a file holds as JSON."""
        lengths = {f"{name}.n_in": axis.n_in for name, axis in (("rows", self.rows), ("cols", self.cols))}
        return {**lengths, "transpose": self.transpose}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that a file holds."""
        axes = {
            f"{name}.{array}": values
            for name, axis in (("rows", self.rows), ("cols", self.cols))
            for array, values in axis.arrays().items()
        }
        return {"channel": self.channel.matrix, "bias": self.bias, **axes}

    @classmethod
    def from_parts(cls, parameters: Mapping[str, Any], arrays: Arrays) -> Self:
        """Build the operator from what a file holds.

        Raises:
            OnelayerError: If a part is missing or does not fit; the error names the field.
        """

        def axis(name: str) -> AxisMap:
            own = parts_of(name, parameters), parts_of(name, arrays)
            return checks.field(name, lambda: AxisMap.from_parts(*own))

        channel = checks.field("channel", lambda: ChannelMap(part(arrays, "channel")))
        return cls(channel, axis("rows"), axis("cols"), part(arrays, "bias"), part(parameters, "transpose"))


def _description(rows: AxisMap, cols: AxisMap) -> str:
    """Describe what two axis maps do, as a phrase for people; empty for identities."""
    pieces = [
        (axis.verb, name if axis.is_flip else f"{name} {_lengths(axis)}")
        for axis, name in ((rows, "rows"), (cols, "cols"))
        if not axis.is_identity
    ]
    if len(pieces) == 2 and pieces[0][0] == pieces[1][0]:
        before, after = f"{rows.n_in}×{cols.n_in}", f"{rows.n_out}×{cols.n_out}"
        sizes = before if before == after else f"{before} → {after}"
        return f"{pieces[0][0]} {'rows and cols' if rows.is_flip and cols.is_flip else sizes}"
    return ", ".join(f"{verb} {what}" for verb, what in pieces)


def _lengths(axis: AxisMap) -> str:
    return f"{axis.n_in}" if axis.n_in == axis.n_out else f"{axis.n_in}→{axis.n_out}"


def _signed_sums(axis: AxisMap) -> tuple[FloatArray, FloatArray]:
    """Add up the positive and the negative weights of each row, both [n_out]."""
    return np.maximum(axis.weights, 0.0).sum(axis=1), np.minimum(axis.weights, 0.0).sum(axis=1)


def _extreme_sums(axis: AxisMap) -> tuple[FloatArray, FloatArray]:
    """Add up the same, of the rows alone that can be extreme.

    The output is linear in the pair of sums. If all rows have the same total the pairs lie on a line, and its two
    ends are enough.
    """
    positive, negative = _signed_sums(axis)
    if axis.gain is None:
        return positive, negative
    ends = [int(negative.argmin()), int(negative.argmax())]
    return positive[ends], negative[ends]
