"""From what probes found to operators: as measured, and with the exact taps of what has a name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import final

import numpy as np

from onelayer.algebra import AxisMap, ChannelMap, Operator, Separable, SpatialSparse
from onelayer.algebra.fixed_point import in_fixed_point
from onelayer.algebra.operator import FloatArray
from onelayer.identification.local_probes import LocalFound
from onelayer.identification.separable_probes import SeparableFound
from onelayer.recognition import NamedAxis, NamedChannels, named_axis, named_channels
from onelayer.recognition.support import banded, bands

_DEVIATIONS = 30.0
"""Standard deviations of rounding that a tap may be off by and still have the name of a known map: libraries that
resize bytes round twice, and outputs near each other are not independent. Fresh images decide if it deserves it."""
_FINE, _COARSE = 2e-6, 1e-3
"""What a tap may be off by besides, relative to the largest: float32 weights, and weights of 11 bits for bytes."""


_LIMITS = (1 << 15, 29_000, 1 << 14)
"""What PyTorch's whole weights for bytes stay below, see :func:`~onelayer.algebra.fixed_point.in_fixed_point`; and
less, where the largest weight was at an end of the axis that has been cropped."""


_PARTS = (256, 3, 5, 7, 9)
"""What filters of bytes have as weights: whole ones of 8 bits, or means of a few values."""


@final
@dataclass(frozen=True, eq=False)
class LinearPart:
    """An operator without bias.

    Args:
        operator: The operator.
        words: What its factors do: name of the factor → in words.
        names: How many of them are known by name.
    """

    operator: Operator
    words: dict[str, str]
    names: int = 0


def of_separable(found: SeparableFound, *, rounded: bool) -> Iterator[LinearPart]:
    """With the exact taps of all that has a name, if anything has; and as measured.

    Args:
        found: The factors.
        rounded: Whether they were measured on rounded outputs.
    """
    floor = _COARSE if rounded else _FINE
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
            if rounded and precision == "float64":
                # As they resize bytes: whole weights over a power of two, in which halves are exact.
                for of_rows, of_cols in ((None, None), *product(_limits(rows), _limits(cols))):
                    yield _part(found, tolerances, _whole(rows, of_rows), _whole(cols, of_cols), channels)
            if rows is not None or cols is not None or channels is not None:
                yield _part(found, tolerances, rows, cols, channels)
        if rounded and (rows is None or cols is None) and precision == "float64":
            for parts in _PARTS:
                whole = rows or _in_parts(found.factors.rows, parts), cols or _in_parts(found.factors.cols, parts)
                for channels in mixings or (None,):
                    yield _part(found, tolerances, *whole, channels)
    yield _part(found, tolerances, None, None, None)


def of_local(
    found: LocalFound, in_size: tuple[int, int], out_size: tuple[int, int], *, rounded: bool
) -> Iterator[LinearPart]:
    """With the exact mixing of channels if that has a name; and as measured.

    Args:
        found: The weights.
        in_size: Height and width of the input.
        out_size: Height and width of the output.
        rounded: Whether they were measured on rounded outputs.
    """
    floor = _COARSE if rounded else _FINE
    channels = named_channels(found.channel, floor * float(np.abs(found.channel).max(initial=0.0)))
    for known in (channels, None) if channels is not None else (None,):
        channel = found.channel if known is None else known.matrix
        operator = SpatialSparse(ChannelMap(channel), found.matrix, in_size, out_size, np.zeros(len(channel)))
        taps = int(np.diff(operator.matrix.indptr).max(initial=0))
        yield LinearPart(
            operator, {"space": f"at most {taps} taps per pixel", "channels": _mixing_words(known, channel)}
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
    words = {
        "rows": _words(rows, maps[0]),
        "columns": _words(cols, maps[1]),
        "channels": _mixing_words(channels, channel),
    }
    if found.transpose:
        words = {"first": "height and width swapped", **words}
    operator = Separable(ChannelMap(channel), maps[0], maps[1], np.zeros(len(channel)), found.transpose)
    return LinearPart(operator, words, sum(one is not None for one in (rows, cols, channels)))


def _measured(factor: FloatArray, tolerance: float) -> AxisMap:
    """Without taps at the ends of the bands that are no larger than what they may be off by."""
    return banded(np.where(bands(factor, tolerance / 4), factor, 0.0))


def _in_parts(factor: FloatArray, parts: int) -> NamedAxis:
    """With weights that are whole multiples of a part of 1."""
    whole = banded(np.rint(parts * factor) / parts)
    name = f"measured, in parts of {parts}: {whole.taps} taps, {whole.n_in}→{whole.n_out}"
    return NamedAxis(name, whole, float(np.abs(whole.to_dense() - factor).max(initial=0.0)))


def _words(known: NamedAxis | None, axis: AxisMap) -> str:
    return f"measured: {axis.taps} taps, {axis.n_in}→{axis.n_out}" if known is None else known.name


def _limits(known: NamedAxis | None) -> tuple[int, ...]:
    return _LIMITS if known is not None and ", crop" in known.name else _LIMITS[:1]


def _whole(known: NamedAxis | None, limit: int | None) -> NamedAxis | None:
    return None if known is None else replace(known, map=in_fixed_point(known.map, limit))


def _mixing_words(known: NamedChannels | None, channel: FloatArray) -> str:
    if known is not None:
        return known.name
    return "measured: " + "; ".join(", ".join(f"{weight:.5g}" for weight in row) for row in channel)
