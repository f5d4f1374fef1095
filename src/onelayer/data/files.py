"""The files of a data folder, and the parts that their names put them in."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path, PurePath
from typing import NoReturn

from onelayer.data.parts import PARTS, Part
from onelayer.errors import OnelayerError

PART_NAMES: dict[str, Part] = {
    "train": "train",
    "test": "test",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
}
"""What a part may be called in names of files and folders."""


def find_files(root: Path) -> list[Path]:
    """All files below a folder that are not hidden, sorted by name, so that the order is no matter of the file system.

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


def group_by_part(
    root: Path, files: Sequence[Path], part_of: Callable[[PurePath], Part | None]
) -> dict[Part, list[Path]]:
    """Sort files into the parts that their names tell.

    Args:
        root: The folder that they are in.
        files: At least one.
        part_of: The part of a file by its path below ``root``, or None where that does not say.

    Returns:
        The files of each part, in the order given; all of them as train where no name tells a part.

    Raises:
        OnelayerError: If only some names tell a part, or none of those is train.
    """
    groups: dict[Part, list[Path]] = {}
    strays = []
    for path in files:
        part = part_of(path.relative_to(root))
        if part is None:
            strays.append(path)
        else:
            groups.setdefault(part, []).append(path)
    if not groups:
        return {"train": strays}
    named = " and ".join(part for part in PARTS if part in groups)
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
