"""Derive torchvision's resizes: Pillow's and PyTorch's in fixed point, PyTorch's in float32, and real arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from PIL import Image
from torchvision import transforms as v1
from torchvision.transforms import functional as f1
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as f2
from torchvision.transforms.v2.functional import _geometry
from torchvision.transforms.v2.functional._geometry import _compute_resized_output_size

from onelayer.algebra import AxisMap, Clamp, Float32Sum, Quantize, Separable, Stage
from onelayer.algebra.axis import Interpolation
from onelayer.algebra.filters import Precision
from onelayer.algebra.fixed_point import in_fixed_point
from onelayer.algebra.float32_sum import resized_in_float32
from onelayer.errors import OnelayerError
from onelayer.frontends.base import Derivation, arguments, not_bit_exact, register_step
from onelayer.frontends.placement import (
    COLUMNS_FIRST,
    RESIZE_LONG,
    RESIZE_SHORT,
    RESIZE_TO,
    Move,
    RealSums,
    Size,
    Step,
    Sums,
    SumsName,
    rows_first,
)
from onelayer.frontends.torchvision.geometry import map_axes
from onelayer.frontends.torchvision.rounding_rules import (
    FixedPoint,
    fuses_places,
    pillow_resize,
    tensors_have_lanczos,
    torch_bytes,
    torch_float32,
)
from onelayer.image_spec import ImageSpec, RoundingMode

_OVERSHOOTING = ("bicubic", "lanczos")
"""Interpolations with negative weights."""

_NEAREST = ("nearest", "nearest_exact")

_WIDENING = ("bilinear", *_OVERSHOOTING)

_NARROW: dict[Interpolation, SumsName] = {
    "bilinear": "bilinear_without_antialiasing",
    "bicubic": "bicubic_without_antialiasing",
}
_FLOAT32: dict[Interpolation, SumsName] = {"bilinear": "float32_bilinear", "bicubic": "float32_bicubic"}
"""PyTorch's sums of bytes without antialiasing, and its sums in float32."""


@dataclass(frozen=True)
class Resize(Step):
    """A resize with the arguments of ``v2.Resize``.

    Args:
        size: See ``v2.Resize``.
        max_size: See ``v2.Resize``.
        kind: Filter.
        widens: Whether the filter widens with the reduction, as that of PIL images always does.
        for_bytes: Whether PyTorch resizes uint8 tensors in fixed point; in float32 otherwise.
    """

    size: int | Sequence[int] | None
    max_size: int | None
    kind: Interpolation
    widens: bool
    for_bytes: bool

    resizes = True

    def move(self) -> Move | None:
        """Return the move; see :meth:`Step.move`."""
        size, longest = self.size, self.max_size or 0
        # It refuses arguments that do not go together for images of all sizes.
        resized_size((1, 1), size, self.max_size)
        if size is None:
            return RESIZE_LONG, longest, 0, 0, 0
        sides = [size] if isinstance(size, int) else list(size)
        if len(sides) == 1:
            return RESIZE_SHORT, sides[0], longest, 0, 0
        return RESIZE_TO, sides[0], sides[1], 0, 0

    def resized(self, height: int, width: int) -> Size:
        """Compute height and width after the resize, from those before it."""
        return resized_size((height, width), self.size, self.max_size)

    def sums(self, spec: ImageSpec, rounding: RoundingMode) -> Sums | RealSums | None:
        """Return the arithmetic of the library that resizes such images; see :meth:`Step.sums`."""
        kind = self.kind
        if rounding == "fused":
            name: SumsName | None = kind if self.widens or kind in _NEAREST else _NARROW.get(kind)
            if spec.container == "pil" and kind in _NEAREST:
                name = "pillow_nearest"
            in_float32 = spec.is_float and spec.dtype != "float64"
            saturates = spec.dtype == "uint8" and kind in _OVERSHOOTING
            return None if name is None else RealSums(name, in_float32, in_float32 and fuses_places(), saturates)
        if spec.container == "pil":
            rules = pillow_resize()
            return Sums("pillow_nearest" if kind in _NEAREST else kind, rules.limit or 0, 0, rules.first)
        if kind in _NEAREST:
            return Sums(kind, 0, 0, COLUMNS_FIRST)
        if self.for_bytes:
            name = kind if self.widens else _NARROW.get(kind)
            return None if name is None else Sums(name, torch_bytes().limit or 0, 0, torch_bytes().first)
        rules32 = torch_float32()
        if not self.widens or kind not in _FLOAT32 or not rules32.weights_fused:
            return None
        return Sums(_FLOAT32[kind], 0, rules32.resize_unfused, COLUMNS_FIRST)

    def stages(self, spec: ImageSpec, rounding: RoundingMode) -> Derivation:
        """Derive the resize; see :meth:`Step.stages`."""
        is_pil, kind, widens = spec.container == "pil", self.kind, self.widens
        lengths = list(zip(spec.shape[1:], self.resized(*spec.shape[1:]), strict=True))
        if is_pil and kind in _NEAREST:
            rows, cols = (_pillow_nearest(n_in, n_out) for n_in, n_out in lengths)
        else:
            if spec.is_float and widens and kind in _WIDENING:
                _refuse_width_of_one(rows=lengths[0], cols=lengths[1])
            precision: Precision = "float32" if spec.is_float and spec.dtype != "float64" else "float64"
            fused = precision == "float32" and not widens and fuses_places()
            rows, cols = (
                AxisMap.resample(n_in, n_out, kind, widens, precision=precision, fused=fused) for n_in, n_out in lengths
            )
        stages, output = map_axes(spec, rows, cols)
        if not stages or kind in _NEAREST:
            return stages, output
        if rounding == "exact":
            return _rounded(spec, rows, cols, kind, widens, self.for_bytes), output
        if spec.dtype == "uint8" and kind in _OVERSHOOTING:
            stages.append(Clamp(0, 255))
        return stages, output


@register_step(v2.Resize, f2.resize)
def resize_v2(transform: Any, spec: ImageSpec) -> Resize:
    """State a resize of v2; of uint8 tensors PyTorch's for bytes, where that is fast, or that for float32."""
    size, interpolation, max_size, antialias = arguments(transform, "size", "interpolation", "max_size", "antialias")
    kind = _interpolation(interpolation)
    _refuse_of_tensors(kind, spec)
    widens = spec.container == "pil" or bool(antialias)
    return Resize(size, max_size, kind, widens, for_bytes=resizes_bytes(kind))


def resizes_bytes(kind: str) -> bool:
    """Whether torchvision's v2 leaves a resize of bytes to PyTorch on this processor, and makes no float32 of them."""
    return kind in _WIDENING and bool(_geometry._do_native_uint8_resize_on_cpu(v2.InterpolationMode(kind)))


@register_step(v1.Resize, f1.resize)
def resize_v1(transform: Any, spec: ImageSpec) -> Resize:
    """State a resize of v1; of uint8 tensors always that for float32. Lanczos is refused for tensors."""
    size, interpolation, max_size, antialias = arguments(transform, "size", "interpolation", "max_size", "antialias")
    kind = _interpolation(interpolation)
    if spec.container != "pil" and kind == "lanczos":
        raise OnelayerError("a v1 Resize of tensors has no interpolation lanczos", hint="Use v2.Resize.")
    _refuse_of_tensors(kind, spec)
    return Resize(size, max_size, kind, spec.container == "pil" or bool(antialias), for_bytes=False)


def _interpolation(interpolation: Any) -> Interpolation:
    """Name an ``InterpolationMode``, its value, or Pillow's number for it."""
    try:
        if isinstance(interpolation, int):
            name = Image.Resampling(interpolation).name.lower()
        else:
            name = v2.InterpolationMode(interpolation).value.replace("-", "_")
    except ValueError as error:
        raise OnelayerError(
            f"there is no interpolation {interpolation!r}", expected=", ".join(get_args(Interpolation))
        ) from error
    kind: Interpolation = name  # type: ignore[assignment]  # these are all the names there are
    return kind


def _refuse_of_tensors(kind: Interpolation, spec: ImageSpec) -> None:
    """Refuse an interpolation that the installed torchvision does not have for such images."""
    is_pil = spec.container == "pil"
    if not is_pil and kind in ("box", "hamming"):
        raise OnelayerError(
            f"a resize of tensors has no interpolation {kind}", expected="a PIL image", hint="Choose another one."
        )
    if not is_pil and kind == "lanczos" and not tensors_have_lanczos():
        raise OnelayerError(
            "the torchvision that is installed resizes no tensors with lanczos",
            expected="a PIL image, or torchvision 0.27 or later",
            hint="Choose another interpolation.",
        )


def resized_size(before: tuple[int, int], size: int | Sequence[int] | None, max_size: int | None) -> tuple[int, int]:
    """Compute height and width after a resize, from those before it. Source: torchvision."""
    try:
        height, width = _compute_resized_output_size(before, size, max_size)
    except ValueError as error:
        raise OnelayerError(
            f"a resize to {size} with max_size {max_size} was asked for",
            expected=str(error),
            hint="Choose another size or max_size.",
        ) from error
    if min(height, width) < 1:
        raise OnelayerError(
            f"a resize from {before[0]}×{before[1]} to {height}×{width} pixels was asked for",
            expected="a height and a width of at least 1",
            hint="Choose a larger size or max_size.",
        )
    return height, width


def _refuse_width_of_one(rows: tuple[int, int], cols: tuple[int, int]) -> None:
    """Refuse what PyTorch computes wrongly; both are lengths before and after."""
    # PyTorch 2.15 on CPU then fills every output row with the same input row instead of weighing several.
    if cols[1] == 1 and rows[0] > 1 and rows[1] not in (1, rows[0]):
        raise OnelayerError(
            "PyTorch resizes float tensors to a width of 1 wrongly when it antialiases and the height changes too",
            expected="a width of at least 2, or the same height",
            hint="Resize to another size, or use uint8 tensors, PIL images or antialias=False.",
        )


def _pillow_nearest(n_in: int, n_out: int) -> AxisMap:
    """Select samples as ``ImagingScaleAffine`` of Pillow's ``Geometry.c``, which adds up places in float64."""
    distances = np.full(n_out, n_in / n_out)
    distances[0] /= 2
    return AxisMap.select(n_in, np.minimum(np.add.accumulate(distances).astype(np.int64), n_in - 1))


def _rounded(
    spec: ImageSpec, rows: AxisMap, cols: AxisMap, kind: Interpolation, widens: bool, for_bytes: bool
) -> list[Stage]:
    """Derive a resize with every rounding, from its axes in real arithmetic."""
    channels = spec.shape[0]
    if spec.container == "pil":
        return _in_fixed_point(channels, rows, cols, pillow_resize())
    if spec.dtype == "uint8" and for_bytes:
        if channels > 4 and cols.n_out == 1 and rows.n_out not in (1, rows.n_in):
            raise not_bit_exact(
                f"a resize of {channels} channels to a width of 1, which PyTorch computes wrongly,",
                "at most 4 channels, or a width of at least 2",
            )
        return _in_fixed_point(channels, rows, cols, torch_bytes())
    return _in_float32(spec, rows, cols, kind, widens)


def _in_fixed_point(channels: int, rows: AxisMap, cols: AxisMap, rules: FixedPoint) -> list[Stage]:
    """Derive a pass along each axis that changes, rounded half up and saturated."""
    identity = AxisMap.identity
    passes: list[tuple[AxisMap, AxisMap]]
    if not rows_first(rules.first, rows.n_in, cols.n_in, rows.n_out, cols.n_out):
        passes = [(identity(rows.n_in), cols), (rows, identity(cols.n_out))]
    else:
        passes = [(rows, identity(cols.n_in)), (identity(rows.n_out), cols)]
    stages: list[Stage] = []
    for axes in passes:
        if not all(axis.is_identity for axis in axes):
            whole_rows, whole_cols = (in_fixed_point(axis, rules.limit) for axis in axes)
            stages += [Separable.of_axes(channels, whole_rows, whole_cols), Quantize("half_up")]
    return stages


def _in_float32(spec: ImageSpec, rows: AxisMap, cols: AxisMap, kind: Interpolation, widens: bool) -> list[Stage]:
    """Derive PyTorch's passes in float32, columns first; bytes are rounded half to even at the end."""
    if not widens or kind not in ("bilinear", "bicubic") or spec.dtype not in ("uint8", "float32"):
        raise not_bit_exact(
            f"a resize of {spec.dtype} tensors in float32 with {kind}{'' if widens else ' and without antialiasing'}",
            "bilinear or bicubic with antialiasing, of uint8 or float32",
        )
    _refuse_width_of_one(rows=(rows.n_in, rows.n_out), cols=(cols.n_in, cols.n_out))
    rules = torch_float32()
    identity = AxisMap.identity
    channels = identity(spec.shape[0])
    stages: list[Stage] = []
    if cols.n_out != cols.n_in:
        taps = resized_in_float32(cols.n_in, cols.n_out, kind, rules.weights_fused)
        stages.append(Float32Sum(channels, identity(rows.n_in), taps, rules.resize_unfused))
    if rows.n_out != rows.n_in:
        taps = resized_in_float32(rows.n_in, rows.n_out, kind, rules.weights_fused)
        stages.append(Float32Sum(channels, taps, identity(cols.n_out), rules.resize_unfused))
    return stages if spec.is_float else [*stages, Quantize("half_even")]
