"""Real photographs at any size."""

from __future__ import annotations

import importlib.resources
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from onelayer.data.sample import PHOTOGRAPHS
from onelayer.errors import OnelayerError

SIZES: tuple[tuple[int, int], ...] = (
    (17, 11),
    (11, 17),
    (23, 40),
    (32, 32),
    (57, 43),
    (64, 96),
    (100, 101),
    (192, 128),
    (224, 224),
    (240, 320),
    (257, 193),
    (333, 500),
    (375, 500),
    (500, 375),
    (427, 640),
    (480, 640),
    (512, 512),
    (800, 600),
    (719, 1281),
    (853, 1280),
    (1080, 1920),
    (1920, 1080),
    (1365, 2048),
    (3000, 4000),
)
"""Heights and widths, from thumbnails to a camera's; odd ones, squares, landscape and portrait."""


@dataclass(frozen=True)
class Photograph:
    """One original.

    Args:
        name: Of its file.
        image: Of mode RGB.
    """

    name: str
    image: Image.Image

    def at(self, height: int, width: int, channels: int) -> torch.Tensor:
        """The photograph at some size, uint8 [channels, height, width].

        A larger original is cut to the proportions, from its middle, and reduced by Pillow. A smaller one is not
        enlarged, which would blur it, but continued by its mirror image: so it keeps the detail that a camera's has.
        """
        image = self.image if channels == 3 else self.image.convert("L")
        if image.height >= height and image.width >= width:
            image = ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)
        pixels = np.asarray(image)
        missing = (max(0, height - image.height), max(0, width - image.width))
        around = [(0, missing[0]), (0, missing[1]), (0, 0)][: pixels.ndim]
        pixels = np.pad(pixels, around, mode="symmetric")[:height, :width]
        return torch.from_numpy(np.atleast_3d(pixels).transpose(2, 0, 1).copy())


def bundled() -> list[Photograph]:
    """The colour photographs that are installed with scikit-image."""
    folder = importlib.resources.files("skimage") / "data"
    names = [name for part in PHOTOGRAPHS.values() for name in part]
    opened = []
    for name in names:
        with (folder / name).open("rb") as file, Image.open(file) as image:
            opened.append(Photograph(name, image.convert("RGB")))
    return opened


def of_folder(folder: Path) -> list[Photograph]:
    """Every image directly in a folder, by name.

    Raises:
        OnelayerError: If there is none.
    """
    opened = []
    for path in sorted(folder.iterdir()):
        try:
            with Image.open(path) as image:
                opened.append(Photograph(path.name, image.convert("RGB")))
        except (UnidentifiedImageError, IsADirectoryError):
            continue
    if not opened:
        raise OnelayerError(f"there is no image in {folder}", expected="a folder of photographs")
    return opened
