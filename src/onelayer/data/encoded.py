"""Decode images of files, once, and split them by a seed: the work that image folders and Parquet files share."""

from __future__ import annotations

import hashlib
import os
import re
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import PIL
from PIL import Image, UnidentifiedImageError

from onelayer.console import progress
from onelayer.data.cache import DecodedImages, cached
from onelayer.data.splits import (
    SPLIT_VERSION,
    ImageSplits,
    Pixels,
    Split,
    carve_missing,
    content_key,
    describe_splits,
    image_splits,
    refuse_too_many,
)
from onelayer.errors import OnelayerError
from onelayer.formats import shape as shape_text
from onelayer.records import Shape

DECODER_VERSION = 1
"""Version of the decoder, part of the key of cached pixels. Raise it when the same bytes come to give other pixels or
another verdict."""

# Only these of Pillow's many formats, some of which start other programs. GIF is left out: it brings a palette and
# several frames, and Pillow reports the number of its channels by what the palette happens to hold.
FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "TIFF")

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
"""Endings of the names of image files, in either case."""

# A palette is a way to store RGB, so it counts, and is read, as that.
_CHANNELS = {"1": 1, "L": 1, "LA": 2, "P": 3, "RGB": 3, "PA": 4, "RGBA": 4}

# Pillow reads 16-bit RGB as 8-bit and drops the lower half without a word; only the raw mode of its decoder tells.
_SIXTEEN_BIT = re.compile(r";16[BLN]$")


@dataclass(frozen=True)
class EncodedImages:
    """Files that hold encoded images.

    Attributes:
        source: Value of ``--data``.
        root: Folder that holds all files.
        splits: Files of each split, at least of train.
        kind: Kind of the files, as the beginning of a sentence.
        count: Function that counts the images of a file.
        read: Function that yields the images of a file, each with a name for messages and open for reading until the
            next one is asked for; None for one that is not there.
    """

    source: str
    root: Path
    splits: Mapping[Split, list[Path]]
    kind: str
    count: Callable[[Path], int]
    read: Callable[[Path], Iterator[tuple[str, BinaryIO | None]]]


class BadImage(Exception):  # noqa: N818  # it is the image that is bad; the error for users is made of it
    """An image that cannot be used.

    Args:
        problem: A clause such as "found 3×28×28, expected 3×32×32".
        cure: What the user can do about it, as a sentence without a full stop.
    """

    def __init__(self, problem: str, cure: str = "Repair or remove it") -> None:
        super().__init__(problem)
        self.cure = cure


def load_encoded(encoded: EncodedImages, *, shape: Shape, seed: int, skip_bad: bool, cache: Path) -> ImageSplits:
    """Decode all images, or read them from the cache, and split them.

    Args:
        encoded: Files to read.
        shape: Channels, height and width that each image must have.
        seed: Seed of the split, where the files have none.
        skip_bad: Whether bad images are left out; otherwise the first is refused.
        cache: Folder of cached images.

    Raises:
        OnelayerError: If a file cannot be read, an image is bad, or there are too many or too few images.
    """
    counts = {split: sum(map(encoded.count, files)) for split, files in encoded.splits.items()}
    if not any(counts.values()):
        raise OnelayerError(f"{encoded.source} has no images", expected="at least one image per part")
    refuse_too_many(sum(counts.values()), shape, source=encoded.source)
    content = _hash_files(encoded)
    # The seed is left out: the images are stored as the files give them and split afterwards. The version of Pillow
    # is in, because JPEG decoders differ by a grey level here and there.
    decoded = cached(
        cache,
        content_key(content, shape_text(shape), f"skip_bad={skip_bad}", f"decoder={DECODER_VERSION}", PIL.__version__),
        lambda: _decode_all(encoded, counts, shape=shape, skip_bad=skip_bad),
    )
    return image_splits(
        carve_missing(decoded.splits, seed=seed, source=encoded.source),
        source=encoded.source,
        description=f"{encoded.kind}, {describe_splits(encoded.splits)}.",
        key=content_key(content, shape_text(shape), f"seed={seed}", f"split={SPLIT_VERSION}"),
        skipped=decoded.skipped,
    )


def _decode_all(encoded: EncodedImages, counts: Mapping[Split, int], *, shape: Shape, skip_bad: bool) -> DecodedImages:
    splits: dict[Split, Pixels] = {}
    skipped = 0
    with progress() as display:
        task = display.add_task("Decoding images", total=sum(counts.values()))
        for split, files in encoded.splits.items():
            pixels = np.empty((counts[split], *shape), dtype=np.uint8)
            good = 0
            # Closed at once on an error, and the file that it has open with it.
            with closing(_images(encoded, files)) as images:
                for name, image in images:
                    try:
                        if image is None:
                            raise BadImage("it has no bytes")
                        pixels[good] = decode_image(image, shape)
                    except BadImage as bad:
                        if not skip_bad:
                            raise OnelayerError(
                                f"the image {name} cannot be used: {bad}",
                                hint=f"{bad.cure}, or leave out all bad images with --skip-bad.",
                            ) from bad
                        skipped += 1
                    else:
                        good += 1
                    display.advance(task)
            splits[split] = pixels[:good]
    if not any(map(len, splits.values())):
        raise OnelayerError(
            f"{encoded.source} has no usable image: all {skipped:,} are bad",
            expected=f"images of {shape_text(shape)}",
            hint="Leave --skip-bad out to see what is wrong with the first.",
        )
    return DecodedImages(splits, skipped)


def decode_image(file: BinaryIO, shape: Shape) -> Pixels:
    """Decode a PNG, JPEG, BMP, WebP or TIFF image.

    Nothing is converted that would change pixels: an image with other channels, with an alpha channel or with more
    than 8 bits per channel is refused. Exif orientation and colour profiles are ignored, because the original
    pipeline and its replacement are compared on the same arrays of pixels.

    Args:
        file: Open for reading, seekable. It is not closed.
        shape: Channels (1 or 3), height and width that the image must have.

    Returns:
        Pixels, uint8, of that shape.

    Raises:
        BadImage: If the image is damaged, or of another shape or kind.
    """
    with opened_image(file) as image:
        # Only the header has been read so far, so a bomb or a large photograph costs nothing.
        _refuse_unexpected(image, shape)
        pixels = np.asarray(image.convert("RGB" if shape[0] == 3 else "L"))
    return pixels.transpose(2, 0, 1) if shape[0] == 3 else pixels[np.newaxis]


@contextmanager
def opened_image(file: BinaryIO | Path) -> Iterator[Image.Image]:
    """Open an image of one of the :data:`FORMATS`, so that its header is read, and its pixels are when asked for.

    Raises:
        BadImage: If it is none, its header announces more pixels than Pillow decodes without a warning, or, inside the
            context, it cannot be decoded.
    """
    with warnings.catch_warnings():
        # Damaged metadata is no matter of pixels; a header that announces a monstrous size is.
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(file, formats=FORMATS) as image:
                yield image
        except BadImage:
            raise
        except UnidentifiedImageError:
            raise BadImage(f"it is no {', '.join(FORMATS[:-1])} or {FORMATS[-1]} image") from None
        except Exception as error:  # on damaged files Pillow raises whatever its parsers run into
            raise BadImage(f"it cannot be decoded: {error or type(error).__name__}") from error


def exceeds_bytes(image: Image.Image) -> bool:
    """Whether an opened image has more than 8 bits per channel."""
    return image.mode.startswith(("I", "F")) or any(_SIXTEEN_BIT.search(raw) for raw in _raw_modes(image))


def _refuse_unexpected(image: Image.Image, shape: Shape) -> None:
    mode = "RGB" if shape[0] == 3 else "grey"
    convert = f"Convert the images to {mode} without transparency, 8 bits per channel"
    if exceeds_bytes(image):
        raise BadImage("found more than 8 bits per channel, expected 8", convert)
    if image.mode not in _CHANNELS:
        raise BadImage(f"found the colour mode {image.mode}, expected {mode}", convert)
    channels = _CHANNELS[image.mode]
    if image.has_transparency_data and channels in (1, 3):
        channels += 1
    found = (channels, image.height, image.width)
    if found != shape:
        resize = f"Resize the images to {shape[1]}×{shape[2]} pixels, give --data other images"
        raise BadImage(
            f"found {shape_text(found)}, expected {shape_text(shape)}", resize if found[1:] != shape[1:] else convert
        )
    frames = getattr(image, "n_frames", 1)
    if frames != 1:
        raise BadImage(f"found {frames} frames, expected one")


def _raw_modes(image: Image.Image) -> list[str]:
    tiles = getattr(image, "tile", [])
    arguments = [tile[3] for tile in tiles]
    return [str(given[0] if isinstance(given, tuple) else given) for given in arguments if given]


def _images(encoded: EncodedImages, files: list[Path]) -> Generator[tuple[str, BinaryIO | None]]:
    for file in files:
        try:
            yield from encoded.read(file)
        except OSError as error:
            raise _unreadable(file, error) from error


def _hash_files(encoded: EncodedImages) -> str:
    """Hash the names below the root, the splits and the bytes of all files."""
    total = hashlib.sha256()
    with progress() as display:
        task = display.add_task("Checking files", total=sum(map(len, encoded.splits.values())))
        for split, files in encoded.splits.items():
            for path in files:
                try:
                    with path.open("rb") as file:
                        digest = hashlib.file_digest(file, "sha256").hexdigest()
                except OSError as error:
                    raise _unreadable(path, error) from error
                # No name contains the separator, so no two sets of files give the same sequence of bytes.
                name = os.fsencode(path.relative_to(encoded.root).as_posix())
                total.update(b"\0".join((split.encode(), name, digest.encode(), b"")))
                display.advance(task)
    return total.hexdigest()


def _unreadable(path: Path, error: OSError) -> OnelayerError:
    return OnelayerError(
        f"{path} cannot be read: {error.strerror or error}", hint="Check its permissions, or take it out of the folder."
    )
