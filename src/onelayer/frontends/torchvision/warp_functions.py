"""Rotate, shear and warp PIL images as torchvision's functions and transforms do, bit for bit, with a kernel.

Where a pixel comes from is torchvision's and Pillow's business: they are given an image that holds nothing and writes
down what Pillow would be asked to do. So arguments, matrices and random numbers are theirs in every bit. The kernel
does what takes the time, bilinear sampling; whatever else was asked for is Pillow's.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
import PIL.Image
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

# Imported when it is needed: Numba takes half a second.
_kernels = cache(lambda: import_module("onelayer.backends.cpu.warp_kernel"))


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
        resample: int = PIL.Image.Resampling.NEAREST,
        fill: int = 1,
        fillcolor: Any = None,
    ) -> _Recorder:
        """Record a warp."""
        self.asked = lambda image: _warped(image, size, method, data, resample, fill, fillcolor)
        return self


def as_recorded(image: PIL.Image.Image, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
    """Apply one of torchvision's geometric functions or transforms, which makes one new image or none.

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
    method: PIL.Image.Transform,
    data: Any,
    resample: int,
    fill: int,
    fillcolor: Any,
) -> PIL.Image.Image:
    """Do what ``Image.transform`` does with these arguments."""
    if resample == PIL.Image.Resampling.BILINEAR and _is_known(image, size, method, data):
        if _moves_by_pixels(method, data):
            # Of one pixel each the weight is 1, and Pillow is quick at copying.
            resample = PIL.Image.Resampling.NEAREST
        elif (pixel := _fill_of(image, fillcolor)) is not None:
            made = _by_kernel(image, size, data, method == PIL.Image.Transform.PERSPECTIVE, pixel)
            if made is not None:
                return made
    return image.transform(size, method, data, resample, fill, fillcolor)


def _is_known(image: PIL.Image.Image, size: tuple[int, int], method: PIL.Image.Transform, data: Any) -> bool:
    """Whether the kernel can make an image."""
    return (
        method in (PIL.Image.Transform.AFFINE, PIL.Image.Transform.PERSPECTIVE)
        and image.mode in BYTES_PER_PIXEL
        and layout() is not None
        and _is_compiled_as_written()
        and image.width > 1
        and min(image.height, *size) > 0
        and all(math.isfinite(number) and abs(number) < _LARGEST for number in data)
    )


@cache
def _is_compiled_as_written() -> bool:
    """Whether Pillow's compiler rounds every product: that for ARM adds some of them without."""
    return platform.machine().lower() in ("x86_64", "amd64")


def _moves_by_pixels(method: PIL.Image.Transform, data: Any) -> bool:
    """Whether a map only moves an image by whole pixels."""
    across, slant, left, tilt, down, top = data[:6]
    is_move = method == PIL.Image.Transform.AFFINE and across == down == 1 and slant == tilt == 0
    return is_move and left == math.floor(left) and top == math.floor(top)


def _fill_of(image: PIL.Image.Image, fillcolor: Any) -> int | None:
    """Return a pixel of a fill as it lies in memory; None for one that the kernel does not take."""
    numbers = tuple(fillcolor) if isinstance(fillcolor, tuple | list) else (fillcolor,)
    if len(numbers) != len(image.mode) or not all(type(each) is int and 0 <= each <= _BYTE for each in numbers):
        return None
    fourth = (_BYTE,) if image.mode == "RGB" else ()
    return int.from_bytes(bytes((*numbers, *fourth)), "little")


def _by_kernel(
    image: PIL.Image.Image, size: tuple[int, int], data: Any, is_perspective: bool, fill: int
) -> PIL.Image.Image | None:
    """Make an image with the kernel; None if it cannot."""
    found, kernels = layout(), _kernels()
    assert found is not None, "images are left to Pillow without it"
    made = PIL.Image.new(image.mode, size, None)
    # Pillow copies lists, since version 12.2; which values are the same objects is nobody's business.
    made.info = {key: value.copy() if isinstance(value, list) else value for key, value in image.info.items()}
    matrix = np.zeros(_PERSPECTIVE)
    matrix[: len(data)] = data
    source, result = load(image), load(made)
    outcome = kernels.warped_bilinear(
        np.uint64(id(source) + found.structure_at), np.uint64(id(result) + found.structure_at),
        np.uint64(found.rows_at), np.uint64(image.height), np.uint64(image.width), np.uint64(size[1]),
        np.uint64(size[0]), np.uint64(BYTES_PER_PIXEL[image.mode]), matrix, is_perspective, np.uint32(fill),
    )  # fmt: skip
    return made if outcome == kernels.WARPED else None


@register_function(
    v1.RandomRotation, v2.RandomRotation, v1.RandomAffine, v2.RandomAffine, v1.RandomPerspective, v2.RandomPerspective,
    f1.rotate, f2.rotate, f1.affine, f2.affine, f1.perspective, f2.perspective,
)  # fmt: skip
def warp(transform: Any, spec: ImageSpec, compile_parts: CompileParts) -> Function | None:  # noqa: ARG001 - it has none
    """Make a quicker function of a bilinear warp of PIL images, or of a warp of tensors of bytes."""
    interpolation, fill = arguments(transform, "interpolation", "fill")
    if spec.container in ("tensor", "image"):
        return tensor_warps.warp_of(transform, spec, fill)
    is_bilinear = _check_interpolation(interpolation) == v2.InterpolationMode.BILINEAR
    if spec.container != "pil" or not is_bilinear or isinstance(fill, dict):
        return None
    return lambda image: as_recorded(image, transform)
