"""Photographs: from files, for a look at a pipeline, and at any size, for measurements."""

from __future__ import annotations

import importlib.resources
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL.Image
import torch
from PIL import ImageOps

from onelayer.data.decode import FORMATS, SUFFIXES
from onelayer.data.files import find_files
from onelayer.data.sample import PHOTOGRAPHS
from onelayer.errors import OnelayerError

MOST = 500
"""Photographs of one folder that are read: they are all in memory at a time."""


def read_photographs(path: Path) -> list[PIL.Image.Image]:
    """Read an image file, or the image files below a folder, as RGB (grey ones as L).

    Args:
        path: The file or the folder.

    Returns:
        PIL images of mode RGB or L.

    Raises:
        OnelayerError: If there are none, more than 500, or one that cannot be read.
    """
    files = [path] if path.is_file() else [one for one in find_files(path) if one.suffix.lower() in SUFFIXES]
    if not 1 <= len(files) <= MOST:
        raise OnelayerError(
            f"there are {len(files):,} image files in {path}",
            expected=f"1 to {MOST}, with names ending in {', '.join(SUFFIXES)}",
        )
    return [_read(file) for file in files]


def _read(file: Path) -> PIL.Image.Image:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)
        try:
            with PIL.Image.open(file, formats=FORMATS) as image:
                return image.convert("L" if image.mode in ("1", "L") else "RGB")
        except Exception as error:  # on damaged files Pillow raises whatever its parsers run into
            raise OnelayerError(f"{file} cannot be read as an image: {error}", expected="a whole image file") from error


@dataclass(frozen=True)
class Photograph:
    """One original.

    Args:
        name: Of its file.
        image: Of mode RGB.
    """

    name: str
    image: PIL.Image.Image

    def at(self, height: int, width: int, channels: int) -> torch.Tensor:
        """The photograph at some size, uint8 [channels, height, width].

        A larger original is cut to the proportions, from its middle, and reduced by Pillow. A smaller one is not
        enlarged, which would blur it, but continued by its mirror image: so it keeps the detail that a camera's has.
        """
        image = self.image if channels == 3 else self.image.convert("L")
        if image.height >= height and image.width >= width:
            image = ImageOps.fit(image, (width, height), PIL.Image.Resampling.LANCZOS)
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
        with (folder / name).open("rb") as file, PIL.Image.open(file) as image:
            opened.append(Photograph(name, image.convert("RGB")))
    return opened
