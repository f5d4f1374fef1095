"""One encoded image → its pixels, or what is wrong with it."""

from __future__ import annotations

import re
import warnings
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from onelayer.data.parts import Images, shape_text
from onelayer.records import Shape

DECODER_VERSION = 1
"""To be raised when the same bytes come to give other pixels or another verdict: cached pixels are then dropped."""

# Only these of Pillow's many formats, some of which start other programs. GIF is left out: it brings a palette and
# several frames, and Pillow reports the number of its channels by what the palette happens to hold.
FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "TIFF")

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
"""Names of image files end so, in either case."""

# A palette is a way to store RGB, so it counts, and is read, as that.
_CHANNELS = {"1": 1, "L": 1, "LA": 2, "P": 3, "RGB": 3, "PA": 4, "RGBA": 4}

# Pillow reads 16-bit RGB as 8-bit and drops the lower half without a word; only the raw mode of its decoder tells.
_SIXTEEN_BIT = re.compile(r";16[BLN]$")


class BadImage(Exception):  # noqa: N818  # it is the image that is bad; the error for users is made of it
    """An image that cannot be used, as a clause such as "found 3×28×28, expected 3×32×32"."""


def decode_image(file: BinaryIO, shape: Shape) -> Images:
    """Decode a PNG, JPEG, BMP, WebP or TIFF image.

    Nothing is converted that would change pixels: an image with other channels, with an alpha channel or with more
    than 8 bits per channel is refused. Exif orientation and colour profiles are ignored, because the original
    pipeline and its replacement are compared on arrays of pixels, and both see the same ones.

    Args:
        file: Open for reading, seekable. It is not closed.
        shape: Channels (1 or 3), height and width that the image must have.

    Returns:
        Pixels, uint8, of that shape.

    Raises:
        BadImage: If the image is damaged, or of another shape or kind.
    """
    with warnings.catch_warnings():
        # Damaged metadata is no matter of pixels; a header that announces a monstrous size is.
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(file, formats=FORMATS) as image:
                # Only the header has been read so far, so a bomb or a large photograph costs nothing.
                _refuse_unexpected(image, shape)
                pixels = np.asarray(image.convert("RGB" if shape[0] == 3 else "L"))
        except BadImage:
            raise
        except UnidentifiedImageError:
            raise BadImage(f"it is no {', '.join(FORMATS[:-1])} or {FORMATS[-1]} image") from None
        except Exception as error:  # on damaged files Pillow raises whatever its parsers run into
            raise BadImage(f"it cannot be decoded: {error or type(error).__name__}") from error
    return pixels.transpose(2, 0, 1) if shape[0] == 3 else pixels[np.newaxis]


def _refuse_unexpected(image: Image.Image, shape: Shape) -> None:
    if image.mode.startswith(("I", "F")) or any(_SIXTEEN_BIT.search(mode) for mode in _raw_modes(image)):
        raise BadImage("found more than 8 bits per channel, expected 8")
    if image.mode not in _CHANNELS:
        raise BadImage(f"found the colour mode {image.mode}, expected {'RGB' if shape[0] == 3 else 'grey'}")
    channels = _CHANNELS[image.mode]
    if image.has_transparency_data and channels in (1, 3):
        channels += 1
    found = (channels, image.height, image.width)
    if found != shape:
        raise BadImage(f"found {shape_text(found)}, expected {shape_text(shape)}")
    frames = getattr(image, "n_frames", 1)
    if frames != 1:
        raise BadImage(f"found {frames} frames, expected one")


def _raw_modes(image: Image.Image) -> list[str]:
    tiles = getattr(image, "tile", [])
    arguments = [tile[3] for tile in tiles]
    return [str(given[0] if isinstance(given, tuple) else given) for given in arguments if given]
