"""List the measured sizes, and read a folder of photographs."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, UnidentifiedImageError

from onelayer.data.photographs import Photograph
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
"""Heights and widths, from thumbnails to camera images; odd lengths, squares, landscape and portrait."""


def of_folder(folder: Path) -> list[Photograph]:
    """Read every image directly in a folder, by name.

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
