"""How far floating point arithmetic takes a program from the real numbers, at most."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from onelayer.algebra import (
    AxisMap,
    Clamp,
    Dense,
    Operator,
    Program,
    Quantize,
    Range,
    Separable,
    SpatialSparse,
    Stage,
    ranges_of,
)
from onelayer.algebra.operator import FloatArray
from onelayer.errors import OnelayerError

UNIT_ROUNDOFF = {"float16": 2.0**-11, "bfloat16": 2.0**-8, "float32": 2.0**-24, "float64": 2.0**-53}
"""Half the distance from 1 to the next number, by dtype: the relative error of one rounding to nearest."""


Rounds = Literal["nowhere", "alike", "somehow"]


def stored(program: Program, dtype: str) -> Program:
    """The program with its weights as a backend holds them: rounded to float32, or as they are for float64."""
    if dtype == "float64":
        return program
    return Program(program.in_shape, tuple(_stored(stage) for stage in program.stages))


def _stored(stage: Stage) -> Stage:
    match stage:
        case Separable():
            channel, bias = _single(stage.channel), _single(stage.bias)
            return Separable(channel, _single_axis(stage.rows), _single_axis(stage.cols), bias, stage.transpose)
        case SpatialSparse():
            matrix = stage.matrix.astype(np.float32).astype(np.float64)
            return SpatialSparse(_single(stage.channel), matrix, stage.in_size, stage.out_size, _single(stage.bias))
        case Dense():
            return Dense(_single(stage.weight), _single(stage.bias), stage.in_shape, stage.out_shape)
        case _:
            return stage


def _single(weights: FloatArray) -> FloatArray:
    return weights.astype(np.float32).astype(np.float64)


def _single_axis(axis: AxisMap) -> AxisMap:
    return axis if axis.is_selection else replace(axis, weights=_single(axis.weights))


def forward_error(program: Program, given: Range, dtype: str, idle: frozenset[int]) -> tuple[FloatArray, FloatArray]:
    """How far a program's outputs are off when sums are computed in floating point, and how large they can be.

    The classic bound of n rounded operations in any order (Higham, *Accuracy and Stability of Numerical Algorithms*,
    2002, section 3.1): an error of at most ``γ_n · (|W|·|x| + |b|)`` per operator, with ``γ_n = n·u / (1 − n·u)`` and u
    the unit roundoff, is carried on by the absolute weights of the operators behind it. n counts an output's nonzero
    weights and its bias. Holds for numbers that neither overflow nor underflow.

    Args:
        program: Operators and clamps, and nothing but a final ``Quantize`` besides; the weights are taken for exact.
        given: The range of its input.
        dtype: What it is computed in, "float32" or "float64".
        idle: Stages that are clamps which count as not there. What the stored weights let values exceed them by is part
            of the error.

    Returns:
        The error and the largest absolute value, both float64 [C', H', W'], before a final ``Quantize``.

    Raises:
        OnelayerError: If there are so many terms that the bound says nothing.
    """
    roundoff = UNIT_ROUNDOFF[dtype]
    largest = np.maximum(np.abs(given.low), np.abs(given.high))
    reach = np.broadcast_to(largest[:, None, None], program.in_shape)
    error = np.zeros(program.in_shape)
    before = [given, *ranges_of(program.stages, given)]
    for index, stage in enumerate(program.stages):
        match stage:
            case Operator():
                absolute, roundings = _absolute(stage), _roundings(stage) * roundoff
                if roundings >= 1:
                    raise OnelayerError(f"{_roundings(stage):,} roundings of {dtype} add up to no useful bound")
                carried = absolute.apply(reach + error)
                reach = absolute.apply(reach)
                error = carried - reach + roundings / (1 - roundings) * carried
            case Clamp():
                # Its bounds are rounded too.
                bounds = [abs(bound) for bound in (stage.low, stage.high) if np.isfinite(bound)]
                error = error + roundoff * max(bounds, default=0.0)
                if index in idle:
                    low, high = before[index].low.min(), before[index].high.max()
                    error = error + max(stage.low - low, high - stage.high, 0.0)
            case Quantize():
                pass
            case _:
                raise TypeError(f"no rounding analysis for {type(stage).__name__}")
    return error, reach


def _absolute(operator: Operator) -> Operator:
    """The operator of the absolute weights and biases."""
    match operator:
        case Separable():
            rows, cols = (replace(axis, weights=np.abs(axis.weights)) for axis in (operator.rows, operator.cols))
            return Separable(np.abs(operator.channel), rows, cols, np.abs(operator.bias), operator.transpose)
        case SpatialSparse():
            parts = abs(operator.matrix), operator.in_size, operator.out_size
            return SpatialSparse(np.abs(operator.channel), *parts, np.abs(operator.bias))
        case Dense():
            weight, bias = np.abs(operator.weight), np.abs(operator.bias)
            return Dense(weight, bias, operator.in_shape, operator.out_shape)
        case _:
            raise TypeError(f"no rounding analysis for {type(operator).__name__}")


def _roundings(operator: Operator) -> int:
    """Rounded operations on the way of any term to its output; a term of weight zero adds exactly zero."""
    biased = 0
    match operator:
        case Separable():
            mixed = _most_terms(operator.channel) if not _is_identity(operator.channel) else 0
            axes = sum(axis.taps for axis in (operator.rows, operator.cols) if not axis.is_selection)
            terms, biased = mixed + axes, int(operator.bias.any())
        case SpatialSparse():
            mixed = _most_terms(operator.channel) if not _is_identity(operator.channel) else 0
            terms, biased = mixed + int(np.diff(operator.matrix.indptr).max()), int(operator.bias.any())
        case Dense():
            terms, biased = _most_terms(operator.weight), int(operator.bias.any())
        case _:
            raise TypeError(f"no rounding analysis for {type(operator).__name__}")
    return terms + biased


def _most_terms(matrix: FloatArray) -> int:
    return int(np.count_nonzero(matrix, axis=1).max())


def _is_identity(channel: FloatArray) -> bool:
    return np.array_equal(channel, np.eye(*channel.shape))


def levels_apart(apart: FloatArray, original: Rounds) -> FloatArray:
    """How far whole numbers can be apart that a layer and a pipeline round to.

    With y and z the real values, r and s the errors of rounding them, and k the integer that the results differ by,
    ``|k| ≤ |y − z| + |r − s|``. A layer rounds to the nearest, |r| ≤ ½. The pipeline rounds

    * nowhere, as it gives whole numbers anyway: s = 0, so ``k ≤ ⌊apart + ½⌋``;
    * by the same function as the layer, which never descends and moves with whole numbers. Rounding half up does so,
      and cutting off, which saturation at 0 makes the same as rounding down. So ``k ≤ ⌈apart⌉``;
    * somehow, once, to the nearest or by cutting off: |s| < 1, so |r − s| < 3/2, and ``k ≤ ⌈apart + 3/2⌉ − 1``. That
      covers half to even too, which does not move with odd numbers: ½ becomes 0, and 3/2 becomes 2.

    Args:
        apart: The largest difference of the real values.
        original: How the pipeline rounds.
    """
    match original:
        case "nowhere":
            return np.floor(apart + 0.5)
        case "alike":
            return np.ceil(apart)
        case "somehow":
            return np.ceil(apart + 0.5)
