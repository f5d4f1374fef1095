"""Weighted sums as PyTorch computes them in float32, rounding for rounding.

PyTorch's sums follow no rule of the language: its compiler decides which products are rounded before they are added and
which are added in one step (a fused multiply-add, FMA). What it decided is data here, see :class:`Float32Sum`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, Self, final, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onelayer.algebra import checks
from onelayer.algebra.axis import AxisMap
from onelayer.algebra.channels import ChannelMap
from onelayer.algebra.checks import FloatArray, IntArray
from onelayer.algebra.dense import Dense
from onelayer.algebra.operator import (
    Arrays,
    Cost,
    Footprint,
    Operator,
    Shape,
    WindowWeights,
    as_images,
    part,
    samples_of,
)
from onelayer.algebra.ranges import Range
from onelayer.algebra.separable import FactorName, Separable
from onelayer.errors import OnelayerError
from onelayer.memory_limits import bounded_cache

Float32Array = NDArray[np.float32]

_NAMES: tuple[FactorName, ...] = get_args(FactorName)


@final
@dataclass(frozen=True, eq=False)
class Taps:
    """The products ``weights[i, k] · x[starts[i] + k]``, k < counts[i], that each output sample i adds up, in order.

    Unlike those of an :class:`~onelayer.algebra.axis.AxisMap` they are never trimmed: a product with zero takes its
    turn, and turns decide what is rounded.

    Args:
        n_in: Length of the input axis.
        starts: First sample read by each output sample, int64 [n_out].
        counts: Number of samples that it reads, int64 [n_out], at least 1.
        weights: float32 [n_out, K]; nobody looks at those from ``counts`` on.

    Raises:
        OnelayerError: If the arrays do not fit together, a weight is not finite or a read is out of bounds.
    """

    n_in: int
    starts: IntArray
    counts: IntArray
    weights: Float32Array

    def __post_init__(self) -> None:
        n_in = checks.whole_number("n_in", self.n_in)
        starts = checks.whole_numbers("starts", self.starts, ("n_out",))
        counts = checks.whole_numbers("counts", self.counts, starts.shape)
        with np.errstate(over="ignore"):
            weights = checks.real_numbers("weights", self.weights, (len(starts), "K")).astype(np.float32)
        if not np.isfinite(weights).all():
            raise OnelayerError("weights has a value that is too large for float32", expected="finite float32")
        checks.refuse_outside("counts", counts, 1, weights.shape[1])
        checks.refuse_outside("starts", starts, 0, n_in - 1)
        # Both are small by now, so that their sum is one.
        if int((starts + counts).max()) > n_in:
            raise OnelayerError(f"starts and counts read up to {(starts + counts).max() - 1}", expected=f"below {n_in}")
        weights.setflags(write=False)
        for name, value in (("n_in", n_in), ("starts", starts), ("counts", counts), ("weights", weights)):
            object.__setattr__(self, name, value)

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
        """Keep some of the outputs."""
        return Taps(self.n_in, self.starts[outputs], self.counts[outputs], self.weights[outputs])

    def split_selection(self) -> tuple[AxisMap, Taps]:
        """Split into a crop to the part of the input that is read, and the taps behind it."""
        first, length = self.window
        return AxisMap.crop(self.n_in, first, length), replace(self, n_in=length, starts=self.starts - first)


AxisFactor = AxisMap | Taps


@final
@dataclass(frozen=True, eq=False)
class Float32Sum(Operator, kind="float32 sum"):
    """Sums along one axis in float32; along the other two, values are copied.

    The first product is rounded. Of those that follow, whole groups of ``unfused`` products, as many as there are, are
    rounded too, each product before it is added; what is left is added by fused multiply-add, with one rounding. So 0
    rounds no product but the first by itself, and 1 rounds them all. (A compiler that handles four products at once,
    and the rest one by one with FMA, makes 4 of it.)

    Args:
        channel: Factor of the channels.
        rows: Factor of the vertical axis.
        cols: Factor of the horizontal axis. One of the three is ``Taps``, two are selections.
        unfused: Number of products in a group that is added without fused multiply-add, at least 0.

    Raises:
        OnelayerError: If not exactly one of the three is a sum, or one of the others does more than copy.
    """

    channel: AxisFactor
    rows: AxisFactor
    cols: AxisFactor
    unfused: int
    in_shape: Shape = field(init=False)
    out_shape: Shape = field(init=False)

    def __post_init__(self) -> None:
        copying = [factor for factor in self.factors if isinstance(factor, AxisMap)]
        if len(copying) != 2 or not all(factor.is_selection for factor in copying):
            raise OnelayerError("sums along one axis were asked for", expected="one Taps and two selections")
        object.__setattr__(self, "unfused", checks.whole_number("unfused", self.unfused, least=0))
        object.__setattr__(self, "in_shape", tuple(factor.n_in for factor in self.factors))
        object.__setattr__(self, "out_shape", tuple(factor.n_out for factor in self.factors))

    @property
    def factors(self) -> tuple[AxisFactor, AxisFactor, AxisFactor]:
        """The factors of channels, rows and columns."""
        return self.channel, self.rows, self.cols

    @property
    def taps(self) -> Taps:
        """The factor that adds up."""
        return next(factor for factor in self.factors if isinstance(factor, Taps))

    @property
    def along(self) -> FactorName:
        """The name of the factor that adds up."""
        return next(name for name in _NAMES if isinstance(getattr(self, name), Taps))

    @cached_property
    def real(self) -> Separable:
        """The same weights in real arithmetic."""
        channel, rows, cols = (factor.axis if isinstance(factor, Taps) else factor for factor in self.factors)
        return Separable(ChannelMap(channel.to_dense()), rows, cols, np.zeros(channel.n_out))

    @property
    def cost(self) -> Cost:
        """One multiplication for each tap of each output value."""
        channels, height, width = self.out_shape
        lines = {"channel": height * width, "rows": channels * width, "cols": channels * height}[self.along]
        samples = samples_of(self.in_shape) + samples_of(self.out_shape)
        return Cost(int(self.taps.counts.sum()) * lines, samples)

    @property
    def rounds_sums(self) -> bool:
        """Whether sums are rounded: always, to float32."""
        return True

    @property
    def roundings(self) -> int:
        """Rounded operations on the way of any term to its output: two for each tap."""
        return 2 * int(self.taps.counts.max())

    @property
    def description(self) -> str:
        """Description for people, as a phrase."""
        return f"{self.real.description}, in float32"

    @property
    def footprint(self) -> Footprint:
        """Rows and columns of the band that an output value reads."""
        return self.real.footprint

    def selecting(self, rows: AxisMap, cols: AxisMap) -> Float32Sum:
        """Compute some of the outputs only.

        Args:
            rows: Selection of output rows.
            cols: Selection of output columns.
        """
        return replace(self, rows=_selected(self.rows, rows), cols=_selected(self.cols, cols))

    def apply(self, x: ArrayLike) -> FloatArray:
        """Compute images [..., C, H, W] of float32 values to float64 [..., C', H', W'] of float32 values."""
        images = as_images(x, self.in_shape).astype(np.float32)
        for dim, factor in zip((-3, -2, -1), self.factors, strict=True):
            if isinstance(factor, AxisMap):
                images = np.take(images, factor.starts, axis=dim)
        for dim, factor in zip((-3, -2, -1), self.factors, strict=True):
            if isinstance(factor, Taps):
                images = np.moveaxis(_added(np.moveaxis(images, dim, -1), factor, self.unfused), -1, dim)
        return images.astype(np.float64)

    def apply_transposed(self, y: ArrayLike) -> FloatArray:
        """Apply the adjoint in real arithmetic."""
        return self.real.apply_transposed(y)

    def to_dense(self) -> Dense:
        """Multiply out the weights in real arithmetic."""
        return self.real.to_dense()

    def weight_rows(self, outputs: IntArray) -> FloatArray:
        """Find the weights that some output samples, int64 [n], have on the input, float64 [n, C, H, W]."""
        return self.real.weight_rows(outputs)

    def read_by(self, window: WindowWeights) -> WindowWeights:
        """Follow weights on the output back to the input, in real arithmetic."""
        return self.real.read_by(window)

    def _output_range(self, input_range: Range) -> Range:
        # A safe enclosure: that of real arithmetic, and the bound of two roundings for each tap.
        exact = self.real.output_range(input_range)
        relative = self.roundings * 2.0**-24
        weight = float(np.abs(self.taps.weights).sum(axis=1).max())
        slack = relative / (1 - relative) * weight * float(np.abs([input_range.low, input_range.high]).max())
        return Range(exact.low - slack, exact.high + slack)

    def with_weights(self, change: Callable[[FloatArray], FloatArray]) -> Float32Sum:
        """Make the operator whose weights are changed one by one."""
        weights = change(self.taps.weights.astype(np.float64)).astype(np.float32)
        taps = replace(self.taps, weights=weights)
        channel, rows, cols = (taps if isinstance(factor, Taps) else factor for factor in self.factors)
        return Float32Sum(channel, rows, cols, self.unfused)

    def split_selection(self) -> tuple[Separable, Operator] | None:
        """Take what only copies rows and columns out of its front."""
        rows_selection, rows = self.rows.split_selection()
        cols_selection, cols = self.cols.split_selection()
        if rows_selection.is_identity and cols_selection.is_identity:
            return None
        selection = Separable.of_axes(self.in_shape[0], rows_selection, cols_selection)
        return selection, replace(self, rows=rows, cols=cols)

    def parameters(self) -> dict[str, Any]:
        """Return the parameters that a file holds as JSON."""
        return {"along": self.along, "in_shape": self.in_shape, "unfused": self.unfused}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that a file holds: the taps, and what is copied along the other axes."""
        taps, along = self.taps, self.along
        copied = {f"{name}.starts": getattr(self, name).starts for name in _NAMES if name != along}
        return {"starts": taps.starts, "counts": taps.counts, "weights": taps.weights, **copied}

    @classmethod
    def from_parts(cls, parameters: Mapping[str, Any], arrays: Arrays) -> Self:
        """Build the operator from what a file holds.

        Raises:
            OnelayerError: If a part is missing or does not fit; the error names the field.
        """
        along = checks.option("along", part(parameters, "along"), _NAMES)
        in_shape = checks.lengths("in_shape", part(parameters, "in_shape"), 3)

        def factor(name: FactorName, n_in: int) -> AxisFactor:
            if name == along:
                return Taps(n_in, part(arrays, "starts"), part(arrays, "counts"), part(arrays, "weights"))
            starts = part(arrays, f"{name}.starts")
            return checks.field(name, lambda: AxisMap(n_in, starts, np.ones((np.size(starts), 1))))

        channel, rows, cols = (factor(name, n_in) for name, n_in in zip(_NAMES, in_shape, strict=True))
        return cls(channel, rows, cols, part(parameters, "unfused"))


def _selected(factor: AxisFactor, selection: AxisMap) -> AxisFactor:
    return factor.selected(selection.starts) if isinstance(factor, Taps) else selection @ factor


def _added(lines: Float32Array, taps: Taps, unfused: int) -> Float32Array:
    """Add up lines [..., n_in] to [..., n_out]."""
    sums = lines[..., taps.starts] * taps.weights[:, 0]
    # From which tap on there are no whole groups left.
    fused_from = 1 + (taps.counts - 1) // unfused * unfused if unfused else np.ones_like(taps.counts)
    for k in range(1, int(taps.counts.max())):
        here = taps.counts > k
        values, weights = lines[..., taps.starts[here] + k], taps.weights[here, k]
        before = sums[..., here]
        sums[..., here] = np.where(
            k >= fused_from[here], multiplied_and_added(values, weights, before), before + values * weights
        )
    return sums


def multiplied_and_added(x: Float32Array, y: Float32Array, z: Float32Array) -> Float32Array:
    """Compute ``x · y + z`` in float32 with one rounding, as an FMA has it.

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


_one, _two = np.float32(1), np.float32(2)


def _bilinear(x: Float32Array, fused: bool) -> Float32Array:  # noqa: ARG001 - there is no product in it
    return np.where(x < _one, (1.0 - x.astype(np.float64)).astype(np.float32), np.float32(0))


def _bicubic(x: Float32Array, fused: bool) -> Float32Array:
    a = np.float32(-0.5)

    def add(product: Float32Array, factor: Float32Array, constant: float) -> Float32Array:
        addend = np.full_like(product, constant)
        return multiplied_and_added(product, factor, addend) if fused else product * factor + addend

    near = add(add(np.full_like(x, 1.5), x, -2.5) * x, x, 1.0)
    far = add(add(add(np.full_like(x, a), x, 2.5), x, -4.0), x, 2.0)
    return np.where(x < _one, near, np.where(x < _two, far, np.float32(0)))


_FILTERS: dict[str, tuple[float, Callable[[Float32Array, bool], Float32Array]]] = {
    "bilinear": (1.0, _bilinear),
    "bicubic": (2.0, _bicubic),
}
"""Support in output samples, and the value at a distance of at least 0."""


def _bytes_of(taps: Taps) -> int:
    return taps.starts.nbytes + taps.counts.nbytes + taps.weights.nbytes


@bounded_cache(_bytes_of, 32 << 20, 128)
def resized_in_float32(n_in: int, n_out: int, interpolation: Literal["bilinear", "bicubic"], fused: bool) -> Taps:
    """Compute the taps of a resize with antialiasing as PyTorch does for float32 images, rounding for rounding.

    :mod:`onelayer.algebra.filters` has the same weights in float64. Source: ``_compute_weights_aa`` and the filters in
    PyTorch's ``UpSampleKernel.cpp`` and ``UpSample.h``. Where products are added with one rounding (FMA) was found by
    comparing weights, which an image with a single one in it shows.

    Args:
        n_in: Input samples, ≥ 1.
        n_out: Output samples, ≥ 1.
        interpolation: The filter.
        fused: Whether the processor's products are added with one rounding.

    Raises:
        OnelayerError: For lengths out of range.
    """
    if n_in < 1 or n_out < 1:
        raise OnelayerError(f"a resize from {n_in} to {n_out} samples was asked for", expected="at least 1 sample")
    reach, weigh = _FILTERS[interpolation]
    scale = np.float32(n_in / n_out)
    support, inverse = np.float32(reach), _one
    if scale >= 1:
        support, inverse = np.float32(reach) * scale, np.float32(1.0 / scale)
    centre = (float(scale) * (np.arange(n_out) + 0.5)).astype(np.float32)
    # A half is a float64.
    starts = np.maximum(((centre - support).astype(np.float64) + 0.5).astype(np.int64), 0)
    counts = np.minimum(((centre + support).astype(np.float64) + 0.5).astype(np.int64), n_in) - starts
    taps = np.arange(int(counts.max()))[:, None]
    from_centre = ((starts + taps).astype(np.float32) - centre).astype(np.float64) + 0.5
    weights = weigh(np.abs((from_centre * float(inverse)).astype(np.float32)), fused)
    weights[taps >= counts] = 0.0
    sums = weights[0].copy()
    for tap in weights[1:]:
        sums += tap
    return Taps(n_in, starts, counts, np.ascontiguousarray((weights / sums).T))
