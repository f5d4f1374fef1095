"""Images, matrices and calls that the tests of the kernels for warps share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import PIL.Image
from numpy.random import Generator
from numpy.typing import NDArray
from PIL.Image import Resampling, Transform

from onelayer.backends.cpu.cubic_warp_kernel import warped_cubic
from onelayer.backends.cpu.nearest_warp_kernel import warped_nearest
from onelayer.backends.cpu.warp_kernel import warped_bilinear
from onelayer.images.pillow_memory import BYTES_PER_PIXEL, layout, load

Floats = NDArray[np.float64]

KERNELS: dict[Resampling, Any] = {
    Resampling.NEAREST: warped_nearest,
    Resampling.BILINEAR: warped_bilinear,
    Resampling.BICUBIC: warped_cubic,
}


def by_kernel(
    image: PIL.Image.Image,
    matrix: Sequence[float],
    size: tuple[int, int],
    fill: Sequence[int],
    resample: Resampling = Resampling.BILINEAR,
) -> tuple[int, PIL.Image.Image]:
    """Warp an image with a kernel; return the outcome too."""
    found = layout()
    assert found is not None
    made = PIL.Image.new(image.mode, size, tuple(255 - each for each in fill))
    source, result = load(image), load(made)
    numbers = np.zeros(8)
    numbers[: len(matrix)] = matrix
    color = int.from_bytes(bytes((*fill, 255)[: BYTES_PER_PIXEL[image.mode]]), "little")
    addresses = (id(source) + found.structure_at, id(result) + found.structure_at, found.rows_at)
    sizes = (image.height, image.width, size[1], size[0])
    call = np.array((*addresses, *sizes, BYTES_PER_PIXEL[image.mode], len(matrix) == 8, color), np.uint64)
    outcome = KERNELS[resample](call, numbers)
    return outcome, made


def by_pillow(
    image: PIL.Image.Image,
    matrix: Sequence[float],
    size: tuple[int, int],
    fill: Sequence[int],
    resample: Resampling = Resampling.BILINEAR,
) -> PIL.Image.Image:
    method = Transform.PERSPECTIVE if len(matrix) == 8 else Transform.AFFINE
    return image.transform(size, method, matrix, resample, fillcolor=tuple(fill))


def all_bytes(image: PIL.Image.Image) -> bytes:
    """Return the bytes of all pixels, the fourth one of colors too."""
    return image.tobytes("raw", "RGBX") if image.mode == "RGB" else image.tobytes()


def picture(rng: Generator, mode: str, height: int, width: int, kind: str = "noise") -> PIL.Image.Image:
    shape = (height, width, 3) if mode == "RGB" else (height, width)
    pixels = rng.integers(0, 256, shape)
    if kind == "flat":
        pixels = pixels // 128 * 255
    elif kind == "smooth":
        pixels = (np.cumsum(pixels % 5 - 2, axis=1) + 128).clip(0, 255)
    return PIL.Image.fromarray(pixels.astype(np.uint8))


def rotation(rng: Generator, height: int, width: int) -> list[float]:
    angle, zoom = rng.uniform(0, 2 * math.pi), math.exp(rng.uniform(-1.5, 1.5))
    cos, sin = zoom * math.cos(angle), zoom * math.sin(angle)
    x, y = width / 2 + rng.normal(), height / 2 + rng.normal()
    return [cos, sin, x - cos * width / 2 - sin * height / 2, -sin, cos, y + sin * width / 2 - cos * height / 2]


def matrices(rng: Generator, height: int, width: int) -> dict[str, list[float]]:
    """Matrices of every kind that a kernel has a way of its own for, and of those that nothing is special about."""
    shear, move = float(rng.integers(-30, 31)) / 100, float(rng.integers(-3, 4))
    turned = rotation(rng, height, width)
    return {
        "rotation": turned,
        "rotation of rational numbers": [0.6, 0.8, 1.25, -0.8, 0.6, height / 2],
        "shear of columns": [1.0, shear, move, 0.0, 1.0, 0.0],
        "shear of columns between rows": [1.0, shear, move, -0.0, 1.0, 0.375],
        "shear of rows": [1.0, 0.0, move, shear, 1.0, -0.0],
        "shear of rows between columns": [1.0, 0.0, move + 0.25, shear, 1.0, 0.0],
        "zoom": [0.7, 0.0, 0.1, 0.0, 1.3, -0.2],
        "mirror": [-1.0, 0.0, width, 0.0, -1.0, height],
        "quarter turn": [0.0, 1.0, 0.0, -1.0, 0.0, height],
        "whole pixels": [1.0, 0.0, move, 0.0, 1.0, -move],
        "half pixels": [1.0, 0.0, 0.5, 0.0, 1.0, 0.5],
        "a single place": [0.0, 0.0, width / 3, 0.0, 0.0, height / 3],
        "all outside": [1.0, 0.0, 1e6, 0.0, 1.0, 0.0],
        "steep": [300.0, 0.0, -3.0, 0.0, 300.0, -3.0],
        "large numbers that cancel": [1.0, 1e12, -5e11, 0.0, 1.0, 0.0],
        "barely inside": [1.0, 0.0, -0.5 + 2.0**-16, 0.0, 1.0, -0.5 + 2.0**-17],
        "perspective": [*turned, *rng.normal(size=2) * 0.5 / max(height, width)],
        "perspective that turns over": [*turned, -1.0 / width, 0.01],
        "perspective that is none": [*turned, 0.0, 0.0],
    }


def any_matrices(rng: Generator, height: int, width: int) -> list[list[float]]:
    """Matrices with random numbers: a rotation, with these and with two digits, a perspective of it, and a free one."""
    turned = rotation(rng, height, width)
    free = list(rng.normal(size=6) * [2, 2, width, 2, 2, height])
    return [turned, free, [*turned, *rng.normal(size=2) / width], [round(each, 2) for each in turned]]


def places(matrix: Sequence[float], size: tuple[int, int]) -> tuple[Floats, Floats]:
    """Return where pixels lie in an image, with one operation in float64 after another."""
    x, y = np.arange(size[0])[None, :] + 0.5, np.arange(size[1])[:, None] + 0.5
    numbers = [*matrix, 0.0, 0.0][:8]
    across = numbers[0] * x + numbers[1] * y + numbers[2]
    down = numbers[3] * x + numbers[4] * y + numbers[5]
    if len(matrix) == 8:
        divisor = numbers[6] * x + numbers[7] * y + 1.0
        across, down = across / divisor, down / divisor
    return across, down


class Corners(NamedTuple):
    """Pixels at the left of and above places in an image, how far behind them the places are, and which are inside."""

    left: NDArray[np.int64]
    top: NDArray[np.int64]
    share_x: Floats
    share_y: Floats
    inside: NDArray[np.bool_]


def corners(matrix: Sequence[float], size: tuple[int, int], height: int, width: int) -> Corners:
    """Find the pixels next to each place in an image, as ``Geometry.c`` does for blends."""
    across, down = places(matrix, size)
    inside = (across >= 0) & (across < width) & (down >= 0) & (down < height)
    across, down = np.where(inside, across, 0.5) - 0.5, np.where(inside, down, 0.5) - 0.5
    left, top = np.floor(across).astype(int), np.floor(down).astype(int)
    return Corners(left, top, (across - left)[..., None], (down - top)[..., None], inside[..., None])
