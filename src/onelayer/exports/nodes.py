"""The nodes that compute a program's steps."""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy
from functools import singledispatch
from typing import Any, Literal, get_args

import numpy as np

from onelayer.backends.portable.steps import (
    Add,
    AxisName,
    Clip,
    Float32Array,
    Frame,
    Luma,
    Matrix,
    Mix,
    Multiply,
    Power,
    Products,
    Round,
    Step,
    Swap,
    Table,
    Take,
    TakeChannels,
    Warp,
    ZeroPad,
)
from onelayer.errors import OnelayerError
from onelayer.exports.graph import Graph, Name
from onelayer.exports.lengths import Length

Layout = Literal["NHWC", "HWC", "NCHW", "CHW"]
"""Order of the dimensions of an image, or of a batch of N images."""

_PLANES = "NCHW"
_LETTERS: dict[AxisName, str] = {"rows": "H", "cols": "W"}


def check_layout(layout: str) -> None:
    """Refuse a layout that there is none of."""
    if layout not in get_args(Layout):
        raise OnelayerError(f"the layout {layout!r} was asked for", expected="one of " + ", ".join(get_args(Layout)))


class Values:
    """Values on their way through a graph, first as they come in, then as float32 planes [N, C, H, W].

    Args:
        graph: The graph.
        name: Name of the input.
        layout: Its dimensions.
    """

    def __init__(self, graph: Graph, name: Name, layout: Layout) -> None:
        self.graph = graph
        self.order = layout if "N" in layout else f"N{layout}"
        self._name: Name = name if "N" in layout else graph.node("Unsqueeze", name, graph.indices([0]))
        self._slices: dict[AxisName, tuple[int, int]] = {}
        self.is_float = False

    def copy(self) -> Values:
        """Make values that go another way from here."""
        return copy(self)

    def slice(self, axis: AxisName, start: int, end: int) -> None:
        """Keep a part of an axis; parts of both axes, and parts of parts, are cut out at once."""
        first, _ = self._slices.get(axis, (0, 0))
        self._slices = {**self._slices, axis: (first + start, first + end)}

    def _cut(self) -> None:
        if self._slices:
            graph, axes = self.graph, [self.dimension(axis) for axis in self._slices]
            starts, ends = (graph.indices(places) for places in zip(*self._slices.values(), strict=True))
            self._slices = {}
            self._name = graph.node("Slice", self._name, starts, ends, graph.indices(axes))

    @property
    def name(self) -> Name:
        """Name of the values."""
        self._cut()
        return self._name

    @name.setter
    def name(self, name: Name) -> None:
        self._name = name

    def set(self, operator: str, *inputs: Name, **attributes: Any) -> None:
        """Apply an operator to the values; further inputs follow them."""
        self.name = self.graph.node(operator, self.name, *inputs, **attributes)

    def planes(self) -> None:
        """Put the channels before rows and columns."""
        self._arrange(_PLANES)

    def _arrange(self, order: str) -> None:
        if self.order != order:
            # Slices come later, together with those of blocks.
            permutation = [self.order.index(letter) for letter in order]
            self._name = self.graph.node("Transpose", self._name, perm=permutation)
            self.order = order

    def floats(self) -> None:
        """Make float32 planes of bytes."""
        self.planes()
        if not self.is_float:
            self.become_floats(self.graph.cast(self.name, np.float32))

    def become_floats(self, name: Name) -> None:
        """Go on with float32 planes."""
        self.name, self.is_float, self.order, self._slices = name, True, _PLANES, {}

    def integers(self) -> Name:
        """Return the values as int32 planes, which are indices into tables."""
        self.planes()
        return self.graph.cast(self.name, np.int32)

    def dimension(self, axis: AxisName) -> int:
        """Return the place of an axis among the dimensions."""
        return self.order.index(_LETTERS[axis])

    def length(self, axis: AxisName) -> Length:
        """Return the length of an axis of the image that comes."""
        shape = self.graph.node("Shape", self.name)
        return Length(self.graph, None, self.graph.node("Gather", shape, self.graph.indices(self.dimension(axis))), 1)

    def finish(self, name: Name, layout: Layout, dtype: Any) -> None:
        """Give the values a dtype, a layout and a name."""
        self.planes()
        if not self.is_float or np.dtype(dtype) != np.float32:
            self.name = self.graph.cast(self.name, dtype)
        self._arrange(layout if "N" in layout else f"N{layout}")
        if "N" not in layout:
            self.set("Squeeze", self.graph.indices([0]))
        self.graph.nodes.append(self.graph.onnx.helper.make_node("Identity", [self.name], [name]))


def add_steps(values: Values, steps: Iterable[Step]) -> None:
    """Add the nodes of steps to a graph."""
    for step in steps:
        add_step(step, values)


@singledispatch
def add_step(step: Step, values: Values) -> None:
    """Add the nodes of a step."""
    raise NotImplementedError(type(step).__name__)


@add_step.register
def _(step: Take, values: Values) -> None:
    if step.run is not None and step.run[2] == 1:
        values.slice(step.axis, *step.run[:2])
    else:
        values.set("Gather", values.graph.indices(step.places), axis=values.dimension(step.axis))


@add_step.register
def _(step: TakeChannels, values: Values) -> None:
    values.planes()
    values.set("Gather", values.graph.indices(step.places), axis=1)


@add_step.register
def _(_: Swap, values: Values) -> None:
    values.planes()
    values.set("Transpose", perm=[0, 1, 3, 2])


@add_step.register
def _(step: ZeroPad, values: Values) -> None:
    values.floats()
    pads = np.zeros((2, 4), dtype=np.int64)
    pads[:, values.dimension(step.axis)] = step.before, step.after
    values.set("Pad", values.graph.indices(pads.ravel()))


@add_step.register
def _(step: Frame, values: Values) -> None:
    values.floats()
    graph = values.graph
    rows, cols = graph.constant(step.rows[:, None], np.bool_), graph.constant(step.cols, np.bool_)
    values.name = graph.node("Where", graph.node("And", rows, cols), values.name, _per_channel(graph, step.values))


def _per_channel(graph: Graph, numbers: Any) -> Name:
    return graph.constant(numbers[:, None, None])


@add_step.register
def _(step: Products, values: Values) -> None:
    graph, image = values.graph, values.copy()
    image.planes()
    axis = image.dimension(step.axis)
    # Block by block to the end, so that what lies between stays in the nearest caches.
    results = []
    for block in step.blocks:
        part = image.copy()
        if (block.start, block.end) != (0, step.n_in):
            part.slice(step.axis, block.start, block.end)
        part.floats()
        sums = _product(graph, part.name, axis, block.digits[0])
        for digit, scale in zip(block.digits[1:], step.carries, strict=True):
            sums = carried(graph, sums, _product(graph, part.name, axis, digit), graph.constant(scale))
        results.append(sums if step.clip is None else rounded_half_up(graph, sums, *step.clip))
    values.become_floats(results[0] if len(results) == 1 else graph.node("Concat", *results, axis=axis))


def _product(graph: Graph, part: Name, axis: int, matrix: Float32Array) -> Name:
    result: Name = (
        graph.node("MatMul", part, graph.constant(matrix))
        if axis == 3
        else graph.node("MatMul", graph.constant(matrix.T), part)
    )
    return result


def rounded_half_up(graph: Graph, sums: Name, low: float, high: float) -> Name:
    """Round halves up, and clip."""
    floor = graph.node("Floor", graph.node("Add", sums, graph.constant(0.5)))
    result: Name = graph.node("Clip", floor, graph.constant(low), graph.constant(high))
    return result


def carried(graph: Graph, sums: Name, higher: Name, scale: Name) -> Name:
    """Carry the floor of a digit's sums over to those of the next."""
    result: Name = graph.node("Add", higher, graph.node("Mul", graph.node("Floor", sums), scale))
    return result


@add_step.register
def _(step: Mix, values: Values) -> None:
    values.floats()
    values.set("Conv", values.graph.constant(step.matrix[:, :, None, None]))


@add_step.register
def _(step: Luma, values: Values) -> None:
    graph = values.graph
    channels = graph.node("Split", values.integers(), outputs=len(step.high), axis=1)

    def product(table: Float32Array, channel: int) -> Name:
        return looked_up(graph, table[channel], channels[channel])

    sums = product(step.high, 0)
    for channel in range(1, len(channels)):
        high = product(step.high, channel)
        total = graph.node("Add", sums, high)
        if step.low[channel].any():
            # What the sum lost (Knuth's TwoSum), exact, and the rest of the product.
            part = graph.node("Sub", total, sums)
            of_sums = graph.node("Sub", sums, graph.node("Sub", total, part))
            lost = graph.node("Add", of_sums, graph.node("Sub", high, part))
            total = graph.node("Add", total, graph.node("Add", lost, product(step.low, channel)))
        sums = total
    values.become_floats(sums)


@add_step.register
def _(step: Multiply, values: Values) -> None:
    values.floats()
    values.set("Mul", _per_channel(values.graph, step.factors))


@add_step.register
def _(step: Add, values: Values) -> None:
    values.floats()
    graph = values.graph
    values.set("Add", graph.constant(step.values) if step.values.ndim == 3 else _per_channel(graph, step.values))


@add_step.register
def _(step: Round, values: Values) -> None:
    values.floats()
    if step.rounding == "half_even":
        values.set("Round")
        return
    if step.rounding == "half_up":
        values.set("Add", values.graph.constant(0.5))
    values.set("Floor")


@add_step.register
def _(step: Clip, values: Values) -> None:
    values.floats()
    values.set("Clip", *(values.graph.constant(np.clip(end, *_FINITE)) for end in (step.low, step.high)))


_FINITE = float(np.finfo(np.float32).min), float(np.finfo(np.float32).max)


@add_step.register
def _(step: Table, values: Values) -> None:
    graph, places = values.graph, values.integers()
    if step.values.ndim == 2:
        offsets = np.arange(len(step.values))[:, None, None] * 256
        places = graph.node("Add", places, graph.constant(offsets, np.int32))
    values.become_floats(looked_up(graph, step.values.ravel(), places))


def looked_up(graph: Graph, table: Float32Array, places: Name) -> Name:
    """Look places up in a table; along one axis, for which runtimes have a quick loop."""
    flat = graph.node("Reshape", places, graph.indices([-1]))
    found = graph.node("GatherElements", graph.constant(table), flat, axis=0)
    result: Name = graph.node("Reshape", found, graph.node("Shape", places))
    return result


@add_step.register
def _(step: Power, values: Values) -> None:
    values.floats()
    values.set("Pow", values.graph.constant(step.exponent))


@add_step.register
def _(step: Warp, values: Values) -> None:
    values.floats()
    graph = values.graph
    flat = graph.node("Reshape", values.name, graph.indices([0, 0, -1]))
    is_copy = step.pixels.shape[1] == 1 and bool((step.weights == 1.0).all())
    products: list[Name] = []
    for pixels, weights in zip(step.pixels.T, step.weights.T, strict=True):
        taken = graph.node("Gather", flat, graph.indices(pixels), axis=2)
        products.append(taken if is_copy else graph.node("Mul", taken, graph.constant(weights)))
    sums = products[0]
    for product in products[1:]:
        sums = graph.node("Add", sums, product)
    values.name = graph.node("Reshape", sums, graph.indices([0, 0, *step.size]))


@add_step.register
def _(step: Matrix, values: Values) -> None:
    values.floats()
    graph = values.graph
    flat = graph.node("Flatten", values.name)
    outputs = graph.node("Gemm", flat, graph.constant(step.weight), graph.constant(step.bias), transB=1)
    values.name = graph.node("Reshape", outputs, graph.indices([-1, *step.shape]))
