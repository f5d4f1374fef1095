"""Random images of all kinds, and a comparison of a compiled image processor with its original on them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL.Image
import torch

KINDS = (
    *["RGB"] * 8,
    *("L", "RGBA", "P", "P with a transparent color", "RGB with a transparent color", "LA", "CMYK", "1"),
    *("array", "array", "array, channels first", "gray array", "float array", "array of 4 channels"),
    *("tensor", "tensor", "tensor, channels last", "float tensor"),
)
"""Kinds of images, some more often than others."""

CONTENTS = "noise", "black and white", "white", "slope", "stripes"


def pixels(generator: np.random.Generator, height: int, width: int, channels: int) -> np.ndarray:
    """Draw uint8 [height, width, channels]."""
    content = CONTENTS[generator.integers(len(CONTENTS))]
    if content == "noise":
        return generator.integers(0, 256, (height, width, channels), dtype=np.uint8)
    if content == "black and white":
        return generator.integers(0, 2, (height, width, channels), dtype=np.uint8) * np.uint8(255)
    if content == "white":
        return np.full((height, width, channels), 255, np.uint8)
    rows, cols, colors = np.ogrid[:height, :width, :channels]
    if content == "slope":
        return ((rows * 3 + cols * 2 + colors * 50) % 256).astype(np.uint8)
    return ((rows // 2 + cols // 3 + colors) % 2 * 255).astype(np.uint8)


def image(generator: np.random.Generator, kind: str, height: int, width: int) -> Any:
    """Draw an image of a kind."""
    rgb = pixels(generator, height, width, 3)
    picture = PIL.Image.fromarray(rgb)
    match kind:
        case "RGB" | "L" | "P" | "LA" | "CMYK" | "1":
            return picture.convert(kind)
        case "RGBA":
            return PIL.Image.fromarray(pixels(generator, height, width, 4))
        case "P with a transparent color":
            made = picture.convert("P")
            made.info["transparency"] = 3
            return made
        case "RGB with a transparent color":
            picture.info["transparency"] = tuple(int(value) for value in rgb[0, 0])
            return picture
        case "array":
            return rgb
        case "array, channels first":
            return np.ascontiguousarray(np.moveaxis(rgb, -1, 0))
        case "gray array":
            return pixels(generator, height, width, 1)
        case "float array":
            return rgb.astype(np.float32) / 255
        case "array of 4 channels":
            return pixels(generator, height, width, 4)
        case "tensor":
            return torch.from_numpy(rgb).permute(2, 0, 1).contiguous()
        case "tensor, channels last":
            return torch.from_numpy(rgb)
    return torch.from_numpy(rgb).permute(2, 0, 1) / 255


def size(generator: np.random.Generator, largest: int) -> tuple[int, int]:
    """Draw a height and a width, small ones about as often as large ones, and few far from a square."""
    side = np.exp(generator.uniform(np.log(4), np.log(largest)))
    ratio = np.exp(generator.normal(0, 0.5))
    height, width = (int(np.clip(round(each), 1, largest)) for each in (side * ratio, side / ratio))
    return height, width


@dataclass
class Comparison:
    """What came of a comparison: the number of images, and descriptions of calls whose results differ."""

    images: int = 0
    differing: tuple[str, ...] = ()


def called(processor: Any, *images: Any, **keywords: Any) -> Any:
    """Call a processor, and return its error where it has one."""
    try:
        return processor(*images, **keywords)
    except Exception as error:  # noqa: BLE001 - it is compared
        return error


def is_same(found: Any, expected: Any) -> bool:
    """Whether results are the same, bit for bit, and of the same types; of errors, whether they say the same."""
    if type(found) is not type(expected):
        return False
    if isinstance(expected, Exception):
        return str(found) == str(expected)
    if hasattr(expected, "data") and hasattr(expected, "keys"):
        return list(found) == list(expected) and all(is_same(found[name], expected[name]) for name in expected)
    if isinstance(expected, list | tuple):
        return len(found) == len(expected) and all(map(is_same, found, expected))
    if isinstance(expected, torch.Tensor):
        return found.dtype == expected.dtype and torch.equal(found, expected)
    return found.dtype == expected.dtype and bool(np.array_equal(found, expected))


def compared(original: Any, compiled: Any, count: int, seed: int, largest: int = 640) -> Comparison:
    """Compare a compiled processor with its original on random images, in batches of one to four, of mixed sizes.

    Args:
        original: The original.
        compiled: What it was compiled to.
        count: Number of images.
        seed: Seed of the images.
        largest: Maximum height and width.
    """
    generator = np.random.default_rng(seed)
    result = Comparison()
    while result.images < count:
        number = min(int(generator.choice([1, 1, 1, 2, 3, 4])), count - result.images)
        kinds = [KINDS[generator.integers(len(KINDS))] for _ in range(number)]
        if generator.random() < 0.5:
            kinds = kinds[:1] * number
        each = [image(generator, kind, *size(generator, largest)) for kind in kinds]
        images = each[0] if number == 1 and generator.random() < 0.7 else each
        keywords = {"return_tensors": (None, "pt", "pt", "np")[generator.integers(4)]}
        if keywords["return_tensors"] is None and generator.random() < 0.5:
            keywords = {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected, found = (called(each, images, **keywords) for each in (original, compiled))
        result.images += number
        if not is_same(found, expected):
            result.differing += (f"{kinds} {[getattr(one, 'size', None) for one in each]} {keywords}: {found!r:.200}",)
    return result
