"""List a data set and divide it into the parts that become files of the output, the same ones every time."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from onelayer.data.encoded import SUFFIXES
from onelayer.data.folder import find_files
from onelayer.data.parquet import SUFFIX, image_column, opened_parquet
from onelayer.errors import OnelayerError, did_you_mean
from onelayer.offline.readers import FolderSource, InputPart, ParquetSource, Source, parsed_features, shard_key
from onelayer.offline.shards import SHARD_SUFFIX, ShardSource, read_samples, schema_of_sample

Kind = Literal["folder", "parquet", "shards"]

_KINDS: dict[Kind, tuple[str, ...]] = {"folder": SUFFIXES, "parquet": (SUFFIX,), "shards": (SHARD_SUFFIX,)}
_NAMES: dict[Kind, str] = {"folder": "image files", "parquet": "Parquet files", "shards": "shards"}
_ALL = f"names that end in {', '.join(suffix for suffixes in _KINDS.values() for suffix in suffixes)}"


@dataclass(frozen=True)
class DataSetFiles:
    """The files of a data set.

    Attributes:
        root: Folder that holds them.
        kind: Kind of the files.
        names: Paths below the root, sorted.
        others: Number of files of no kind that is read.
    """

    root: Path
    kind: Kind
    names: tuple[str, ...]
    others: int


@dataclass(frozen=True)
class Listing:
    """A data set and its parts.

    Attributes:
        source: Reader of its samples.
        parts: Parts, in order.
        images: Number of images; None where it is not known before the files are read.
        digest: SHA-256 of the names, sizes and times of all files.
    """

    source: Source
    parts: tuple[InputPart, ...]
    images: int | None
    digest: str


def find_data_set(path: Path) -> DataSetFiles:
    """Find the files in a folder and all its subfolders, or a single file.

    Raises:
        OnelayerError: If there is nothing that is read, or a mixture of images, Parquet files and shards.
    """
    if not path.exists():
        raise OnelayerError(f"there is no {path}", expected="a folder, a Parquet file or a shard")
    root = (path if path.is_dir() else path.parent).resolve()
    files = find_files(root) if path.is_dir() else [root / path.name]
    by_kind = {kind: [each for each in files if each.suffix.lower() in _KINDS[kind]] for kind in _KINDS}
    present = [kind for kind, found in by_kind.items() if found]
    if len(present) != 1:
        examples = [f"{_NAMES[kind]} ({len(by_kind[kind]):,}, such as {by_kind[kind][0]})" for kind in present]
        raise OnelayerError(
            f"{path} holds " + (" and ".join(examples) if present else "none of the files that are read"),
            expected="one kind of files" if present else _ALL,
            hint="Move the others out of the folder." if present else None,
        )
    (kind,) = present
    names = tuple(_text(each.relative_to(root)) for each in by_kind[kind])
    return DataSetFiles(root, kind, names, len(files) - len(names))


def list_parts(
    files: DataSetFiles, *, column: str | None, key: str | None, images_per_file: int, to_shards: bool
) -> Listing:
    """Divide a data set into parts, the same ones every time.

    A part is a number of images, in the order of their names; rows of a Parquet file, cut between row groups where
    these are not larger; or a shard.

    Args:
        files: Files of the data set.
        column: Column of the images, or suffix of their members in shards; None for the usual ones.
        key: Column that names the samples of Parquet files; None for the file and the row.
        images_per_file: Number of images of a part.
        to_shards: Whether samples need different keys, because they are written into shards.

    Raises:
        OnelayerError: For a column or a key that is not there, two files that would have one key, or no image.
    """
    root, kind, names = files.root, files.kind, files.names
    if kind != "parquet" and key is not None:
        raise OnelayerError(f"the key {key} was given with {_NAMES[kind]}", expected="Parquet files with it")
    if kind == "folder" and column is not None:
        raise OnelayerError(f"the column {column} was given with image files", expected="Parquet files or shards")
    digest = _digest(root, names)
    source: Source
    if to_shards and kind != "shards" and key is None:
        _refuse_equal_keys(names)
    if kind == "folder":
        source = FolderSource(root)
        cut = list(_of_images(names, images_per_file))
    elif kind == "parquet":
        source, cut = _of_parquet(root, names, column, key, images_per_file)
    else:
        source = ShardSource(root, _schema_of_shards(root, names, column), column)
        cut = [InputPart(number=0, files=(name,), size=(root / name).stat().st_size) for name in names]
    parts = tuple(part.model_copy(update={"number": number}) for number, part in enumerate(cut))
    return Listing(source, parts, None if kind == "shards" else sum(part.size for part in parts), digest)


def _text(path: Path) -> str:
    text = path.as_posix()
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise OnelayerError(f"the name {text!a} is not UTF-8", hint="Rename it; keys are text.") from None
    return text


def _digest(root: Path, names: Sequence[str]) -> str:
    total = hashlib.sha256()
    for name in names:
        try:
            status = (root / name).stat()
        except OSError as error:
            raise OnelayerError(
                f"{root / name} cannot be read: {error.strerror or error}", hint="Repair it, or take it out."
            ) from error
        # No name contains the separator, so no two lists give the same sequence of bytes.
        total.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    return total.hexdigest()


def _refuse_equal_keys(names: Sequence[str]) -> None:
    seen: dict[str, str] = {}
    for name in names:
        key = shard_key(name.rpartition(".")[0])
        if (other := seen.setdefault(key, name)) != name:
            raise OnelayerError(
                f"{other} and {name} would have the same key in shards",
                expected="names that differ without their suffixes",
                hint="Rename them, or write Parquet files: --to parquet.",
            )


def _of_images(names: Sequence[str], images_per_file: int) -> Iterator[InputPart]:
    for start in range(0, len(names), images_per_file):
        files = tuple(names[start : start + images_per_file])
        yield InputPart(number=0, files=files, size=len(files))


def _of_parquet(
    root: Path, names: Sequence[str], column: str | None, key: str | None, images_per_file: int
) -> tuple[ParquetSource, list[InputPart]]:
    source: ParquetSource | None = None
    parts = []
    for name in names:
        with opened_parquet(root / name) as file:
            schema, groups = (
                file.schema_arrow,
                [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)],
            )
        found = _parquet_source(root, schema, root / name, column, key)
        source = source or found
        if not found.schema.equals(source.schema) or found.kind != source.kind:
            raise OnelayerError(
                f"the columns of {root / name} are not those of {root / names[0]}", expected="the same in all files"
            )
        if parsed_features(found.huggingface) != parsed_features(source.huggingface):
            raise OnelayerError(
                f"what {root / name} says of its columns for datasets, such as the order of class names, is not what"
                f" {root / names[0]} says",
                expected="the same in all files",
                hint="Apply the pipeline to each file alone, or write the files anew with one order of classes.",
            )
        for start, stop in _ranges(groups, images_per_file):
            parts.append(InputPart(number=0, files=(name,), rows=(start, stop), size=stop - start))
    if source is None or not parts:
        raise OnelayerError(f"the Parquet files in {root} have no rows", expected="at least one image")
    return source, parts


def _parquet_source(root: Path, schema: Any, path: Path, column: str | None, key: str | None) -> ParquetSource:
    if twice := [name for name, count in Counter(schema.names).items() if count > 1]:
        raise OnelayerError(
            f"{path} has several columns {twice[0]}", expected="different names", hint="Rename all of them but one."
        )
    name, _ = image_column(schema, path, column)
    if key is not None and (key == name or key not in schema.names):
        raise OnelayerError(
            f"{path} has no column {key} of keys; its columns are {', '.join(schema.names)}",
            expected="a column of texts or whole numbers",
            hint=did_you_mean(key, schema.names),
        )
    metadata = schema.metadata or {}
    huggingface = metadata.get(b"huggingface")
    others = pa.schema([field for field in schema if field.name != name])
    return ParquetSource(
        root, name, others, schema.field(name).type, key, huggingface.decode(errors="replace") if huggingface else None
    )


def _ranges(groups: Sequence[int], images_per_file: int) -> Iterator[tuple[int, int]]:
    """Cut the rows of a file: between row groups, or into equal ranges where a group is too large."""
    start = stop = 0
    for rows in groups:
        if stop > start and stop + rows - start > images_per_file:
            yield start, stop
            start = stop
        stop += rows
        while stop - start > images_per_file:
            yield start, start + images_per_file
            start += images_per_file
    if stop > start:
        yield start, stop


def _schema_of_shards(root: Path, names: Sequence[str], suffix: str | None) -> pa.Schema:
    for name in names:
        for key, members in read_samples(root / name):
            return schema_of_sample(members, suffix, f"{name}: {key}")
    raise OnelayerError(f"the shards in {root} have no samples", expected="at least one image")
