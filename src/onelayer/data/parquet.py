"""Read Parquet files in the image layout of Hugging Face: encoded images in a column."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePath
from types import ModuleType
from typing import Any, BinaryIO

from onelayer.data.encoded import EncodedImages
from onelayer.data.folder import SPLIT_NAMES, group_by_split
from onelayer.data.splits import Split
from onelayer.errors import OnelayerError, did_you_mean, require

SUFFIX = ".parquet"

_COLUMNS = ("img", "image")

_ROWS = 256
"""Rows in memory at a time."""
_BUFFER_BYTES = 1 << 20
"""Size of the read buffer, which takes the place of the whole column of a row group."""

_PREFIX = re.compile(rf"({'|'.join(SPLIT_NAMES)})(?![a-z])", re.IGNORECASE)


def images_of_parquet(root: Path, files: Sequence[Path], *, source: str) -> EncodedImages:
    """Describe the images in a column ``img`` or ``image`` of Parquet files.

    The column holds encoded images, either as binary or as a struct with a binary field ``bytes``. The split of a
    file is the beginning of its name (``train-00000-of-00002.parquet``), or else the name of a folder above it.

    Raises:
        OnelayerError: If pyarrow is missing, some names tell a split and some do not, or there is no train.
    """
    _pyarrow()
    return EncodedImages(
        source=source,
        root=root,
        splits=group_by_split(root, files, _split_of),
        kind="Images of Parquet files",
        count=_count,
        read=_read,
    )


def images_of_parquet_file(path: Path, *, source: str) -> EncodedImages:
    """Describe the images of a single Parquet file, all of them in one split, whatever its name says.

    Raises:
        OnelayerError: If pyarrow is missing.
    """
    _pyarrow()
    return EncodedImages(
        source=source,
        root=path.parent,
        splits={"train": [path]},
        kind="Images of a Parquet file",
        count=_count,
        read=_read,
    )


def _split_of(path: PurePath) -> Split | None:
    if prefix := _PREFIX.match(path.name):
        return SPLIT_NAMES[prefix[1].lower()]
    innermost_first = (SPLIT_NAMES.get(folder.name.lower()) for folder in path.parents)
    return next((split for split in innermost_first if split is not None), None)


def _count(path: Path) -> int:
    with opened_parquet(path) as file:
        image_column(file.schema_arrow, path)
        return int(file.metadata.num_rows)


def _read(path: Path) -> Iterator[tuple[str, BinaryIO | None]]:
    row = 0
    with opened_parquet(path) as file:
        name, nested = image_column(file.schema_arrow, path)
        for batch in file.iter_batches(_ROWS, columns=[f"{name}.bytes" if nested else name]):
            # Flattening makes bytes null where the struct around them is.
            encoded = batch.column(0).flatten()[0] if nested else batch.column(0)
            for image in encoded:
                yield f"{path}, row {row}", io.BytesIO(image.as_py()) if image.is_valid else None
                row += 1


@contextmanager
def opened_parquet(path: Path) -> Iterator[Any]:
    """Open a pyarrow.parquet.ParquetFile, whose errors, on opening and on reading, are turned into OnelayerErrors."""
    pyarrow = _pyarrow()
    try:
        with path.open("rb") as raw, pyarrow.parquet.ParquetFile(raw, buffer_size=_BUFFER_BYTES) as file:
            yield file
    # ValueError is also what a name of a column raises that is not UTF-8.
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise OnelayerError(
            f"{path} cannot be read as Parquet: {' '.join(str(error).split())}",
            expected="a whole Parquet file",
            hint="Was it cut off on the way, or renamed? Download it again.",
        ) from error


def image_column(schema: Any, path: Path, named: str | None = None) -> tuple[str, bool]:
    """Find the column of encoded images, and whether they are a field ``bytes`` of a struct.

    Args:
        schema: Arrow schema of the file.
        path: Path of the file, for errors.
        named: Name of the column; None for ``img`` or ``image``.

    Raises:
        OnelayerError: If there is none, or it is of another type.
    """
    types = _pyarrow().types
    wanted = _COLUMNS if named is None else (named,)
    name = next((name for name in wanted if name in schema.names), None)
    if name is None:
        raise OnelayerError(
            f"{path} has no column of images; its columns are {', '.join(schema.names) or 'none'}",
            expected=f"a column {' or '.join(wanted)} of encoded images",
            hint="Rename the column." if named is None else did_you_mean(named, schema.names),
        )
    kind = schema.field(name).type
    if _is_binary(types, kind):
        return name, False
    if types.is_struct(kind) and kind.get_field_index("bytes") >= 0 and _is_binary(types, kind.field("bytes").type):
        return name, True
    raise OnelayerError(
        f"the column {name} of {path} is of type {kind}",
        expected="encoded images: binary, or a struct with a binary field called bytes",
    )


def _is_binary(types: Any, kind: Any) -> bool:
    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def _pyarrow() -> ModuleType:
    # Only on use: it is an optional dependency, and slow to import.
    require("pyarrow.parquet", extra="parquet", purpose="Reading Parquet files")
    return require("pyarrow", extra="parquet", purpose="Reading Parquet files")
