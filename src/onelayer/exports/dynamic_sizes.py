"""Pipelines for images of any size, as graphs that compute places and weights from the shape of the image.

The arithmetic of the sizes is that of :func:`onelayer.frontends.placement.place`, and that of the weights that of
:mod:`onelayer.algebra.filters`, operation for operation in float64. ONNX Runtime has that; OpenVINO computes it in
float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from onelayer.algebra import Range, simplify
from onelayer.algebra.filters import ANTIALIASING
from onelayer.backends.portable import NotPortableError, portable_steps
from onelayer.backends.portable.steps import BLOCK, AxisName
from onelayer.exports.graph import Graph, Name
from onelayer.exports.lengths import Length
from onelayer.exports.nodes import Values, add_steps, rounded_half_up
from onelayer.frontends.placement import (
    COLUMNS_FIRST,
    CROP,
    CROP_MIDDLE,
    FLIP_COLS,
    FLIP_ROWS,
    MOVE,
    PAD,
    RESIZE_LONG,
    RESIZE_SHORT,
    RESIZE_TO,
    ROWS_FIRST_IF_TALL,
    FirstPass,
    RealSums,
    Sums,
)
from onelayer.frontends.structure import Structure
from onelayer.programs import ANY_FLOAT

LOW_BITS = 7
"""Bits of the low digit of a whole weight: up to a thousand products of it with bytes add up exactly in float32."""

_LARGEST_BITS = 22

_HINT = "Give height= and width=: a file for one size has all pipelines."


_FLOAT32_HINT = "Use rounding='fused' for real arithmetic, or like= a PIL image where the pipeline takes these."


@dataclass(frozen=True)
class _Axis:
    """What becomes of an axis: the numbers of :func:`onelayer.frontends.placement.place`."""

    start: Length
    length: Length
    resized: Length
    low: Length
    kept: Length
    flip: bool
    before: Length
    after: Length
    size: Length
    is_resized: bool = False

    @classmethod
    def of(cls, length: Length) -> _Axis:
        zero = Length.known(length.graph, 0)
        return cls(zero, length, length, zero, length, False, zero, zero, length)

    @property
    def may_have_frame(self) -> bool:
        return self.before.value != 0 or self.after.value != 0

    def resized_to(self, size: Length) -> _Axis:
        zero = Length.known(size.graph, 0)
        return replace(self, resized=size, kept=size, size=size, low=zero, is_resized=True)

    def flipped(self) -> _Axis:
        return replace(self, flip=not self.flip, before=self.after, after=self.before)

    def window(self, start: Length, size: Length, is_inside: bool) -> _Axis:
        """Keep a window, of which it is known whether it is inside of every axis, or may leave one."""
        end, kept_from = start + size, self.before
        if is_inside and not self.may_have_frame:
            return replace(self, low=self.low + ((self.kept - end) if self.flip else start), kept=size, size=size)
        kept_to = kept_from + self.kept
        begin, last = (place.at_least(kept_from).at_most(kept_to) for place in (start, end))
        low = self.low + ((kept_to - last) if self.flip else (begin - kept_from))
        kept, before, after = last - begin, begin - start, end - last
        return replace(self, low=low, kept=kept, before=before, after=after, size=size)


@dataclass(frozen=True)
class Placement:
    """The place of an image of any size in the result.

    Args:
        rows: What becomes of the rows.
        cols: What becomes of the columns.
        frame: Number of the step whose fill lies around; None without a frame.
    """

    rows: _Axis
    cols: _Axis
    frame: int | None


def add_structure(structure: Structure, values: Values, height: Length, width: Length) -> tuple[Length, Length]:
    """Add the nodes that compute a pipeline for images of any size.

    Args:
        structure: The pipeline.
        values: The image.
        height: Its rows.
        width: Its columns.

    Returns:
        Height and width of the result.

    Raises:
        NotPortableError: If a rule in Python makes the sizes, or a filter or a frame depends on the size in a way that
            is not stated here.
    """
    if structure.by_rule:
        raise NotPortableError(
            "a step of the pipeline finds its window or its size by a rule in Python, or at random",
            expected="steps of torchvision, for images of any size",
            hint=_HINT,
        )
    placement = _placed(structure, height, width)
    low, high = (-ANY_FLOAT, ANY_FLOAT) if structure.input_spec.is_float else (0.0, 255.0)
    values_range = Range.of(structure.input_spec.shape[0], low, high)
    # Refused before anything is added.
    pixels = simplify(structure.pixels, values_range).program
    steps = portable_steps(pixels, values_range, structure.rounding)
    resample = _resampling(structure, placement)
    for axis, place in ((_ROWS, placement.rows), (_COLS, placement.cols)):
        if not place.is_resized:
            _copy(values, axis, place)
    if resample is not None:
        resample(values)
    add_steps(values, steps)
    if placement.frame is not None:
        _frame(values, placement, structure.fills[placement.frame])
    return placement.rows.size, placement.cols.size


_ROWS: AxisName = "rows"
_COLS: AxisName = "cols"


def _placed(structure: Structure, height: Length, width: Length) -> Placement:
    rows, cols, frame = _Axis.of(height), _Axis.of(width), None
    moves = structure.moves
    for step, at in enumerate(range(0, len(moves), MOVE)):
        kind, *numbers = moves[at : at + MOVE]
        if kind == FLIP_ROWS:
            rows = rows.flipped()
        elif kind == FLIP_COLS:
            cols = cols.flipped()
        elif kind <= RESIZE_LONG:
            if step > 0:
                raise NotPortableError(
                    "crops, flips or pads come before the resize",
                    expected="the resize first, for images of any size",
                    hint=_HINT,
                )
            new_rows, new_cols = _new_size(kind, numbers, rows.size, cols.size)
            rows, cols = rows.resized_to(new_rows), cols.resized_to(new_cols)
        else:
            windows = _windows(kind, numbers, rows.size, cols.size)
            old = rows, cols
            rows, cols = (axis.window(*window) for axis, window in zip(old, windows, strict=True))
            if rows.may_have_frame or cols.may_have_frame:
                had_frame = old[0].may_have_frame or old[1].may_have_frame
                if frame is not None and had_frame and (structure.fills[frame] != structure.fills[step]).any():
                    raise NotPortableError(
                        "two steps may put a frame around the image, each of another color",
                        expected="one frame, for images of any size",
                        hint=_HINT,
                    )
                frame = step
    return Placement(rows, cols, frame if rows.may_have_frame or cols.may_have_frame else None)


def _new_size(kind: int, numbers: list[int], rows: Length, cols: Length) -> tuple[Length, Length]:
    graph, first = rows.graph, Length.known(rows.graph, numbers[0])
    if kind == RESIZE_TO:
        return first, Length.known(graph, numbers[1])
    short, long = rows.at_most(cols), rows.at_least(cols)
    if kind == RESIZE_SHORT:
        # No side becomes shorter than the new short one.
        new_short, new_long = first, replace((first * long) // short, least=numbers[0])
        if (most := numbers[1]) > 0:
            limit = Length.known(graph, most)
            exceeds = new_long.exceeds(limit)
            new_short = Length.choose(exceeds, (limit * new_short) // new_long, new_short)
            new_long = Length.choose(exceeds, limit, new_long)
    else:
        new_short, new_long = (first * short) // long, first
    is_upright = cols.exceeds(rows)
    return Length.choose(is_upright, new_short, new_long), Length.choose(is_upright, new_long, new_short)


def _windows(kind: int, numbers: list[int], rows: Length, cols: Length) -> Iterator[tuple[Length, Length, bool]]:
    """Yield start and length of a window of rows, and one of columns, and whether it is inside of every axis."""

    def known(value: int) -> Length:
        return Length.known(rows.graph, value)

    if kind == CROP_MIDDLE:
        for length, size in ((rows, numbers[0]), (cols, numbers[1])):
            # Torchvision's padding rounds down, its crops round half to even.
            more, less = (length - size).at_least(0), (known(size) - length).at_least(0)
            half = more // 2
            odd = more - half * 2
            up = odd * (half - (half // 2) * 2)
            yield half + up - less // 2, known(size), size <= length.least
    elif kind == CROP:
        top, left, height, width = numbers
        yield known(top), known(height), 0 <= top <= rows.least - height
        yield known(left), known(width), 0 <= left <= cols.least - width
    else:
        assert kind == PAD
        left, top, right, bottom = numbers
        yield known(-top), rows + (top + bottom), False
        yield known(-left), cols + (left + right), False


def _copy(values: Values, name: AxisName, axis: _Axis) -> None:
    """Keep a window of an axis that is not resized, reversed or not."""
    graph, dimension = values.graph, values.dimension(name)
    is_whole = axis.low.value == 0 and axis.kept == axis.length
    if not is_whole:
        end = axis.low + axis.kept
        values.set("Slice", axis.low.vector, end.vector, graph.indices([dimension]))
    if axis.flip:
        reversed_places = graph.node("Sub", (axis.kept - 1).scalar, axis.kept.range())
        values.set("Gather", reversed_places, axis=dimension)


def _outputs(axis: _Axis) -> Name:
    """Return the places, in the resized axis, of the samples that come out, int64 [kept]."""
    graph = axis.kept.graph
    if axis.flip:
        return graph.node("Sub", (axis.low + axis.kept - 1).scalar, axis.kept.range())  # type: ignore[no-any-return]
    if axis.low.value == 0:
        return axis.kept.range()
    return graph.node("Add", axis.low.scalar, axis.kept.range())  # type: ignore[no-any-return]


Resample = Callable[[Values], None]


def _resampling(structure: Structure, placement: Placement) -> Resample | None:
    sums, rows, cols = structure.sums, placement.rows, placement.cols
    if sums is None:
        return None
    if sums.name in _COPIES:
        places = _COPIES[sums.name]

        def copy(values: Values) -> None:
            for name, axis in ((_ROWS, rows), (_COLS, cols)):
                values.set("Gather", places(axis), axis=values.dimension(name))

        return copy
    if sums.name not in _WEIGHTS:
        raise NotPortableError(
            f"the filter {sums.name.replace('_', ' ')} has no graph for images of any size",
            expected="one of " + ", ".join([*_WEIGHTS, *_COPIES]).replace("_", " "),
            hint=_FLOAT32_HINT if sums.name.startswith("float32") else _HINT,
        )
    if isinstance(sums, RealSums):
        real_sums = sums
        return lambda values: _real_passes(values, real_sums, rows, cols)
    whole_sums = sums
    return lambda values: _rounded_passes(values, whole_sums, rows, cols)


def _real_passes(values: Values, sums: RealSums, rows: _Axis, cols: _Axis) -> None:
    values.planes()
    graph = values.graph
    for axis, is_rows in ((cols, False), (rows, True)):
        band = _band(axis, _outputs(axis), sums.name, sums.in_float32)
        blocks = _blocks(axis, band, [graph.cast(band.weights, np.float32)])
        are_bytes = not values.is_float
        values.become_floats(_multiplied(graph, values.name, are_bytes, blocks, is_rows, lambda digits: digits[0]))


def _rounded_passes(values: Values, sums: Sums, rows: _Axis, cols: _Axis) -> None:
    """Add two passes, each of whole weights, rounded half up and saturated."""
    values.planes()
    of_cols, of_rows = (_whole_weights(axis, sums) for axis in (cols, rows))

    def passes(branch: Graph, name: Name, rows_come_first: bool) -> Name:
        for is_rows in (rows_come_first, not rows_come_first):
            is_first = is_rows == rows_come_first
            name = _rounded_pass(branch, name, is_first, of_rows if is_rows else of_cols, is_rows)
        return name

    condition = _rows_first(sums.first, rows, cols)
    if isinstance(condition, bool):
        values.become_floats(passes(values.graph, values.name, condition))
        return
    image = values.name
    chosen = values.graph.either(
        condition, lambda branch: passes(branch, image, True), lambda branch: passes(branch, image, False)
    )
    values.become_floats(chosen)


def _rows_first(choice: FirstPass, rows: _Axis, cols: _Axis) -> bool | Name:
    """Whether rows come first, as :func:`onelayer.frontends.placement.rows_first` says, or the name of a bool."""
    if choice == COLUMNS_FIRST:
        return False
    graph = rows.length.graph
    shorter = rows.length - rows.resized
    limit = cols.length * 100 if choice == ROWS_FIRST_IF_TALL else (cols.length - cols.resized) * 2
    other = rows.length if choice == ROWS_FIRST_IF_TALL else shorter
    each = shorter.exceeds(0), other.exceeds(limit)
    if False in each:
        return False
    names = [condition for condition in each if not isinstance(condition, bool)]
    if not names:
        return True
    return names[0] if len(names) == 1 else graph.node("And", *names)


@dataclass(frozen=True)
class _Band:
    """Weights of outputs of an axis.

    Args:
        starts: First sample that each output reads, int64 [outputs].
        weights: Weights from there on, float64 [taps, outputs].
        taps: Numbers of the taps, int64 [taps].
    """

    starts: Name
    weights: Name
    taps: Name


@dataclass(frozen=True)
class _Block:
    """Neighbouring outputs, and the window that they read.

    Args:
        window: Start and end of the window, int64 [1] each; None for the whole axis.
        digits: Weights of each digit, float32 [window, outputs].
    """

    window: tuple[Name, Name] | None
    digits: tuple[Name, ...]


@dataclass(frozen=True)
class _WholeWeights:
    """Weights as whole numbers in two digits, the lower one over its base, and what their sums are multiplied by."""

    blocks: tuple[_Block, ...]
    scale: Name


def _rounded_pass(graph: Graph, name: Name, are_bytes: bool, weights: _WholeWeights, is_rows: bool) -> Name:
    def finish(digits: list[Name]) -> Name:
        sums = graph.node("Add", digits[1], graph.node("Floor", digits[0]))
        return rounded_half_up(graph, graph.node("Mul", sums, weights.scale), 0.0, 255.0)

    return _multiplied(graph, name, are_bytes, weights.blocks, is_rows, finish)


def _multiplied(
    graph: Graph,
    name: Name,
    are_bytes: bool,
    blocks: Sequence[_Block],
    is_rows: bool,
    finish: Callable[[list[Name]], Name],
) -> Name:
    """Multiply an axis of planes, of bytes or of float32, by blocks, each of which is finished by itself."""
    axis = 2 if is_rows else 3
    results = []
    for block in blocks:
        part = name if block.window is None else graph.node("Slice", name, *block.window, graph.indices([axis]))
        part = graph.cast(part, np.float32) if are_bytes else part
        pairs = [
            (graph.node("Transpose", digit, perm=[1, 0]), part) if is_rows else (part, digit) for digit in block.digits
        ]
        results.append(finish([graph.node("MatMul", *pair) for pair in pairs]))
    return results[0] if len(results) == 1 else graph.node("Concat", *results, axis=axis)


def _blocks(axis: _Axis, band: _Band, digits: Sequence[Name]) -> tuple[_Block, ...]:
    """Write weights as matrices: of blocks of outputs if their number is known, or else of all at once.

    Args:
        axis: The axis.
        band: Starts and taps of its outputs.
        digits: Weights, float32 [taps, outputs], for each digit.
    """
    graph, kept = axis.kept.graph, axis.kept.value
    if kept is None or kept <= BLOCK:
        rows = graph.node("Unsqueeze", band.taps, graph.indices([1]))
        places = graph.node("Add", band.starts, rows)
        size = graph.node("Concat", axis.length.vector, axis.kept.vector, axis=0)
        return (_Block(None, tuple(_scattered(graph, size, places, digit) for digit in digits)),)
    return tuple(_block(graph, band, digits, first, min(first + BLOCK, kept)) for first in range(0, kept, BLOCK))


def _block(graph: Graph, band: _Band, digits: Sequence[Name], first: int, end: int) -> _Block:
    rows = graph.node("Unsqueeze", band.taps, graph.indices([1]))
    starts = _sliced(graph, band.starts, 0, first, end)
    begin = graph.node("ReduceMin", starts, keepdims=1)
    last = graph.node("Add", graph.node("ReduceMax", starts, keepdims=1), graph.node("Size", band.taps))
    size = graph.node("Concat", graph.node("Sub", last, begin), graph.indices([end - first]), axis=0)
    places = graph.node("Add", graph.node("Sub", starts, begin), rows)
    matrices = (_scattered(graph, size, places, _sliced(graph, digit, 1, first, end)) for digit in digits)
    return _Block((begin, last), tuple(matrices))


def _sliced(graph: Graph, name: Name, axis: int, start: int, end: int) -> Name:
    places = graph.indices([start]), graph.indices([end]), graph.indices([axis])
    return graph.node("Slice", name, *places)  # type: ignore[no-any-return]


def _scattered(graph: Graph, size: Name, places: Name, weights: Name) -> Name:
    """Put weights in their places in a matrix of zeros."""
    zeros = graph.node("ConstantOfShape", size)
    return graph.node("ScatterElements", zeros, places, weights, axis=0)  # type: ignore[no-any-return]


def _whole_weights(axis: _Axis, sums: Sums) -> _WholeWeights:
    graph = axis.kept.graph

    def node(operator: str, *inputs: Name, **attributes: int) -> Name:
        return graph.node(operator, *inputs, **attributes)  # type: ignore[no-any-return]

    def double(value: float) -> Name:
        return graph.constant(value, np.float64)

    if sums.limit:
        # The bits of the fraction follow from the largest of all weights, whether it is kept or not.
        every = _band(axis, axis.resized.range(), sums.name, False)
        largest = node("ReduceMax", every.weights, keepdims=0)
        doubled = node("Mul", largest, graph.constant(2.0 ** np.arange(1, _LARGEST_BITS + 1), np.float64))
        fits = node("Less", node("Floor", node("Add", doubled, double(0.5))), double(sums.limit))
        bits = node("ReduceSum", graph.cast(fits, np.int64), keepdims=0)
        powers = graph.constant(2.0 ** np.arange(_LARGEST_BITS + 1), np.float64)
        factor = node("Gather", powers, bits, axis=0)
        starts, weights = (
            node("Gather", name, _outputs(axis), axis=dimension)
            for name, dimension in ((every.starts, 0), (every.weights, 1))
        )
        band = _Band(starts, weights, every.taps)
    else:
        band, factor = _band(axis, _outputs(axis), sums.name, False), double(2.0**_LARGEST_BITS)
    scaled = node("Mul", band.weights, factor)
    half = double(0.5)
    # Halves away from zero.
    down, up = node("Ceil", node("Sub", scaled, half)), node("Floor", node("Add", scaled, half))
    whole = node("Where", node("Less", scaled, double(0.0)), down, up)
    base = float(1 << LOW_BITS)
    high = node("Floor", node("Mul", node("Add", whole, double(base / 2)), double(1 / base)))
    # Over the base at once, so that floors of the sums are what is carried.
    low = node("Mul", node("Sub", whole, node("Mul", high, double(base))), double(1 / base))
    scale = graph.cast(node("Div", double(base), factor), np.float32)
    return _WholeWeights(_blocks(axis, band, [graph.cast(digit, np.float32) for digit in (low, high)]), scale)


def _band(axis: _Axis, outputs: Name, kind: str, in_float32: bool) -> _Band:
    """Compute the weights of outputs of a resized axis.

    See :func:`onelayer.algebra.filters.widened`, whose every operation this has.
    """
    graph = axis.length.graph

    def node(operator: str, *inputs: Name, **attributes: int) -> Name:
        return graph.node(operator, *inputs, **attributes)  # type: ignore[no-any-return]

    def double(value: float) -> Name:
        return graph.constant(value, np.float64)

    def real(name: Name) -> Name:
        return graph.cast(graph.cast(name, np.float32), np.float64) if in_float32 else name

    half, one, zero = double(0.5), double(1.0), double(0.0)
    n_in = axis.length.floats()
    scale = real(node("Div", n_in, axis.resized.floats()))
    filter_scale = node("Max", scale, one)
    support = real(node("Mul", double(ANTIALIASING[kind].support), filter_scale))
    centre = real(node("Mul", node("Add", graph.cast(outputs, np.float64), half), scale))
    # Cut off as the libraries do, which is the floor where it matters.
    first = node("Max", node("Floor", node("Add", real(node("Sub", centre, support)), half)), zero)
    end = node("Min", node("Floor", node("Add", real(node("Add", centre, support)), half)), n_in)
    width = node("ReduceMax", node("Sub", end, first), keepdims=0)
    starts = node("Min", first, node("Sub", n_in, width))
    numbers = node("Range", graph.indices(0), graph.cast(width, np.int64), graph.indices(1))
    rows = node("Unsqueeze", graph.cast(numbers, np.float64), graph.indices([1]))
    taps = node("Add", starts, rows)
    from_centre = node("Add", real(node("Sub", taps, centre)), half)
    distances = real(node("Mul", from_centre, real(node("Div", one, filter_scale))))
    weights = _WEIGHTS[kind](node, double, distances)
    outside = node("Or", node("Less", taps, first), node("GreaterOrEqual", taps, end))
    weights = node("Where", outside, zero, weights)
    # One after the other, as both libraries add them: the last of the sums so far.
    total = node("Gather", node("CumSum", weights, graph.indices(0)), graph.indices([-1]), axis=0)
    return _Band(graph.cast(starts, np.int64), node("Div", weights, total), numbers)


Node = Callable[..., Name]
Double = Callable[[float], Name]


def _box(node: Node, double: Double, x: Name) -> Name:
    inside = node("And", node("Greater", x, double(-0.5)), node("LessOrEqual", x, double(0.5)))
    return node("Where", inside, double(1.0), double(0.0))


def _bilinear(node: Node, double: Double, x: Name) -> Name:
    return node("Max", node("Sub", double(1.0), node("Abs", x)), double(0.0))


def _bicubic(node: Node, double: Double, x: Name) -> Name:
    a = -0.5
    x = node("Abs", x)
    near = node("Mul", node("Sub", node("Mul", double(a + 2.0), x), double(a + 3.0)), x)
    near = node("Add", node("Mul", near, x), double(1.0))
    far = node("Add", node("Mul", node("Sub", x, double(5.0)), x), double(8.0))
    far = node("Mul", node("Sub", node("Mul", far, x), double(4.0)), double(a))
    beyond = node("Where", node("Less", x, double(2.0)), far, double(0.0))
    return node("Where", node("Less", x, double(1.0)), near, beyond)


_WEIGHTS: dict[str, Callable[[Node, Double, Name], Name]] = {"box": _box, "bilinear": _bilinear, "bicubic": _bicubic}
"""Functions from distances to weights, in the order of operations of :mod:`onelayer.algebra.filters`."""


def _nearest(axis: _Axis, offset: float) -> Name:
    graph = axis.kept.graph
    scale = graph.cast(graph.node("Div", axis.length.floats(), axis.resized.floats()), np.float32)
    outputs = graph.cast(_outputs(axis), np.float32)
    places = graph.node("Mul", graph.node("Add", outputs, graph.constant(offset)), scale)
    return _within(axis, places)


def _pillow_nearest(axis: _Axis) -> Name:
    """Add up places as Pillow does, in float64: the first is half a step."""
    graph = axis.kept.graph
    step = graph.node("Div", axis.length.floats(), axis.resized.floats())
    is_first = graph.node("Equal", axis.resized.range(), graph.indices(0))
    steps = graph.node("Where", is_first, graph.node("Mul", step, graph.constant(0.5, np.float64)), step)
    places = graph.node("CumSum", steps, graph.indices(0))
    return _within(axis, graph.node("Gather", places, _outputs(axis), axis=0))


def _within(axis: _Axis, places: Name) -> Name:
    graph = axis.kept.graph
    result: Name = graph.node("Min", graph.cast(places, np.int64), (axis.length - 1).scalar)
    return result


_COPIES: dict[str, Callable[[_Axis], Name]] = {
    "nearest": lambda axis: _nearest(axis, 0.0),
    "nearest_exact": lambda axis: _nearest(axis, 0.5),
    "pillow_nearest": _pillow_nearest,
}
"""Functions that find the samples that are copied."""


def _frame(values: Values, placement: Placement, fill: np.ndarray[tuple[int], np.dtype[np.float64]]) -> None:
    """Put a fill around the image."""
    values.floats()
    graph, rows, cols = values.graph, placement.rows, placement.cols
    none = graph.indices([0])
    around = [rows.before.vector, cols.before.vector, none, none, rows.after.vector, cols.after.vector]
    pads = graph.node("Concat", none, none, *around, axis=0)

    def padded(name: Name, value: float) -> Name:
        return graph.node("Pad", name, pads, graph.constant(value))  # type: ignore[no-any-return]

    if (fill == fill[0]).all():
        values.name = padded(values.name, float(fill[0]))
        return
    inside = padded(graph.node("Mul", values.name, graph.constant(0.0)), 1.0)
    is_frame = graph.cast(inside, np.bool_)
    values.name = graph.node("Where", is_frame, graph.constant(fill[:, None, None]), padded(values.name, 0.0))
