"""What folders and Parquet files have in common: encoded images in files, decoded once and split by a seed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import PIL

from onelayer.console import progress
from onelayer.data.cache import Decoded, cached
from onelayer.data.decode import DECODER_VERSION, BadImage, decode_image
from onelayer.data.parts import ImageParts, Images, Part, content_key, image_parts, refuse_too_many, shape_text
from onelayer.data.split import SPLIT_VERSION, carve_missing, describe_split
from onelayer.errors import OnelayerError
from onelayer.records import Shape


@dataclass(frozen=True)
class EncodedImages:
    """Files that hold encoded images.

    Attributes:
        source: What was given to ``--data``.
        root: The folder that all files are in.
        parts: The files of each part, at least of train.
        kind: What they are, as the beginning of a sentence.
        count: How many images a file holds.
        read: The images of a file, each with a name for messages and open for reading until the next one is asked
            for; None for one that is not there.
    """

    source: str
    root: Path
    parts: Mapping[Part, list[Path]]
    kind: str
    count: Callable[[Path], int]
    read: Callable[[Path], Iterator[tuple[str, BinaryIO | None]]]


def load_encoded(encoded: EncodedImages, *, shape: Shape, seed: int, skip_bad: bool, cache: Path) -> ImageParts:
    """Decode all images, or read them from the cache, and split them.

    Args:
        encoded: The images.
        shape: Channels, height and width that each must have.
        seed: Of the split, where parts are missing.
        skip_bad: Leave bad images out instead of refusing the first.
        cache: The folder of cached images.

    Raises:
        OnelayerError: If a file cannot be read, an image is bad, or there are too many or too few images.
    """
    counts = {part: sum(map(encoded.count, files)) for part, files in encoded.parts.items()}
    if not any(counts.values()):
        raise OnelayerError(f"{encoded.source} has no images", expected="at least one image per part")
    refuse_too_many(sum(counts.values()), shape, source=encoded.source)
    content = _hash_files(encoded)
    # The seed is left out: the images are stored as the files give them and split afterwards. The version of Pillow
    # is in, because JPEG decoders differ by a grey level here and there.
    decoded = cached(
        cache,
        content_key(content, shape_text(shape), f"skip_bad={skip_bad}", f"decoder={DECODER_VERSION}", PIL.__version__),
        lambda: _decode(encoded, counts, shape=shape, skip_bad=skip_bad),
    )
    return image_parts(
        carve_missing(decoded.parts, seed=seed, source=encoded.source),
        source=encoded.source,
        description=f"{encoded.kind}, {describe_split(encoded.parts)}.",
        key=content_key(content, shape_text(shape), f"seed={seed}", f"split={SPLIT_VERSION}"),
        skipped=decoded.skipped,
    )


def _decode(encoded: EncodedImages, counts: Mapping[Part, int], *, shape: Shape, skip_bad: bool) -> Decoded:
    parts: dict[Part, Images] = {}
    skipped = 0
    with progress() as display:
        task = display.add_task("Decoding images", total=sum(counts.values()))
        for part, files in encoded.parts.items():
            pixels = np.empty((counts[part], *shape), dtype=np.uint8)
            good = 0
            # Closed at once on an error, and the file that it has open with it.
            with closing(_images(encoded, files)) as images:
                for name, image in images:
                    try:
                        pixels[good] = _decode_one(image, shape)
                    except BadImage as bad:
                        if not skip_bad:
                            raise OnelayerError(
                                f"the image {name} cannot be used: {bad}",
                                hint="Repair or remove it, or leave out all bad images with --skip-bad.",
                            ) from bad
                        skipped += 1
                    else:
                        good += 1
                    display.advance(task)
            parts[part] = pixels[:good]
    if not any(map(len, parts.values())):
        raise OnelayerError(
            f"{encoded.source} has no usable image: all {skipped:,} are bad",
            expected=f"images of {shape_text(shape)}",
            hint="Leave --skip-bad out to see what is wrong with the first.",
        )
    return Decoded(parts, skipped)


def _decode_one(image: BinaryIO | None, shape: Shape) -> Images:
    if image is None:
        raise BadImage("it has no bytes")
    return decode_image(image, shape)


def _images(encoded: EncodedImages, files: list[Path]) -> Generator[tuple[str, BinaryIO | None]]:
    for file in files:
        try:
            yield from encoded.read(file)
        except OSError as error:
            raise _unreadable(file, error) from error


def _hash_files(encoded: EncodedImages) -> str:
    """A hash of the names below the root, the parts and the bytes of all files."""
    total = hashlib.sha256()
    with progress() as display:
        task = display.add_task("Checking files", total=sum(map(len, encoded.parts.values())))
        for part, files in encoded.parts.items():
            for path in files:
                try:
                    with path.open("rb") as file:
                        digest = hashlib.file_digest(file, "sha256").hexdigest()
                except OSError as error:
                    raise _unreadable(path, error) from error
                # No name contains the separator, so no two sets of files give the same sequence of bytes.
                name = os.fsencode(path.relative_to(encoded.root).as_posix())
                total.update(b"\0".join((part.encode(), name, digest.encode(), b"")))
                display.advance(task)
    return total.hexdigest()


def _unreadable(path: Path, error: OSError) -> OnelayerError:
    return OnelayerError(
        f"{path} cannot be read: {error.strerror or error}", hint="Check its permissions, or take it out of the folder."
    )
