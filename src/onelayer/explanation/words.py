"""Stages in words."""

from __future__ import annotations

import numpy as np

from onelayer.algebra import (
    AxisMap,
    Clamp,
    Dense,
    Float32Sum,
    FloatOp,
    Gamma,
    Lookup,
    Quantize,
    Separable,
    SpatialSparse,
    Stage,
)
from onelayer.algebra.operator import FloatArray

Taps = tuple[int, int] | float | None
"""Input pixels that an output value takes of a channel: (rows, columns) of a band, the mean number of a sparse map or a
dense matrix; None for what acts on single values."""

_ROUNDINGS = {"half_even": "round", "half_up": "round half up", "truncate": "cut the fraction off"}


def taps_of(stage: Stage) -> Taps:
    """The taps of a stage, padding of its bands included."""
    match stage:
        case Separable():
            return (stage.cols.taps, stage.rows.taps) if stage.transpose else (stage.rows.taps, stage.cols.taps)
        case SpatialSparse():
            return float(stage.matrix.nnz / stage.matrix.shape[0])
        case Float32Sum():
            return taps_of(stage.real)
        case Dense():
            _, height, width = stage.in_shape
            return float(height * width)
        case _:
            return None


def in_words(stage: Stage) -> str:
    """What a stage does, as a phrase for people."""
    match stage:
        case Separable():
            pieces = [
                "swap rows and cols" if stage.transpose else "",
                _axes(stage.rows, stage.cols),
                _mixing(stage.channel),
                _adding(stage.bias),
            ]
            return ", ".join(filter(None, pieces)) or "nothing"
        case SpatialSparse():
            warp = f"warp {_size(*stage.in_size)} → {_size(*stage.out_size)}"
            return ", ".join(filter(None, [warp, _mixing(stage.channel), _adding(stage.bias)]))
        case Float32Sum():
            return f"{in_words(stage.real)}, in float32"
        case FloatOp():
            return _arithmetic(stage)
        case Dense():
            outputs, inputs = stage.weight.shape
            return f"dense matrix {inputs:,} → {outputs:,}"
        case Clamp():
            return f"clamp to {stage.low:g} … {stage.high:g}"
        case Quantize():
            return f"{_ROUNDINGS[stage.rounding]}, to {stage.dtype}"
        case Lookup():
            return "look up in a table" + ("" if stage.channels is None else " per channel")
        case Gamma():
            return f"{stage.gain:g} · x^{stage.gamma:g}"
        case _:
            return type(stage).__name__


def _arithmetic(stage: FloatOp) -> str:
    number = "a number per channel" if stage.channels else f"{stage.numbers[0]:.4g}"
    verb = {"multiply": "multiply by", "subtract": "subtract", "divide": "divide by"}[stage.operation]
    return f"{verb} {number}, in {stage.dtype}"


def _axes(rows: AxisMap, cols: AxisMap) -> str:
    pieces = [
        (_verb(axis), name if _is_flip(axis) else f"{name} {_lengths(axis)}")
        for axis, name in ((rows, "rows"), (cols, "cols"))
        if not axis.is_identity
    ]
    if len(pieces) == 2 and pieces[0][0] == pieces[1][0]:
        before, after = _size(rows.n_in, cols.n_in), _size(rows.n_out, cols.n_out)
        sizes = before if before == after else f"{before} → {after}"
        return f"{pieces[0][0]} {'rows and cols' if _is_flip(rows) and _is_flip(cols) else sizes}"
    return ", ".join(f"{verb} {what}" for verb, what in pieces)


def _verb(axis: AxisMap) -> str:
    if axis.multiplications > 0:
        return "filter" if axis.n_in == axis.n_out else "resample"
    copied = axis.weights[:, 0] != 0.0
    if not copied.any():
        return "blank"
    if not copied.all():
        return "zero-pad" if axis.reads == axis.n_in else "crop and zero-pad"
    steps = np.diff(axis.starts)
    if bool((steps == 1).all()):
        return "crop"
    if bool((steps == -1).all()):
        return "flip" if _is_flip(axis) else "crop and flip"
    return "copy"


def _is_flip(axis: AxisMap) -> bool:
    return axis.is_selection and np.array_equal(axis.starts, np.arange(axis.n_in)[::-1])


def _lengths(axis: AxisMap) -> str:
    return f"{axis.n_in}" if axis.n_in == axis.n_out else f"{axis.n_in}→{axis.n_out}"


def _size(height: int, width: int) -> str:
    return f"{height}×{width}"


def _mixing(channel: FloatArray) -> str:
    outputs, inputs = channel.shape
    copies = bool(((channel != 0.0).sum(axis=1) == 1).all() and (channel.max(axis=1) == 1.0).all())
    if outputs == inputs and not (channel - np.diag(np.diag(channel))).any():
        factors = set(np.diag(channel).tolist())
        if factors == {1.0}:
            return ""
        return f"scale by {factors.pop():.4g}" if len(factors) == 1 else "scale per channel"
    if copies:
        return "take channels " + " ".join(map(str, channel.argmax(axis=1).tolist()))
    return f"mix channels {inputs}→{outputs}"


def _adding(bias: FloatArray) -> str:
    if not bias.any():
        return ""
    if bias.ndim == 3:
        return "add an image"
    values = set(bias.tolist())
    return f"add {values.pop():.4g}" if len(values) == 1 else "add per channel"
