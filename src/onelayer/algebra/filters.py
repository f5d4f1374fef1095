"""The samples that resampling filters and padding read, as Pillow, PyTorch and torchvision define them.

Sources: ``precompute_coeffs`` in Pillow's ``Resample.c``; ``UpSample.h`` and ``UpSampleKernel.cpp`` in PyTorch. In
their order of operations, so that fixed-point weights derived from these agree with theirs.

Pillow places samples in float64, PyTorch in the precision of the image. In float32 a place at 1000 is rounded by up to
3·10⁻⁵ of a sample, and nearly all that its results differ from real arithmetic by comes from that. Weights are computed
in float64 here, at those places.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from onelayer.algebra.checks import FloatArray, IntArray
from onelayer.errors import OnelayerError

Precision = Literal["float32", "float64"]
Padding = Literal["zero", "edge", "reflect", "symmetric"]


@dataclass(frozen=True)
class Filter:
    """A resampling filter.

    Args:
        support: Distance that it reaches, in output samples.
        weigh: Function from distances in output samples to weights.
    """

    support: float
    weigh: Callable[[FloatArray], FloatArray]


def _box(x: FloatArray) -> FloatArray:
    return ((x > -0.5) & (x <= 0.5)).astype(np.float64)


def _bilinear(x: FloatArray) -> FloatArray:
    return np.maximum(1.0 - np.abs(x), 0.0)


_WINDOW, _CHANGE = float(np.float32(0.54)), float(np.float32(0.46))
"""Pillow's two constants of the Hamming window: of single precision (``0.54f``), in arithmetic of double."""


def _hamming(x: FloatArray) -> FloatArray:
    angle = np.abs(x) * np.pi
    # np.sinc would multiply by pi once more, in another order than Pillow does.
    with np.errstate(invalid="ignore"):
        weights = np.sin(angle) / angle * (_WINDOW + _CHANGE * np.cos(angle))
    weights[angle == 0.0] = 1.0
    weights[np.abs(x) >= 1.0] = 0.0
    return weights


def _near_cubic(x: FloatArray, a: float) -> FloatArray:
    return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0


def _far_cubic(x: FloatArray, a: float) -> FloatArray:
    return (((x - 5.0) * x + 8.0) * x - 4.0) * a


def _bicubic(x: FloatArray) -> FloatArray:
    x = np.abs(x)
    return np.where(x < 1.0, _near_cubic(x, -0.5), np.where(x < 2.0, _far_cubic(x, -0.5), 0.0))


def _sinc(x: FloatArray) -> FloatArray:
    angle = x * np.pi
    with np.errstate(invalid="ignore"):
        values = np.sin(angle) / angle
    values[angle == 0.0] = 1.0
    return values


def _lanczos(x: FloatArray) -> FloatArray:
    return np.where((x >= -3.0) & (x < 3.0), _sinc(x) * _sinc(x / 3.0), 0.0)


ANTIALIASING = {
    "box": Filter(0.5, _box),
    "bilinear": Filter(1.0, _bilinear),
    "hamming": Filter(1.0, _hamming),
    "bicubic": Filter(2.0, _bicubic),
    "lanczos": Filter(3.0, _lanczos),
}
"""The filters that widen with the reduction, by name."""


def widened(
    n_in: int, n_out: int, kind: Filter, box: tuple[float, float], precision: Precision
) -> tuple[IntArray, FloatArray]:
    """Compute the taps of a resize with antialiasing.

    Args:
        n_in: Input samples.
        n_out: Output samples.
        kind: The filter.
        box: Start and end of the part of the input axis to resize, in samples, 0 ≤ start < end ≤ n_in.
        precision: Precision of places and distances.

    Returns:
        First sample read by each output sample, int64 [n_out], and the weights from there on, float64 [n_out, K],
        padded with zeros, at the front where they would otherwise leave the input.
    """
    # Pillow passes the box as float32 and takes its length in float32.
    begin = np.float32(box[0])
    real = np.dtype(precision).type
    scale = float(real(float(np.float32(box[1]) - begin) / n_out))
    filter_scale = max(scale, 1.0)
    support = real(kind.support * filter_scale)
    centre = (float(begin) + (np.arange(n_out) + 0.5) * scale).astype(real, copy=False)
    # A half is a float64 in both libraries, whatever the image is.
    first = np.maximum(((centre - support).astype(np.float64) + 0.5).astype(np.int64), 0)
    end = np.minimum(((centre + support).astype(np.float64) + 0.5).astype(np.int64), n_in)
    width = int((end - first).max())
    starts = np.minimum(first, n_in - width)
    # Taps along the first axis: NumPy is many times faster along the long last one.
    taps = starts + np.arange(width)[:, None]
    from_centre = (taps.astype(real, copy=False) - centre).astype(np.float64, copy=False) + 0.5
    distances = (from_centre * float(real(1.0 / filter_scale))).astype(real, copy=False)
    weights = kind.weigh(distances.astype(np.float64, copy=False))
    weights[(taps < first) | (taps >= end)] = 0.0
    # One after the other, as both libraries add them; np.sum would add in pairs and round differently.
    sums = weights[0].copy()
    for tap in weights[1:]:
        sums += tap
    return starts, np.ascontiguousarray((weights / sums).T)


def two_taps(n_in: int, n_out: int, precision: Precision, fused: bool) -> tuple[IntArray, FloatArray]:
    """Compute the samples and weights of PyTorch's bilinear without antialiasing, both [n_out, 2].

    That is ``align_corners=False``.

    Args:
        n_in: Number of input samples.
        n_out: Number of output samples.
        precision: Precision of places.
        fused: Whether a place in float32 is multiplied and subtracted in one step (FMA), then rounded.
    """
    real = np.dtype(precision).type
    if fused and precision == "float32":
        places = ((np.arange(n_out) + 0.5) * float(real(n_in / n_out)) - 0.5).astype(real)
    else:
        places = (np.arange(n_out, dtype=real) + real(0.5)) * real(n_in / n_out) - real(0.5)
    source = np.maximum(places, real(0.0))
    first = np.minimum(source.astype(np.int64), n_in - 1)
    fraction = np.clip(source.astype(np.float64) - first, 0.0, 1.0)
    indices = np.stack([first, np.minimum(first + 1, n_in - 1)], axis=1)
    return indices, np.stack([1.0 - fraction, fraction], axis=1)


def four_taps(n_in: int, n_out: int, precision: Precision) -> tuple[IntArray, FloatArray]:
    """Compute the samples and weights of PyTorch's bicubic without antialiasing (a = −0.75), both [n_out, 4].

    A tap beyond an edge reads the edge sample, so the same sample can come up several times in a row.
    """
    real = np.dtype(precision).type
    # Multiplied and subtracted in one step (FMA), then rounded.
    source = ((np.arange(n_out) + 0.5) * float(real(n_in / n_out)) - 0.5).astype(real).astype(np.float64)
    first = np.floor(source)
    t = source - first
    weights = [_far_cubic(t + 1.0, -0.75), _near_cubic(t, -0.75)]
    weights += [_near_cubic(1.0 - t, -0.75), _far_cubic(2.0 - t, -0.75)]
    indices = first.astype(np.int64)[:, None] + np.arange(-1, 3)
    return np.clip(indices, 0, n_in - 1), np.stack(weights, axis=1)


def nearest(n_in: int, n_out: int, offset: float) -> IntArray:
    """Find the sample that each output sample copies, [n_out]: ``floor((i + offset)·scale)``.

    PyTorch computes this in float32 for uint8 and float32 images, and for about 2 % of all pairs of sizes some output
    then takes another sample than exact arithmetic would.
    """
    places = (np.arange(n_out, dtype=np.float32) + np.float32(offset)) * np.float32(n_in / n_out)
    return np.minimum(places.astype(np.int64), n_in - 1)


def padded_places(n: int, before: int, after: int, mode: Padding) -> IntArray:
    """Find the sample, 0 … n − 1, that each sample of the padded axis copies, [before + n + after].

    Args:
        n: Length of the axis.
        before: Samples added at the front; negative to take some away.
        after: Samples added at the end; negative to take some away.
        mode: ``edge``, ``reflect`` (about the edge sample) or ``symmetric`` (about the edge; as often as it takes, as
            ``numpy.pad`` does). ``zero`` copies nothing and is no selection.

    Raises:
        OnelayerError: If ``reflect`` is to add as many samples as the axis has or more, which PyTorch refuses, if
            nothing is left, or for another mode.
    """
    if n + before + after < 1:
        raise OnelayerError(f"padding {n} samples by {before} and {after} leaves none", expected="at least 1 sample")
    places = np.arange(-before, n + after)
    match mode:
        case "edge":
            return np.clip(places, 0, n - 1)
        case "reflect":
            if max(before, after) >= n:
                raise OnelayerError(
                    f"reflect padding of {max(before, after)} samples was asked for on an axis of {n}",
                    expected="less padding than the axis has samples",
                    hint="Pad in two steps, or use symmetric padding.",
                )
            mirrored: IntArray = (n - 1) - np.abs((n - 1) - np.abs(places))
            return mirrored
        case "symmetric":
            places = places % (2 * n)
            return np.minimum(places, 2 * n - 1 - places)
        case _:
            raise OnelayerError(f"there is no padding mode {mode!r}", expected=f"one of {', '.join(get_args(Padding))}")
