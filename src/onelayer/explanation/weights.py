"""What one output value reads: its weights, followed back through operators without ever holding a whole image.

``Operator.apply_transposed`` of an image with a single one gives the same weights, in an image of the input's full
size; here only the window that is read is computed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onelayer.algebra import Operator, Program, Shape
from onelayer.algebra.operator import WindowWeights


def first_run(program: Program) -> tuple[Operator, ...]:
    """Find the operators in a row that come first in a program; activations before them are left out."""
    run: list[Operator] = []
    for stage in program.stages:
        if isinstance(stage, Operator):
            run.append(stage)
        elif run:
            break
    return tuple(run)


def weights_of(run: Sequence[Operator], channel: int, row: int, col: int) -> WindowWeights:
    """Find the weights that an output value of operators in a row has on their input.

    Args:
        run: The operators, at least one, the first to run first.
        channel: Channel of the output value.
        row: Row of the output value.
        col: Column of the output value.
    """
    unit = np.zeros((run[-1].out_shape[0], 1, 1))
    unit[channel] = 1.0
    window = WindowWeights(unit, row, col, 0.0)
    for operator in reversed(run):
        window = operator.read_by(window)
    return window.trimmed()


def default_pixels(shape: Shape) -> list[tuple[int, int]]:
    """Choose the centre and two corners of an output image, each once where it is small."""
    _, height, width = shape
    return list(dict.fromkeys([(height // 2, width // 2), (0, 0), (height - 1, width - 1)]))
