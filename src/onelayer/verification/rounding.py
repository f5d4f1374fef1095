"""How far floating point arithmetic takes a program from the real numbers, at most."""

from __future__ import annotations

from typing import Literal

import numpy as np

from onelayer.algebra import Activation, Clamp, Operator, Program, Quantize, Range, ranges_of
from onelayer.algebra.operator import FloatArray
from onelayer.errors import OnelayerError

UNIT_ROUNDOFF = {"float16": 2.0**-11, "bfloat16": 2.0**-8, "float32": 2.0**-24, "float64": 2.0**-53}
"""Half the distance from 1 to the next number, by dtype: the relative error of one rounding to nearest."""


Rounds = Literal["nowhere", "alike", "somehow"]
"""Rounding of a pipeline compared with that of a layer; see :func:`levels_apart`."""


def stored(program: Program, dtype: str) -> Program:
    """Round the weights of a program to the dtype that a backend holds them in: float32, or as they are for float64."""
    if dtype == "float64":
        return program
    stages = (stage.with_weights(_to_float32) if isinstance(stage, Operator) else stage for stage in program.stages)
    return Program(program.in_shape, tuple(stages))


def _to_float32(weights: FloatArray) -> FloatArray:
    return weights.astype(np.float32).astype(np.float64)


def forward_error(
    program: Program, input_range: Range, dtype: str, idle: frozenset[int]
) -> tuple[FloatArray, FloatArray]:
    """Bound how far a program's outputs are off when sums are computed in floating point, and how large they can be.

    The classic bound of n rounded operations in any order (Higham, *Accuracy and Stability of Numerical Algorithms*,
    2002, section 3.1): an error of at most ``γ_n · (|W|·|x| + |b|)`` per operator, with ``γ_n = n·u / (1 − n·u)`` and u
    the unit roundoff, is carried on by the absolute weights of the operators behind it. n counts an output's nonzero
    weights and its bias. Holds for numbers that neither overflow nor underflow.

    Args:
        program: Operators and clamps, and nothing but a final ``Quantize`` besides; the weights are taken for exact.
        input_range: Range of its input.
        dtype: Dtype that it is computed in, "float32" or "float64".
        idle: Indices of clamps that count as not there. What the stored weights let values exceed them by is part of
            the error.

    Returns:
        The error and the largest absolute value, both float64 [C', H', W'], before a final ``Quantize``.

    Raises:
        OnelayerError: If there are so many terms that the bound says nothing, or an activation for which there is none.
    """
    roundoff = UNIT_ROUNDOFF[dtype]
    largest = np.maximum(np.abs(input_range.low), np.abs(input_range.high))
    reach = np.broadcast_to(largest[:, None, None], program.in_shape)
    error = np.zeros(program.in_shape)
    before = [input_range, *ranges_of(program.stages, input_range)]
    stages = program.stages[:-1] if program.stages and isinstance(program.stages[-1], Quantize) else program.stages
    for index, stage in enumerate(stages):
        if isinstance(stage, Operator):
            relative = stage.roundings * roundoff
            if relative >= 1:
                raise OnelayerError(f"{stage.roundings:,} roundings of {dtype} add up to no useful bound")
            absolute = stage.with_weights(np.abs)
            carried = absolute.apply(reach + error)
            reach = absolute.apply(reach)
            error = carried - reach + relative / (1 - relative) * carried
            continue
        assert isinstance(stage, Activation)
        added = stage.error_of_parameters(roundoff)
        if added is None:
            raise OnelayerError(f"how a {type(stage).__name__} carries errors on is not known")
        error = error + added
        if index in idle:
            assert isinstance(stage, Clamp)
            low, high = before[index].low.min(), before[index].high.max()
            error = error + max(stage.low - low, high - stage.high, 0.0)
    return error, reach


def levels_apart(apart: FloatArray, original: Rounds) -> FloatArray:
    """Bound how far whole numbers can be apart that a layer and a pipeline round to.

    With y and z the real values, r and s the errors of rounding them, and k the integer that the results differ by,
    ``|k| ≤ |y − z| + |r − s|``. A layer rounds to the nearest, |r| ≤ ½. The pipeline rounds

    * nowhere, as it gives whole numbers anyway: s = 0, so ``k ≤ ⌊apart + ½⌋``;
    * by the same function as the layer, which never descends and moves with whole numbers. Rounding half up does so,
      and cutting off, which saturation at 0 makes the same as rounding down. So ``k ≤ ⌈apart⌉``;
    * somehow, once, to the nearest or by cutting off: |s| < 1, so |r − s| < 3/2, and ``k ≤ ⌈apart + 3/2⌉ − 1``. That
      covers half to even too, which does not move with odd numbers: ½ becomes 0, and 3/2 becomes 2.

    Args:
        apart: Largest difference of the real values.
        original: Rounding of the pipeline.
    """
    match original:
        case "nowhere":
            return np.floor(apart + 0.5)
        case "alike":
            return np.ceil(apart)
        case "somehow":
            return np.ceil(apart + 0.5)
