"""Photographs of any size, for a look at a pipeline."""

from __future__ import annotations

import warnings
from pathlib import Path

import PIL.Image

from onelayer.data.decode import FORMATS, SUFFIXES
from onelayer.data.files import find_files
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
