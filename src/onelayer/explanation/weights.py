"""What one output pixel reads: its weights, followed back through operators without ever holding a whole image.

``Operator.apply_transposed`` of an image with a single one gives the same weights, in an image of the input's full
size; here only the window that is read is computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onelayer.algebra import AxisMap, Dense, Float32Sum, Operator, Program, Separable, Shape, SpatialSparse
from onelayer.algebra.channels import bias_image
from onelayer.algebra.operator import FloatArray


@dataclass(frozen=True, eq=False)
class Window:
    """Weights on a part of an image; those outside of it are zero.

    Args:
        weights: float64 [C, h, w].
        top: Row of the image that the first row is.
        left: Column of the image that the first column is.
        offset: What is added to the weighted sum.
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


def first_run(program: Program) -> tuple[Operator, ...]:
    """The operators in a row that come first in a program, activations before them left out."""
    run: list[Operator] = []
    for stage in program.stages:
        if isinstance(stage, Operator):
            run.append(stage)
        elif run:
            break
    return tuple(run)


def weights_of(run: Sequence[Operator], channel: int, row: int, col: int) -> Window:
    """The weights that an output value of operators in a row has on their input.

    Args:
        run: The operators, at least one, the first to run first.
        channel: Of the output value.
        row: Of the output value.
        col: Of the output value.
    """
    one = np.zeros((run[-1].out_shape[0], 1, 1))
    one[channel] = 1.0
    window = Window(one, row, col, 0.0)
    for operator in reversed(run):
        window = _before(operator, window)
    return _trimmed(window)


def _before(operator: Operator, window: Window) -> Window:
    """Weights on what an operator gives as weights on what it takes."""
    rows, cols = window.place
    match operator:
        case Separable():
            offset = window.offset + _offset(operator.bias, window)
            top, down = _transposed(operator.rows, rows)
            left, along = _transposed(operator.cols, cols)
            spread = _spread(_unmixed(operator.channel, window.weights), down, along)
            if operator.transpose:
                spread, top, left = spread.swapaxes(1, 2), left, top
            return Window(spread, top, left, offset)
        case Float32Sum():
            return _before(operator.real, window)
        case SpatialSparse():
            offset = window.offset + _offset(operator.bias, window)
            weights = _unmixed(operator.channel, window.weights)
            return Window(*_gathered(operator, weights, rows, cols), offset)
        case Dense():
            whole = np.zeros(operator.out_shape)
            whole[:, rows, cols] = window.weights
            offset = window.offset + float(whole.ravel() @ operator.bias)
            return Window(operator.apply_transposed(whole), 0, 0, offset)
        case _:
            raise TypeError(f"no weights of {type(operator).__name__}")


def _transposed(axis: AxisMap, outputs: slice) -> tuple[int, FloatArray]:
    """The first sample that some outputs read, and their weights from there on, [outputs, samples]."""
    starts = axis.starts[outputs]
    first = int(starts.min())
    part = AxisMap(int(starts.max()) - first + axis.taps, starts - first, axis.weights[outputs])
    return first, part.to_dense()


def _spread(weights: FloatArray, down: FloatArray, along: FloatArray) -> FloatArray:
    spread = np.zeros((len(weights), down.shape[1], along.shape[1]))
    for values, own in zip(spread, weights, strict=True):
        # Zeros that are never written take no memory, and most outputs read one channel only.
        if own.any():
            np.matmul(down.T @ own, along, out=values)
    return spread


def _gathered(operator: SpatialSparse, weights: FloatArray, rows: slice, cols: slice) -> tuple[FloatArray, int, int]:
    """The weights on the pixels that a part of the output reads, and the first row and column of these."""
    taken = operator.matrix[np.arange(operator.matrix.shape[0]).reshape(operator.out_size)[rows, cols].ravel()]
    ys, xs = np.divmod(taken.indices, operator.in_size[1])
    (top, bottom), (left, right) = _ends(ys), _ends(xs)
    outputs = np.repeat(np.arange(taken.shape[0]), np.diff(taken.indptr))
    gathered = np.zeros((len(weights), bottom - top, right - left))
    for values, own in zip(gathered, weights.reshape(len(weights), -1), strict=True):
        np.add.at(values, (ys - top, xs - left), own[outputs] * taken.data)
    return gathered, top, left


def _ends(places: NDArray[np.signedinteger]) -> tuple[int, int]:
    """From the first of these places to behind the last; one place where there is none."""
    return (int(places.min()), int(places.max()) + 1) if len(places) else (0, 1)


def _unmixed(channel: FloatArray, weights: FloatArray) -> FloatArray:
    mixed: FloatArray = np.einsum("dc,dyx->cyx", channel, weights)
    return mixed


def _offset(bias: FloatArray, window: Window) -> float:
    image = bias_image(bias)
    part = image[:, *window.place] if bias.ndim == 3 else image
    return float((part * window.weights).sum())


def _trimmed(window: Window) -> Window:
    """Without rows and columns of zeros around it; one pixel is left where all are zero."""
    read = (window.weights != 0.0).any(axis=0)
    (top, bottom), (left, right) = _ends(np.flatnonzero(read.any(axis=1))), _ends(np.flatnonzero(read.any(axis=0)))
    part = window.weights[:, top:bottom, left:right]
    return Window(part, window.top + top, window.left + left, window.offset)


def default_pixels(shape: Shape) -> list[tuple[int, int]]:
    """The centre and two corners of an output image, each once where it is small."""
    _, height, width = shape
    return list(dict.fromkeys([(height // 2, width // 2), (0, 0), (height - 1, width - 1)]))
