"""Read photographs: from files, and, at any size, those that are installed with scikit-image."""

from __future__ import annotations

import importlib.resources
import io
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL.Image
import torch
from PIL import ImageOps

from onelayer.data.encoded import SUFFIXES, BadImage, opened_image
from onelayer.data.folder import find_files
from onelayer.data.splits import Split
from onelayer.errors import OnelayerError, require

MAX_PHOTOGRAPHS = 500
"""Largest number of photographs read from a folder: they are all in memory at a time."""

# No photograph is in two splits, else patches of one split would overlap those of another. Train gets the most varied:
# skin and cloth, machinery with hard edges and clutter, stained tissue with fine texture in saturated colours, and
# points of light on black. Each split has everyday photographs, as an image classifier sees them: a portrait and a
# garage, a launch site, a cat and a cup. Of the stereo pair of the motorcycle only one is used, the other being
# nearly the same.
BUNDLED: dict[Split, tuple[str, ...]] = {
    "train": ("astronaut.png", "motorcycle_left.png", "ihc.png", "hubble_deep_field.jpg"),
    "validation": ("rocket.jpg", "retina.jpg"),
    "test": ("chelsea.png", "coffee.png"),
}
"""Files of scikit-image's colour photographs, by the split of the sample that is cut from them."""


def read_photographs(path: Path) -> list[PIL.Image.Image]:
    """Read an image file, or the image files below a folder, as RGB (grey ones as L).

    Args:
        path: Path of the file or the folder.

    Returns:
        PIL images of mode RGB or L.

    Raises:
        OnelayerError: If there are none, more than 500, or one that cannot be read.
    """
    files = [path] if path.is_file() else [file for file in find_files(path) if file.suffix.lower() in SUFFIXES]
    if not 1 <= len(files) <= MAX_PHOTOGRAPHS:
        raise OnelayerError(
            f"there are {len(files):,} image files in {path}",
            expected=f"1 to {MAX_PHOTOGRAPHS}, with names ending in {', '.join(SUFFIXES)}",
        )
    return [_read(file) for file in files]


def _read(file: Path) -> PIL.Image.Image:
    try:
        with opened_image(file) as image:
            return image.convert("L" if image.mode in ("1", "L") else "RGB")
    except BadImage as error:
        raise OnelayerError(f"{file} cannot be read as an image: {error}", expected="a whole image file") from error


@dataclass(frozen=True)
class Photograph:
    """A photograph in its original size.

    Args:
        name: Name of its file.
        image: Image of mode RGB.
    """

    name: str
    image: PIL.Image.Image

    def at(self, height: int, width: int, channels: int) -> torch.Tensor:
        """Bring the photograph to some size, uint8 [channels, height, width].

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


def varied_sizes(count: int, seed: int = 0) -> list[tuple[int, int]]:
    """Draw heights and widths of photographs as data sets have them, no two alike.

    Three of four have a longer side of about 500, as in ImageNet and other sets from photo-sharing sites; the others
    have one of 250 to 1,000. Three of four are wider than tall; proportions are those of cameras, 1:1 to 16:9, and of
    what people cut from that.

    Args:
        count: Number of sizes.
        seed: Seed of the draw: the same sizes for everybody.
    """
    chance = random.Random(seed)  # noqa: S311 - no secret
    sizes: dict[tuple[int, int], None] = {}
    while len(sizes) < count:
        longer = 500 - chance.randrange(8) if chance.random() < 0.75 else round(250 * 4 ** chance.random())
        proportions = chance.choice((1.0, 4 / 3, 4 / 3, 4 / 3, 3 / 2, 3 / 2, 16 / 9)) * chance.uniform(0.9, 1.1)
        shorter = min(round(longer / proportions), longer)
        sizes[(shorter, longer) if chance.random() < 0.75 else (longer, shorter)] = None
    return list(sizes)


def bundled() -> list[Photograph]:
    """Read the colour photographs that are installed with scikit-image.

    Raises:
        OnelayerError: If scikit-image is not installed, or lacks one of them.
    """
    opened = []
    for name in (name for names in BUNDLED.values() for name in names):
        with PIL.Image.open(io.BytesIO(bundled_file(name))) as image:
            opened.append(Photograph(name, image.convert("RGB")))
    return opened


def bundled_file(name: str) -> bytes:
    """Read the file of a photograph that is installed with scikit-image.

    Raises:
        OnelayerError: If scikit-image is not installed, or lacks this photograph.
    """
    package = require("skimage", extra="reproduce", purpose="The sample of photographs")
    # The file itself and not skimage.data.…(), which would download what it does not find.
    try:
        return importlib.resources.files(package).joinpath("data", name).read_bytes()
    except OSError as error:
        raise OnelayerError(
            f"the installed scikit-image does not have its photograph {name}",
            hint="Install scikit-image again from its wheel, or give --data a folder of images.",
        ) from error
