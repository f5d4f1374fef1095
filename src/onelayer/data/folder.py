"""List the files of a data folder, sort them into splits, and read image files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePath
from typing import BinaryIO, NoReturn

from onelayer.data.encoded import EncodedImages
from onelayer.data.splits import SPLITS, Split
from onelayer.errors import OnelayerError

SPLIT_NAMES: dict[str, Split] = {
    "train": "train",
    "test": "test",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
}
"""Names of splits in the names of files and folders."""


def images_of_folder(root: Path, files: Sequence[Path], *, source: str) -> EncodedImages:
    """Sort the image files of a folder by its subfolders train, validation (val, valid) and test.

    Raises:
        OnelayerError: If some files are in such a subfolder and some are not, or there is no train.
    """
    return EncodedImages(
        source=source,
        root=root,
        splits=group_by_split(root, files, _split_of),
        kind="Images of a folder",
        count=lambda _: 1,
        read=_read,
    )


def _split_of(path: PurePath) -> Split | None:
    # Only the outermost folder: further in, "train" may well be a class, as it is one of CIFAR-100.
    return SPLIT_NAMES.get(path.parts[0].lower()) if len(path.parts) > 1 else None


def _read(path: Path) -> Iterator[tuple[str, BinaryIO]]:
    with path.open("rb") as file:
        yield str(path), file


def find_files(root: Path) -> list[Path]:
    """List all files below a folder that are not hidden, sorted by name, whatever the order of the file system.

    Linked folders are followed, but no folder is entered twice: a loop of links ends, and no file is found under two
    names by way of its folder.

    Raises:
        OnelayerError: If a folder cannot be listed.
    """
    entered = {_identity(root)}
    found: list[Path] = []
    for folder, subfolders, names in os.walk(root, followlinks=True, onerror=_refuse_unreadable):
        kept = []
        for name in sorted(subfolders):
            path = Path(folder, name)
            if not name.startswith(".") and (identity := _identity(path)) not in entered:
                entered.add(identity)
                kept.append(name)
        subfolders[:] = kept
        for name in names:
            path = Path(folder, name)
            # Not a pipe or a socket, which would block a reader; a dangling link is kept and reported on reading.
            if not name.startswith(".") and (path.is_file() or not path.exists()):
                found.append(path)
    return sorted(found, key=lambda path: path.relative_to(root).parts)


def group_by_split(
    root: Path, files: Sequence[Path], split_of: Callable[[PurePath], Split | None]
) -> dict[Split, list[Path]]:
    """Sort files into the splits that their names tell.

    Args:
        root: Folder that holds the files.
        files: At least one path.
        split_of: Function from a path below ``root`` to its split, or None where the path does not tell it.

    Returns:
        The files of each split, in the order of the argument; all of them as train where no name tells a split.

    Raises:
        OnelayerError: If only some names tell a split, or none of those is train.
    """
    groups: dict[Split, list[Path]] = {}
    strays = []
    for path in files:
        split = split_of(path.relative_to(root))
        if split is None:
            strays.append(path)
        else:
            groups.setdefault(split, []).append(path)
    if not groups:
        return {"train": strays}
    named = " and ".join(split for split in SPLITS if split in groups)
    if strays:
        # Neither guess is safe: left out they might be most of the data, and taken as train they might be test images.
        raise OnelayerError(
            f"{root} has parts ({named}), but {len(strays):,} of its files are in none of them, such as {strays[0]}",
            expected="all files in a part, or none",
            hint="Move those files out of the folder or into a part. Parts are called train, validation and test.",
        )
    if "train" not in groups:
        raise OnelayerError(
            f"{root} has {named}, but no train part",
            expected="a part called train, or no parts at all",
            hint="Name the folder above it, or rename the part.",
        )
    return groups


def _identity(folder: Path) -> tuple[int, int]:
    try:
        status = folder.stat()
    except OSError as error:
        _refuse_unreadable(error)
    return status.st_dev, status.st_ino


def _refuse_unreadable(error: OSError) -> NoReturn:
    raise OnelayerError(f"the folder {error.filename} cannot be read: {error.strerror or error}") from error
