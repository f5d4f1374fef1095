"""State OpenCV's resizes of bytes, bit for bit.

Source of the arithmetic: ``resize.cpp`` of OpenCV 4 and 5. Builds for other processors have kernels of their own, so
the arithmetic counts as known only where some images come out of the installed OpenCV as it says, which is tried out
once in a process. OpenCV is imported when that is asked, because something of it is to be compiled.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cache
from typing import Any

import numpy as np

from onelayer.algebra import AxisMap, FloatOp, Program, Quantize, Separable, Stage
from onelayer.algebra.checks import FloatArray, IntArray
from onelayer.errors import OnelayerError
from onelayer.frontends.base import Derivation, not_bit_exact, register_step
from onelayer.frontends.placement import COLUMNS_FIRST, RESIZE_TO, Move, Size, Step, Sums, SumsName
from onelayer.image_spec import ImageSpec, RoundingMode

ONE = 2048
"""A weight of one, of 11 bits."""

SHIFTED_CHANNELS = 1, 3, 4
"""Numbers of channels whose blocks of 2×2 OpenCV sums in vectors, which round half up and not half to even."""


class Flag(IntEnum):
    """OpenCV's interpolations, by its numbers."""

    NEAREST = 0
    LINEAR = 1
    CUBIC = 2
    AREA = 3
    LANCZOS4 = 4
    LINEAR_EXACT = 5
    NEAREST_EXACT = 6


NAMES: dict[int, tuple[SumsName, ...]] = {
    Flag.NEAREST: ("opencv_nearest",),
    Flag.LINEAR: ("opencv_linear",),
    Flag.AREA: ("opencv_area",),
    Flag.NEAREST_EXACT: ("opencv_nearest_exact", "opencv_nearest_fixed"),
}
"""What each interpolation may be, by version and processor."""

_KNOWN = "INTER_LINEAR, INTER_NEAREST, INTER_NEAREST_EXACT, or INTER_AREA by whole numbers"

_PROBES: tuple[tuple[Size, Size], ...] = (
    ((19, 23), (7, 9)),
    ((6, 10), (31, 27)),
    ((18, 14), (9, 7)),
    ((12, 15), (4, 3)),
    ((61, 40), (23, 40)),
    ((33, 70), (20, 71)),
)
"""Sizes before and after the resizes that are tried out."""


@cache
def known_sums(flag: int) -> SumsName | None:
    """Return the arithmetic that the installed OpenCV resizes bytes with; None where it is none that is known.

    Args:
        flag: Interpolation, by OpenCV's number.

    Raises:
        OnelayerError: If OpenCV cannot be imported.
    """
    return next((name for name in NAMES.get(flag, ()) if _is_right(name, flag)), None)


def _is_right(name: SumsName, flag: int) -> bool:
    try:
        cv2: Any = importlib.import_module("cv2")
    except ImportError as error:
        raise OnelayerError("OpenCV cannot be imported", hint="Install opencv-python-headless.") from error
    generator = np.random.default_rng(0)
    for number, (size, new_size) in enumerate(_PROBES):
        shape = *size, (1, 3, 4)[number % 3]
        image = generator.integers(0, 256, shape, np.uint8)
        try:
            stages = _stages(shape[2], size, new_size, name)
        except OnelayerError:
            continue
        expected = cv2.resize(image, new_size[::-1], interpolation=flag).reshape(*new_size, shape[2])
        result = Program((shape[2], *size), tuple(stages)).apply(np.moveaxis(image, -1, 0))
        if not np.array_equal(np.moveaxis(result, 0, -1), expected):
            return False
    return True


def resized(spec: ImageSpec, size: Size, flag: int) -> Derivation:
    """Derive a resize of bytes with every rounding.

    Args:
        spec: The image.
        size: Height and width after it.
        flag: Interpolation, by OpenCV's number.

    Raises:
        OnelayerError: If the arithmetic is not known bit for bit, or a length is less than one.
    """
    channels, *lengths = spec.shape
    if min(size) < 1:
        raise OnelayerError(
            f"a resize to {size[0]}×{size[1]} was asked for", expected="a height and width of at least 1"
        )
    output = replace(spec, shape=(channels, *size))
    if tuple(lengths) == size:
        return [], output
    if spec.dtype != "uint8":
        raise not_bit_exact(f"OpenCV's resize of {spec.dtype}", "uint8")
    if (name := known_sums(flag)) is None:
        interpolation = f"INTER_{Flag(flag).name}" if flag in set(Flag) else f"interpolation {flag}"
        raise not_bit_exact(f"OpenCV's {interpolation} on this processor", _KNOWN)
    return _stages(channels, (lengths[0], lengths[1]), size, name), output


def _stages(channels: int, before: Size, size: Size, name: SumsName) -> list[Stage]:
    if name not in ("opencv_linear", "opencv_area"):
        rows, cols = (AxisMap.select(n, nearest(n, m, name)) for n, m in zip(before, size, strict=True))
        return [Separable.of_axes(channels, rows, cols)]
    (height, width), is_area = before, name == "opencv_area"
    is_halved = before == (2 * size[0], 2 * size[1])
    grows = height < size[0] or width < size[1]
    if is_halved or (is_area and not grows):
        return _blocks(channels, height, width, size)
    return _linear(channels, height, width, size, is_area)


def nearest(n_in: int, n_out: int, name: SumsName) -> IntArray:
    """Return the sample that each output of an axis copies, int64 [n_out]."""
    outputs = np.arange(n_out, dtype=np.int64)
    if name == "opencv_nearest":
        places = np.floor(outputs * (1.0 / (n_out / n_in))).astype(np.int64)
    elif name == "opencv_nearest_fixed":
        step = ((n_in << 16) + n_out // 2) // n_out
        places = (outputs * step + (step // 2 - n_in % 2)) >> 16
    else:
        # Places are added up in float64, as in Pillow.
        steps = np.full(n_out, n_in / n_out)
        steps[0] /= 2
        places = np.add.accumulate(steps).astype(np.int64)
    result: IntArray = np.minimum(places, n_in - 1)
    return result


def is_whole(n_in: int, n_out: int) -> bool:
    """Whether an axis shrinks by a whole number, as OpenCV finds that out."""
    scale = 1.0 / (n_out / n_in)
    return bool(abs(scale - np.rint(scale)) < np.finfo(np.float64).eps)


def _blocks(channels: int, height: int, width: int, size: tuple[int, int]) -> list[Stage]:
    """Derive means of blocks of pixels: whole sums, times the reciprocal in float32."""
    if not (is_whole(height, size[0]) and is_whole(width, size[1])):
        raise not_bit_exact(
            f"OpenCV's INTER_AREA from {height}×{width} to {size[0]}×{size[1]}", "a reduction by whole numbers"
        )
    factors = height // size[0], width // size[1]
    rows, cols = (
        AxisMap(n, factor * np.arange(m), np.ones((m, factor)))
        for n, m, factor in zip((height, width), size, factors, strict=True)
    )
    sums = Separable.of_axes(channels, rows, cols)
    if factors == (2, 2) and channels in SHIFTED_CHANNELS:
        quarter = Separable.of_channels(np.eye(channels) / 4, np.zeros(channels), size)
        return [sums, quarter, Quantize("half_up")]
    reciprocal = np.array([np.float32(1.0 / (factors[0] * factors[1]))], np.float64)
    return [sums, FloatOp("multiply", reciprocal), Quantize("half_even")]


def _linear(channels: int, height: int, width: int, size: tuple[int, int], is_area: bool) -> list[Stage]:
    """Derive the bilinear sums in fixed point.

    ``s = (x₀·a₀ + x₁·a₁) >> 4`` along columns, and along rows ``(((b₀·s₀) >> 16) + ((b₁·s₁) >> 16) + 2) >> 2``: each
    product is cut off by itself, so that rows are taken apart into pairs first, and added up again.
    """
    first, second, weights = taps(width, size[1], is_area, clamps=True)
    cols = _of_pairs(width, first, second, weights / 16)
    first, second, weights = taps(height, size[0], is_area, clamps=False)
    places = np.stack([first, second], axis=1).ravel()
    apart = AxisMap(height, places, weights.reshape(-1, 1) / 65536)
    joined = AxisMap(2 * size[0], 2 * np.arange(size[0]), np.full((size[0], 2), 0.25))
    identity = AxisMap.identity
    return [
        Separable.of_axes(channels, identity(height), cols),
        Quantize("truncate", "int16"),
        Separable.of_axes(channels, apart, identity(size[1])),
        Quantize("truncate", "int16"),
        Separable.of_axes(channels, joined, identity(size[1])),
        Quantize("half_up"),
    ]


def taps(n_in: int, n_out: int, is_area: bool, clamps: bool) -> tuple[IntArray, IntArray, FloatArray]:
    """Compute the two samples of each output of an axis, int64 [n_out], and their whole weights, [n_out, 2].

    Args:
        n_in: Length of the axis.
        n_out: Length after the resize.
        is_area: Whether samples are placed as ``INTER_AREA`` does where an axis grows.
        clamps: Whether an output beyond the first or the last sample copies it, as along columns. Along rows both
            samples are that one, with their weights.
    """
    inverse = n_out / n_in
    scale = 1.0 / inverse
    outputs = np.arange(n_out)
    if is_area:
        places = np.floor(outputs * scale).astype(np.int64)
        ahead = ((outputs + 1) - (places + 1) * inverse).astype(np.float32)
        fractions = np.where(ahead <= 0, np.float32(0), ahead - np.floor(ahead))
    else:
        centres = ((outputs + 0.5) * scale - 0.5).astype(np.float32)
        places = np.floor(centres).astype(np.int64)
        fractions = centres - places.astype(np.float32)
    if clamps:
        fractions = np.where((places < 0) | (places >= n_in - 1), np.float32(0), fractions)
    first, second = (np.clip(places + k, 0, n_in - 1) for k in (0, 1))
    if clamps:
        first = np.clip(places, 0, n_in - 1)
    pairs = np.stack([np.float32(1) - fractions, fractions], axis=1).astype(np.float32)
    return first, second, np.rint(pairs * np.float32(ONE)).astype(np.float64)


def _of_pairs(n_in: int, first: IntArray, second: IntArray, weights: FloatArray) -> AxisMap:
    """Return an axis of two neighbours each, or one sample where the axis has only that."""
    if n_in == 1:
        return AxisMap(1, first, weights.sum(axis=1, keepdims=True))
    starts = np.minimum(first, n_in - 2)
    placed = np.zeros_like(weights)
    for k, places in enumerate((first, second)):
        placed[np.arange(len(starts)), places - starts] += weights[:, k]
    return AxisMap(n_in, starts, placed)


@dataclass(frozen=True)
class Resize(Step):
    """A resize to one size.

    Args:
        size: Height and width after it.
        flag: Interpolation, by OpenCV's number.
    """

    size: Size
    flag: int

    resizes = True

    def move(self) -> Move:
        """Return the move; see :meth:`Step.move`."""
        return RESIZE_TO, *self.size, 0, 0

    def sums(self, spec: ImageSpec, rounding: RoundingMode) -> Sums | None:
        """Return the arithmetic of bytes; see :meth:`Step.sums`."""
        name = known_sums(self.flag) if rounding == "exact" and spec.dtype == "uint8" else None
        return None if name is None else Sums(name, 0, 0, COLUMNS_FIRST)

    def resized(self, height: int, width: int) -> Size:  # noqa: ARG002 - for a resize by a rule
        """Compute height and width after the resize, from those before it."""
        return self.size

    def stages(self, spec: ImageSpec, rounding: RoundingMode) -> Derivation:  # noqa: ARG002 - every rounding is known
        """Derive the resize; see :meth:`Step.stages`."""
        return resized(spec, self.resized(*spec.shape[1:]), self.flag)


@dataclass(frozen=True)
class ResizeBy(Resize):
    """A resize to a size that follows from that of the image.

    Args:
        rule: Rule for height and width after it.
    """

    rule: Callable[[int, int], Size] = lambda height, width: (height, width)

    by_rule = True

    def resized(self, height: int, width: int) -> Size:
        """Compute height and width after the resize, from those before it."""
        return self.rule(height, width)

    def move_for(self, height: int, width: int) -> Move:
        """Return the move; see :meth:`Step.move_for`."""
        size = self.rule(height, width)
        if self.flag == Flag.AREA:
            refuse_unknown_area(height, width, size)
        return RESIZE_TO, *size, 0, 0


def refuse_unknown_area(height: int, width: int, size: Size) -> None:
    """Refuse a resize with ``INTER_AREA`` whose sums are not known, before anything is computed.

    Raises:
        UnsupportedTransformError: If it is a reduction, and not by whole numbers.
    """
    grows = height < size[0] or width < size[1]
    is_known = grows or (height, width) == size or (is_whole(height, size[0]) and is_whole(width, size[1]))
    if not is_known:
        raise not_bit_exact(f"OpenCV's INTER_AREA from {height}×{width} to {size[0]}×{size[1]}", _KNOWN)


@register_step(Resize, ResizeBy)
def _resize(transform: Resize, _: ImageSpec) -> Resize:
    return transform
