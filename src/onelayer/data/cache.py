"""Keep decoded images on disk, so that the next run need not decode them.

An entry is a folder named by a hash of all that its pixels depend on; it holds one .npy file per split and an index
with the digest of each. The folder may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from onelayer.console import console
from onelayer.data.splits import Pixels, Split

_INDEX = "index.json"


@dataclass(frozen=True)
class DecodedImages:
    """Images of a source by its own splits.

    Attributes:
        splits: Images of each split that the source has.
        skipped: Number of unusable images that were left out.
    """

    splits: Mapping[Split, Pixels]
    skipped: int = 0


class _Index(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    digests: dict[Split, str]
    """SHA-256 of each split's file."""
    skipped: int


def cached(folder: Path, key: str, build: Callable[[], DecodedImages]) -> DecodedImages:
    """Read the entry of a key, or build and store it.

    A damaged entry is replaced. Where the folder cannot be written, the console says so and the images are returned
    all the same.

    Args:
        folder: Folder of all entries; made if missing.
        key: A hash, as a file name.
        build: Maker of the images, called where there is no sound entry.

    Returns:
        The images, as read-only memory maps wherever there is an entry.
    """
    entry = folder / key
    if (stored := _read(entry)) is not None:
        return stored
    built = build()
    try:
        _write(entry, built)
    except OSError as error:
        # Another run may have stored the same entry between the steps of the write; then there is nothing to report.
        if (stored := _read(entry)) is None:
            console.print(
                f"The image cache {folder} cannot be written ({error.strerror or error}); going on without it.",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )
    else:
        stored = _read(entry)
    # The memory maps rather than what was built, so that the memory of the latter is free again.
    return built if stored is None else stored


def _read(entry: Path) -> DecodedImages | None:
    """Read an entry; None where it is missing or damaged in any way."""
    try:
        index = _Index.model_validate_json((entry / _INDEX).read_bytes())
        splits: dict[Split, Pixels] = {}
        for split, digest in index.digests.items():
            path = entry / f"{split}.npy"
            # The whole file, although a memory map needs only its header: a crash soon after the write can leave
            # zeros in a file of the right size, and those would pass for black images.
            if _digest(path) != digest:
                return None
            splits[split] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, ValidationError):
        return None
    return DecodedImages(splits, index.skipped)


def _write(entry: Path, decoded: DecodedImages) -> None:
    entry.parent.mkdir(parents=True, exist_ok=True)
    # On the same file system as the entry, so that one rename puts it in place: no reader ever sees half of it, and
    # what an interruption leaves behind is not taken for one.
    with tempfile.TemporaryDirectory(dir=entry.parent, prefix=".partial-", ignore_cleanup_errors=True) as temporary:
        partial = Path(temporary, "new")
        partial.mkdir()
        digests: dict[Split, str] = {}
        for split, images in decoded.splits.items():
            path = partial / f"{split}.npy"
            np.save(path, images, allow_pickle=False)
            digests[split] = _digest(path)
        index = _Index(digests=digests, skipped=decoded.skipped)
        (partial / _INDEX).write_text(index.model_dump_json(), encoding="utf-8")
        if entry.exists():
            entry.rename(Path(temporary, "replaced"))
        partial.rename(entry)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
