"""Weighted sums as PyTorch computes them in float32, rounding for rounding.

PyTorch's sums follow no rule of the language: its compiler decides which products are rounded before they are added and
which are added in one step (a fused multiply-add, FMA). What it decided is data here, see :class:`Float32Sum`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onelayer.algebra.axis import AxisMap
from onelayer.algebra.dense import Dense
from onelayer.algebra.operator import Cost, FloatArray, IntArray, Operator, Shape, as_images, samples_of
from onelayer.algebra.separable import Separable
from onelayer.errors import OnelayerError

Float32Array = NDArray[np.float32]


@final
@dataclass(frozen=True, eq=False)
class Taps:
    """What each output sample of an axis adds up, in order: ``weights[i, k] · x[starts[i] + k]`` for k < counts[i].

    Unlike those of an :class:`~onelayer.algebra.axis.AxisMap` they are never trimmed: a product with zero takes its
    turn, and turns decide what is rounded.

    Args:
        n_in: Length of the input axis.
        starts: int64 [n_out].
        counts: int64 [n_out], at least 1.
        weights: float32 [n_out, K]; nobody looks at those from ``counts`` on.

    Raises:
        OnelayerError: If the arrays do not fit together, a weight is not finite or a read is out of bounds.
    """

    n_in: int
    starts: IntArray
    counts: IntArray
    weights: Float32Array

    def __post_init__(self) -> None:
        starts, counts = (np.array(numbers, dtype=np.int64) for numbers in (self.starts, self.counts))
        weights = np.array(self.weights, dtype=np.float32, order="C")
        fits = starts.ndim == 1 and starts.shape == counts.shape and weights.ndim == 2 and len(weights) == len(starts)
        if not fits or weights.size == 0 or not np.isfinite(weights).all():
            raise OnelayerError(
                f"starts {starts.shape}, counts {counts.shape} and weights {weights.shape} were given",
                expected="[n_out], [n_out] and finite [n_out, K], none of them empty",
            )
        within = counts.min() >= 1 and counts.max() <= weights.shape[1]
        if not within or starts.min() < 0 or (starts + counts).max() > self.n_in:
            raise OnelayerError("taps reach beyond the axis or the weights", expected=f"reads within {self.n_in}")
        for name, array in (("starts", starts), ("counts", counts), ("weights", weights)):
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    @property
    def n_out(self) -> int:
        """Length of the output axis."""
        return len(self.starts)

    @cached_property
    def axis(self) -> AxisMap:
        """The same weights for real arithmetic."""
        places = np.arange(self.weights.shape[1])
        inside = places < self.counts[:, None]
        reads = np.where(inside, self.starts[:, None] + places, self.starts[:, None])
        return AxisMap.from_taps(self.n_in, reads, np.where(inside, self.weights, 0.0))

    @property
    def window(self) -> tuple[int, int]:
        """Start and length of the part of the input axis that is read."""
        first = int(self.starts.min())
        return first, int((self.starts + self.counts).max()) - first

    def selected(self, outputs: IntArray) -> Taps:
        """Those of some of the outputs."""
        return Taps(self.n_in, self.starts[outputs], self.counts[outputs], self.weights[outputs])

    def within_window(self) -> Taps:
        """The same taps of an axis that is no more than :attr:`window`."""
        first, length = self.window
        return replace(self, n_in=length, starts=self.starts - first)


Factor = AxisMap | Taps


@final
@dataclass(frozen=True, eq=False)
class Float32Sum(Operator):
    """Sums along one axis in float32; along the other two, values are copied.

    The first product is rounded. Of those that follow, as many whole groups of ``apart`` as there are are rounded too,
    each before it is added; what is left is added in one step, with one rounding. So 0 rounds no product but the first
    by itself, and 1 rounds them all. (A compiler that handles four products at once, and the rest one by one with FMA,
    makes 4 of it.)

    Args:
        channel: What becomes of the channels.
        rows: Of the vertical axis.
        cols: Of the horizontal one. One of the three is ``Taps``, two are selections.
        apart: Products that are rounded together, at least 0.

    Raises:
        OnelayerError: If not exactly one of the three is a sum, or one of the others does more than copy.
    """

    channel: Factor
    rows: Factor
    cols: Factor
    apart: int
    in_shape: Shape = field(init=False)
    out_shape: Shape = field(init=False)

    def __post_init__(self) -> None:
        copying = [factor for factor in self.factors if isinstance(factor, AxisMap)]
        if len(copying) != 2 or not all(factor.is_selection for factor in copying) or self.apart < 0:
            raise OnelayerError("sums along one axis were asked for", expected="one Taps, two selections, apart ≥ 0")
        for name, lengths in (
            ("in_shape", [factor.n_in for factor in self.factors]),
            ("out_shape", [factor.n_out for factor in self.factors]),
        ):
            object.__setattr__(self, name, tuple(lengths))

    @property
    def factors(self) -> tuple[Factor, Factor, Factor]:
        """All three."""
        return self.channel, self.rows, self.cols

    @property
    def taps(self) -> Taps:
        """The one that adds up."""
        return next(factor for factor in self.factors if isinstance(factor, Taps))

    @cached_property
    def real(self) -> Separable:
        """The same weights in real arithmetic."""
        channel, rows, cols = (factor.axis if isinstance(factor, Taps) else factor for factor in self.factors)
        return Separable(channel.to_dense(), rows, cols, np.zeros(channel.n_out))

    @property
    def cost(self) -> Cost:
        """As many multiplications as there are taps."""
        height, width = self.out_shape[1:]
        each = {0: height * width, 1: self.out_shape[0] * width, 2: self.out_shape[0] * height}
        along = next(place for place, factor in enumerate(self.factors) if isinstance(factor, Taps))
        samples = samples_of(self.in_shape) + samples_of(self.out_shape)
        return Cost(int(self.taps.counts.sum()) * each[along], samples)

    @property
    def is_identity(self) -> bool:
        """Never: it rounds to float32."""
        return False

    def chosen(self, rows: AxisMap, cols: AxisMap) -> Float32Sum:
        """Only some of the outputs.

        Args:
            rows: Which rows; copies samples.
            cols: Likewise.
        """
        return replace(self, rows=_chosen(self.rows, rows), cols=_chosen(self.cols, cols))

    def apply(self, x: ArrayLike) -> FloatArray:
        """Images [..., C, H, W] of float32 values to float64 [..., C', H', W'] of float32 values."""
        images = as_images(x, self.in_shape).astype(np.float32)
        for dim, factor in zip((-3, -2, -1), self.factors, strict=True):
            if isinstance(factor, AxisMap):
                images = np.take(images, factor.starts, axis=dim)
        for dim, factor in zip((-3, -2, -1), self.factors, strict=True):
            if isinstance(factor, Taps):
                images = np.moveaxis(_added(np.moveaxis(images, dim, -1), factor, self.apart), -1, dim)
        return images.astype(np.float64)

    def apply_transposed(self, y: ArrayLike) -> FloatArray:
        """The adjoint in real arithmetic."""
        return self.real.apply_transposed(y)

    def to_dense(self) -> Dense:
        """The weights in real arithmetic."""
        return self.real.to_dense()


def _chosen(factor: Factor, selection: AxisMap) -> Factor:
    return factor.selected(selection.starts) if isinstance(factor, Taps) else selection @ factor


def _added(lines: Float32Array, taps: Taps, apart: int) -> Float32Array:
    """Lines [..., n_in] to [..., n_out]."""
    sums = lines[..., taps.starts] * taps.weights[:, 0]
    # From which tap on there are no whole groups left.
    fused_from = 1 + (taps.counts - 1) // apart * apart if apart else np.ones_like(taps.counts)
    for k in range(1, int(taps.counts.max())):
        here = taps.counts > k
        values, weights = lines[..., taps.starts[here] + k], taps.weights[here, k]
        before = sums[..., here]
        sums[..., here] = np.where(
            k >= fused_from[here], multiplied_and_added(values, weights, before), before + values * weights
        )
    return sums


def multiplied_and_added(x: Float32Array, y: Float32Array, z: Float32Array) -> Float32Array:
    """``x · y + z`` in float32 with one rounding, as an FMA has it.

    The product of two float32 is exact in float64. Their sum is rounded there to odd, which keeps the second rounding,
    to float32, from going wrong (Boldo and Melquiond, *Emulation of FMA and correctly rounded sums*, 2008). For finite
    numbers that do not underflow.
    """
    product, addend = x.astype(np.float64) * y, z.astype(np.float64)
    product, addend = np.broadcast_arrays(product, addend)
    total = product + addend
    # What the sum lost (Knuth's TwoSum), exact.
    part = total - product
    lost = (product - (total - part)) + (addend - part)
    bits = total.view(np.int64)
    even = (bits & 1) == 0
    # Away from zero where what was lost points there, or else towards it: either way the last bit becomes odd.
    step = np.where((lost > 0) == (total > 0), 1, -1)
    odd = np.where((lost != 0) & even, bits + step, bits).view(np.float64)
    return odd.astype(np.float32)
