"""Rotate, shear and warp PIL images as functions and transforms of libraries do, bit for bit, with kernels.

Where a pixel comes from is the library's and Pillow's business: they are given an image that holds nothing and writes
down what Pillow would be asked to do. So arguments, matrices and random numbers are theirs in every bit. A kernel
does what takes the time, sampling; whatever else was asked for is Pillow's.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Callable
from functools import cache
from importlib import import_module
from struct import Struct
from threading import local
from typing import Any

import numpy as np
import PIL.Image
from PIL.Image import Resampling, Transform
from torchvision import transforms as v1
from torchvision.transforms import functional as f1
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as f2
from torchvision.transforms.v2.functional._geometry import _check_interpolation

from onelayer.frontends.base import CompileParts, Function, arguments, register_function
from onelayer.frontends.torchvision import tensor_warps
from onelayer.image_spec import ImageSpec
from onelayer.images.pillow_memory import BYTES_PER_PIXEL, layout, load

_BYTE = 255
_LARGEST = 1e100
"""Numbers of a matrix from which on sums of products might overflow."""

_PERSPECTIVE = 8
"""Numbers that a perspective takes; an affine map takes the first six."""

_FIXED = 32000.0
"""Distance within which places surely fit into Pillow's numbers of 16 bits before the point and 16 behind it."""

_NUMBERS = {Transform.AFFINE: 6, Transform.PERSPECTIVE: _PERSPECTIVE}

_NEAREST_FROM, _GRAY_FROM = 128 * 128, 48 * 48
"""Pixels of an image from which on kernels are quicker: of nearest pixels in color, and bicubic ones in gray. What is
around a kernel takes some microseconds, and nearest pixels in gray take Pillow no longer."""

_KERNELS = {
    Resampling.NEAREST: ("nearest_warp_kernel", "warped_nearest"),
    Resampling.BILINEAR: ("warp_kernel", "warped_bilinear"),
    Resampling.BICUBIC: ("cubic_warp_kernel", "warped_cubic"),
}
"""Modules and names of kernels, by what Pillow is asked for."""


_FIELDS = 10
_CALL = Struct(f"{_FIELDS}Q{_PERSPECTIVE}d")


class _Call(local):
    """The call of a thread: its fields, uint64, and a matrix, float64."""

    def __init__(self) -> None:
        numbers = np.zeros(_CALL.size // 8, np.uint64)
        self.fields, self.matrix = numbers[:_FIELDS], numbers[_FIELDS:].view(np.float64)
        self.memory: Any = memoryview(numbers)  # type: ignore[arg-type]  # NumPy's arrays are buffers


_CALL_OF_THREAD = _Call()


@cache
def _kernel(resample: Resampling) -> Callable[..., bool]:
    """Import a kernel, and return a function that says whether the kernel made an image."""
    # When it is needed: Numba takes half a second.
    module, name = _KERNELS[resample]
    kernels = import_module(f"onelayer.backends.cpu.{module}")
    kernel, warped = getattr(kernels, name), kernels.WARPED
    return lambda *arguments: bool(kernel(*arguments) == warped)


class _Recorder(PIL.Image.Image):
    """An image without pixels, of the mode and size of another, that records what a new image is to be made by.

    Args:
        image: The other image.
    """

    def __init__(self, image: PIL.Image.Image) -> None:
        super().__init__()
        self._mode, self._size = image.mode, image.size
        self.asked: Callable[[PIL.Image.Image], PIL.Image.Image] | None = None

    def copy(self) -> _Recorder:
        """Record a copy."""
        self.asked = lambda image: image.copy()
        return self

    def transpose(self, method: PIL.Image.Transpose) -> _Recorder:
        """Record a flip, or a turn by right angles."""
        self.asked = lambda image: image.transpose(method)
        return self

    def transform(
        self,
        size: tuple[int, int],
        method: Any,
        data: Any = None,
        resample: int = Resampling.NEAREST,
        fill: int = 1,
        fillcolor: Any = None,
    ) -> _Recorder:
        """Record a warp."""
        self.asked = lambda image: _warped(image, size, method, data, resample, fill, fillcolor)
        return self


def as_recorded(image: PIL.Image.Image, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
    """Apply a geometric function or transform of a library, which makes one new image or none.

    Args:
        image: A PIL image.
        function: The function.
        arguments: Its arguments behind the image.
        keywords: More of them.
    """
    recorder = _Recorder(image)
    function(recorder, *arguments, **keywords)
    return image if recorder.asked is None else recorder.asked(image)


def _warped(
    image: PIL.Image.Image,
    size: tuple[int, int],
    method: Transform,
    data: Any,
    resample: int,
    fill: int,
    fillcolor: Any,
) -> PIL.Image.Image:
    """Do what ``Image.transform`` does with these arguments."""
    if _is_known(image, size, method, data, resample):
        if resample != Resampling.NEAREST and _moves_by_pixels(method, data):
            # Of one pixel each the weight is 1, and Pillow is quick at copying.
            resample = Resampling.NEAREST
        elif (pixel := _fill_of(image, fillcolor)) is not None:
            made = _by_kernel(image, size, data, Resampling(resample), method == Transform.PERSPECTIVE, pixel)
            if made is not None:
                return made
    return image.transform(size, method, data, resample, fill, fillcolor)


def resample_of(interpolation: Any) -> Resampling | None:
    """Return what Pillow is asked for with an interpolation of torchvision's; None if there is no kernel for it."""
    name = _check_interpolation(interpolation).name
    return next((each for each in _KERNELS if each.name == name), None)


def is_quicker(image: PIL.Image.Image, resample: int | None) -> bool:
    """Whether a kernel may be quicker than Pillow at an image."""
    pixels, has_colors = image.width * image.height, bool(image.mode == "RGB")
    if resample == Resampling.NEAREST:
        return has_colors and pixels >= _NEAREST_FROM
    return resample in _KERNELS and (has_colors or resample == Resampling.BILINEAR or pixels >= _GRAY_FROM)


def _is_known(image: PIL.Image.Image, size: tuple[int, int], method: Transform, data: Any, resample: int) -> bool:
    """Whether a kernel can make an image, and may be quicker than Pillow."""
    return (
        is_quicker(image, resample)
        and len(data) == _NUMBERS.get(method)
        and image.mode in BYTES_PER_PIXEL
        and layout() is not None
        and _is_compiled_as_written()
        and image.width > (1 if resample == Resampling.BILINEAR else 0)
        and min(image.height, *size) > 0
        and all(math.isfinite(number) and abs(number) < _LARGEST for number in data)
        and (resample != Resampling.NEAREST or method == Transform.PERSPECTIVE or _is_in_fixed_point(size, data))
    )


def _is_in_fixed_point(size: tuple[int, int], data: Any) -> bool:
    """Whether Pillow computes an affine map to nearest pixels in whole numbers of 2⁻¹⁶, and none of them overflows."""
    across, slant, left, tilt, down, top = data
    if slant == tilt == 0:
        # Pillow finds each column once, and is quick at copying.
        return False
    width, height = size
    furthest_column = abs(across) * width + abs(slant) * height + abs(left)
    furthest_row = abs(tilt) * width + abs(down) * height + abs(top)
    return bool(max(furthest_column, furthest_row) < _FIXED)


@cache
def _is_compiled_as_written() -> bool:
    """Whether Pillow's compiler rounds every product: that for ARM adds some of them without."""
    return platform.machine().lower() in ("x86_64", "amd64")


def _moves_by_pixels(method: Transform, data: Any) -> bool:
    """Whether a map only moves an image by whole pixels."""
    across, slant, left, tilt, down, top = data[:6]
    is_move = method == Transform.AFFINE and across == down == 1 and slant == tilt == 0
    return is_move and left == math.floor(left) and top == math.floor(top)


def _fill_of(image: PIL.Image.Image, fillcolor: Any) -> int | None:
    """Return a pixel of a fill as it lies in memory; None for one that the kernel does not take."""
    numbers = tuple(fillcolor) if isinstance(fillcolor, tuple | list) else (fillcolor,)
    if len(numbers) != len(image.mode) or not all(type(each) is int and 0 <= each <= _BYTE for each in numbers):
        return None
    fourth = (_BYTE,) if image.mode == "RGB" else ()
    return int.from_bytes(bytes((*numbers, *fourth)), "little")


def _by_kernel(
    image: PIL.Image.Image, size: tuple[int, int], data: Any, resample: Resampling, is_perspective: bool, fill: int
) -> PIL.Image.Image | None:
    """Make an image with a kernel; None if it cannot."""
    found = layout()
    assert found is not None, "images are left to Pillow without it"
    made = PIL.Image.new(image.mode, size, None)
    # Pillow copies lists, since version 12.2; which values are the same objects is nobody's business.
    made.info = {key: value.copy() if isinstance(value, list) else value for key, value in image.info.items()}
    call, source, result = _CALL_OF_THREAD, load(image), load(made)
    _CALL.pack_into(
        call.memory, 0, id(source) + found.structure_at, id(result) + found.structure_at, found.rows_at,
        image.height, image.width, size[1], size[0], BYTES_PER_PIXEL[image.mode], is_perspective, fill,
        *data[:_PERSPECTIVE], *[0.0] * (_PERSPECTIVE - len(data)),
    )  # fmt: skip
    is_made = _kernel(resample)(call.fields, call.matrix)
    return made if is_made else None


@register_function(
    v1.RandomRotation, v2.RandomRotation, v1.RandomAffine, v2.RandomAffine, v1.RandomPerspective, v2.RandomPerspective,
    f1.rotate, f2.rotate, f1.affine, f2.affine, f1.perspective, f2.perspective,
)  # fmt: skip
def warp(transform: Any, spec: ImageSpec, compile_parts: CompileParts) -> Function | None:  # noqa: ARG001 - it has none
    """Make a quicker function of a warp of PIL images, or of tensors of bytes."""
    interpolation, fill = arguments(transform, "interpolation", "fill")
    if spec.container in ("tensor", "image"):
        return tensor_warps.warp_of(transform, spec, fill)
    resample = resample_of(interpolation)
    if spec.container != "pil" or resample is None or isinstance(fill, dict):
        return None
    return lambda image: as_recorded(image, transform) if is_quicker(image, resample) else transform(image)
