"""A folder of image files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath
from typing import BinaryIO

from onelayer.data.encoded import EncodedImages
from onelayer.data.files import PART_NAMES, group_by_part
from onelayer.data.parts import Part


def images_of_folder(root: Path, files: Sequence[Path], *, source: str) -> EncodedImages:
    """The image files of a folder, whose parts are its subfolders train, validation (val, valid) and test.

    Raises:
        OnelayerError: If some files are in such a subfolder and some are not, or there is no train.
    """
    return EncodedImages(
        source=source,
        root=root,
        parts=group_by_part(root, files, _part_of),
        kind="Images of a folder",
        count=lambda _: 1,
        read=_read,
    )


def _part_of(path: PurePath) -> Part | None:
    # Only the outermost folder: further in, "train" may well be a class, as it is one of CIFAR-100.
    return PART_NAMES.get(path.parts[0].lower()) if len(path.parts) > 1 else None


def _read(path: Path) -> Iterator[tuple[str, BinaryIO]]:
    with path.open("rb") as file:
        yield str(path), file
