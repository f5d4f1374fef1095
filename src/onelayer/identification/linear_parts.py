"""Turns measured factors into operators: as measured, and with the exact taps of known maps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import final

import numpy as np

from onelayer.algebra import AxisMap, ChannelMap, Operator, Separable, SpatialSparse
from onelayer.algebra.fixed_point import in_fixed_point
from onelayer.algebra.operator import FloatArray
from onelayer.identification.pixel_probes import LocalFound
from onelayer.identification.separable_probes import SeparableFound
from onelayer.recognition import AxisSteps, NamedAxis, NamedChannels, named_axis, named_channels
from onelayer.recognition.tolerance import banded, bands

_DEVIATIONS = 30.0
"""Number of standard deviations of rounding that a tap may be off a known map: libraries that resize bytes round twice,
and outputs near each other are not independent. Fresh images decide whether it is that map."""
_FINE, _COARSE = 2e-6, 1e-3
"""Further error of a tap, relative to the largest: float32 weights, and weights of 11 bits for bytes."""
_LIMITS = (1 << 15, 29_000, 1 << 14)
"""Limits of PyTorch's whole weights for bytes, see :func:`~onelayer.algebra.fixed_point.in_fixed_point`; lower ones,
where the largest weight was at an end of the axis that has been cropped."""
_DENOMINATORS = (256, 3, 5, 7, 9)
"""Denominators of the weights of filters of bytes: whole weights of 8 bits, or means of a few values."""


@final
@dataclass(frozen=True, eq=False)
class LinearPart:
    """An operator without bias.

    Args:
        operator: The operator.
        description: Description of each factor, by name of the factor.
        named_factors: Number of factors that are known maps.
        axes: What happens along rows and columns; None for each that is no known map.
    """

    operator: Operator
    description: dict[str, str]
    named_factors: int = 0
    axes: tuple[AxisSteps | None, AxisSteps | None] = (None, None)


def separable_parts(found: SeparableFound, *, quantized: bool) -> Iterator[LinearPart]:
    """Yield operators with the exact taps of known maps, if any, and as measured.

    Args:
        found: The measured factors.
        quantized: Whether they were measured on rounded outputs.
    """
    floor = _COARSE if quantized else _FINE
    tolerances = [
        _DEVIATIONS * noise + floor * float(np.abs(factor).max(initial=0.0))
        for noise, factor in zip(found.noise, found.factors.each, strict=True)
    ]
    nearest = named_channels(found.factors.channel, tolerances[0])
    mixings = () if nearest is None else (nearest, *nearest.also)
    # PyTorch places samples of float32 images in float32; Pillow all of them in float64, PyTorch those of bytes.
    for precision in ("float64", "float32"):
        rows, cols = (named_axis(found.factors.each[along], tolerances[along], precision) for along in (1, 2))
        for channels in mixings or (None,):
            if quantized and precision == "float64":
                # As they resize bytes: whole weights over a power of two, in which halves are exact.
                for rows_limit, cols_limit in ((None, None), *product(_limits(rows), _limits(cols))):
                    yield _part(found, tolerances, _whole(rows, rows_limit), _whole(cols, cols_limit), channels)
            if rows is not None or cols is not None or channels is not None:
                yield _part(found, tolerances, rows, cols, channels)
        if quantized and (rows is None or cols is None) and precision == "float64":
            for denominator in _DENOMINATORS:
                whole = (
                    rows or _in_fractions(found.factors.rows, denominator),
                    cols or _in_fractions(found.factors.cols, denominator),
                )
                for channels in mixings or (None,):
                    yield _part(found, tolerances, *whole, channels)
    yield _part(found, tolerances, None, None, None)


def local_parts(
    found: LocalFound, in_size: tuple[int, int], out_size: tuple[int, int], *, quantized: bool
) -> Iterator[LinearPart]:
    """Yield operators with the exact mixing of channels, if that is a known one, and as measured.

    Args:
        found: The measured weights.
        in_size: Height and width of the input.
        out_size: Height and width of the output.
        quantized: Whether they were measured on rounded outputs.
    """
    floor = _COARSE if quantized else _FINE
    channels = named_channels(found.channel, floor * float(np.abs(found.channel).max(initial=0.0)))
    for known in (channels, None) if channels is not None else (None,):
        channel = found.channel if known is None else known.matrix
        operator = SpatialSparse(ChannelMap(channel), found.matrix, in_size, out_size, np.zeros(len(channel)))
        taps = int(np.diff(operator.matrix.indptr).max(initial=0))
        yield LinearPart(
            operator, {"space": f"at most {taps} taps per pixel", "channels": _describe_channels(known, channel)}
        )


def _part(
    found: SeparableFound,
    tolerances: list[float],
    rows: NamedAxis | None,
    cols: NamedAxis | None,
    channels: NamedChannels | None,
) -> LinearPart:
    maps = [
        _measured(found.factors.each[along], tolerances[along]) if known is None else known.map
        for along, known in ((1, rows), (2, cols))
    ]
    channel = found.factors.channel if channels is None else channels.matrix
    description = {
        "rows": _describe_axis(rows, maps[0]),
        "columns": _describe_axis(cols, maps[1]),
        "channels": _describe_channels(channels, channel),
    }
    if found.transpose:
        description = {"first": "height and width swapped", **description}
    operator = Separable(ChannelMap(channel), maps[0], maps[1], np.zeros(len(channel)), found.transpose)
    named = sum(known is not None for known in (rows, cols, channels))
    steps = tuple(None if known is None or found.transpose else known.steps for known in (rows, cols))
    return LinearPart(operator, description, named, (steps[0], steps[1]))


def _measured(factor: FloatArray, tolerance: float) -> AxisMap:
    """Leave out taps at the ends of the bands that are no larger than their error."""
    return banded(np.where(bands(factor, tolerance / 4), factor, 0.0))


def _in_fractions(factor: FloatArray, denominator: int) -> NamedAxis:
    """Round weights to fractions with a denominator."""
    whole = banded(np.rint(denominator * factor) / denominator)
    name = f"measured, in parts of {denominator}: {whole.taps} taps, {whole.n_in}→{whole.n_out}"
    return NamedAxis(name, whole, float(np.abs(whole.to_dense() - factor).max(initial=0.0)))


def _describe_axis(known: NamedAxis | None, axis: AxisMap) -> str:
    return f"measured: {axis.taps} taps, {axis.n_in}→{axis.n_out}" if known is None else known.name


def _limits(known: NamedAxis | None) -> tuple[int, ...]:
    return _LIMITS if known is not None and ", crop" in known.name else _LIMITS[:1]


def _whole(known: NamedAxis | None, limit: int | None) -> NamedAxis | None:
    return None if known is None else replace(known, map=in_fixed_point(known.map, limit))


def _describe_channels(known: NamedChannels | None, channel: FloatArray) -> str:
    if known is not None:
        return known.name
    return "measured: " + "; ".join(", ".join(f"{weight:.5g}" for weight in row) for row in channel)
