"""Read data sets of encoded images: folders of files, and Parquet files; and what all kinds of data sets share."""

from __future__ import annotations

import itertools
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from onelayer.data.parquet import opened_parquet
from onelayer.errors import OnelayerError
from onelayer.records import Part

_ROWS = 16
"""Rows of a Parquet file in memory at a time."""


class InputPart(Part):
    """The images that become a file of the output."""

    number: int
    files: tuple[str, ...]
    """Paths below the root of the data set."""
    rows: tuple[int, int] | None = None
    """First row, and the row behind the last, of the only file; None for all that is in the files."""
    size: int
    """Share of the work: number of images, or of bytes of a shard."""


class Sample(NamedTuple):
    """A sample without its image."""

    name: str
    """Name in messages, from which the seed of the image follows."""
    key: str
    """Path without a suffix, to which the names of the sample's members in a shard are added."""
    others: Any
    """Other columns or members, as the source keeps them."""


class Source(ABC):
    """A data set of encoded images. It can be pickled, and says how its samples are read and what is kept of them.

    Attributes:
        root: Folder that holds the files.
        column: Name of the column of encoded images in Parquet files that are written.
        schema: Arrow schema of the other columns.
        huggingface: Features, as JSON, that the library ``datasets`` left in the files; None without any.
    """

    root: Path
    column: str
    schema: pa.Schema
    huggingface: str | None = None

    @abstractmethod
    def read(self, part: InputPart) -> Iterator[tuple[Sample, bytes | None]]:
        """Read samples one after the other, each with its encoded image; None for one that is missing."""

    @abstractmethod
    def columns(self, samples: Sequence[Sample]) -> list[pa.Array]:
        """Return what :attr:`schema` says of some samples."""

    @abstractmethod
    def members(self, sample: Sample) -> list[tuple[str, bytes]]:
        """Return the suffix and the content of each other member of a sample in a shard."""

    def suffix(self, sample: Sample, encoding: str) -> str:  # noqa: ARG002 - a shard knows more
        """Return the suffix of the result's member in a shard."""
        return encoding

    @property
    def image_type(self) -> pa.DataType:
        """Type of the column of encoded images: by default that of ``datasets``, a struct of bytes and a path."""
        return pa.struct([("bytes", pa.binary()), ("path", pa.string())])

    def image_array(self, samples: Sequence[Sample], encoded: pa.Array) -> pa.Array:
        """Make the column of encoded images."""
        paths = pa.array([each.key for each in samples], pa.string())
        return pa.StructArray.from_arrays([encoded, paths], names=["bytes", "path"])


@dataclass(frozen=True)
class FolderSource(Source):
    """Image files in a folder. The key of a sample is its path below the folder, classes included."""

    root: Path
    column: str = "image"

    @property
    def schema(self) -> pa.Schema:
        """Key of the sample."""
        return pa.schema([("key", pa.string())])

    def read(self, part: InputPart) -> Iterator[tuple[Sample, bytes | None]]:
        """See :class:`Source`."""
        for name in part.files:
            try:
                encoded = (self.root / name).read_bytes()
            except OSError as error:
                raise OnelayerError(
                    f"{self.root / name} cannot be read: {error.strerror or error}",
                    hint="Run the same command again when it can.",
                ) from error
            yield Sample(name, shard_key(name.rpartition(".")[0]), name), encoded

    def columns(self, samples: Sequence[Sample]) -> list[pa.Array]:
        """See :class:`Source`."""
        return [pa.array([each.others for each in samples], pa.string())]

    def image_array(self, samples: Sequence[Sample], encoded: pa.Array) -> pa.Array:
        """See :class:`Source`."""
        return super().image_array([each._replace(key=each.others) for each in samples], encoded)

    def members(self, sample: Sample) -> list[tuple[str, bytes]]:  # noqa: ARG002 - see Source
        """See :class:`Source`."""
        return []


class _Row(NamedTuple):
    """A row of a batch, without its image."""

    others: pa.RecordBatch
    beside: list[pa.Array]
    """Fields beside the bytes of the image, in the order of the struct."""
    row: int


@dataclass(frozen=True)
class ParquetSource(Source):
    """Parquet files with a column of encoded images.

    Attributes:
        key: Column that names the samples; None for the name of the file and the number of the row.
        kind: Arrow type of the column of images.
    """

    root: Path
    column: str
    schema: pa.Schema
    kind: pa.DataType
    key: str | None = None
    huggingface: str | None = None

    @property
    def image_type(self) -> pa.DataType:
        """See :class:`Source`: the type that the column has."""
        return self.kind

    def read(self, part: InputPart) -> Iterator[tuple[Sample, bytes | None]]:
        """See :class:`Source`."""
        (name,) = part.files
        begin, end = part.rows or (0, 0)
        with opened_parquet(self.root / name) as file:
            groups, row = [], 0
            first = None
            for group in range(file.num_row_groups):
                length = file.metadata.row_group(group).num_rows
                if row < end and begin < row + length:
                    groups.append(group)
                    first = row if first is None else first
                row += length
            row = first or 0
            for batch in file.iter_batches(_ROWS, row_groups=groups):
                images = batch.column(self.column)
                beside = []
                if pa.types.is_struct(images.type):
                    # Flattening makes fields null where the struct around them is.
                    fields = dict(zip([field.name for field in images.type], images.flatten(), strict=True))
                    images = fields.pop("bytes")
                    beside = list(fields.values())
                others = batch.select(self.schema.names)
                for index, image in enumerate(images):
                    if begin <= row < end:
                        sample = self._sample(name, row, _Row(others, beside, index))
                        yield sample, image.as_py()
                    row += 1

    def _sample(self, file: str, row: int, others: _Row) -> Sample:
        if self.key is None:
            return Sample(f"{file}, row {row}", f"{file.rpartition('.')[0]}/{row:08}", others)
        value = others.others.column(self.key)[others.row].as_py()
        if not isinstance(value, str | int):
            raise OnelayerError(f"the key of row {row} of {file} is {value!r}", expected="a text or a whole number")
        return Sample(str(value), shard_key(str(value)), others)

    def columns(self, samples: Sequence[Sample]) -> list[pa.Array]:
        """See :class:`Source`."""
        batches = [(rows[0].others, _indices(rows)) for rows in _by_batch(samples)]
        taken = pa.Table.from_batches([batch.take(indices) for batch, indices in batches], self.schema).combine_chunks()
        return [column.chunk(0) if column.num_chunks else pa.array([], column.type) for column in taken.columns]

    def image_array(self, samples: Sequence[Sample], encoded: pa.Array) -> pa.Array:
        """See :class:`Source`."""
        encoded = encoded.cast(self.kind.field("bytes").type if pa.types.is_struct(self.kind) else self.kind)
        if not pa.types.is_struct(self.kind):
            return encoded
        groups = [([field.take(_indices(rows)) for field in rows[0].beside]) for rows in _by_batch(samples)]
        beside = iter([pa.concat_arrays(parts) for parts in zip(*groups, strict=True)])
        fields = [encoded if field.name == "bytes" else next(beside) for field in self.kind]
        return pa.StructArray.from_arrays(fields, fields=list(self.kind))

    def members(self, sample: Sample) -> list[tuple[str, bytes]]:
        """See :class:`Source`: all other columns as JSON.

        Raises:
            OnelayerError: If a value has no form in JSON.
        """
        row: _Row = sample.others
        values = {name: row.others.column(name)[row.row].as_py() for name in row.others.schema.names}
        if not values:
            return []
        try:
            return [("json", json.dumps(values, ensure_ascii=False).encode())]
        except TypeError as error:
            raise OnelayerError(
                f"the columns of {sample.name} cannot be written as JSON, as a member of a shard: {error}",
                hint="Write Parquet files: --to parquet.",
            ) from error


def _by_batch(samples: Sequence[Sample]) -> Iterator[list[_Row]]:
    for _, rows in itertools.groupby((each.others for each in samples), key=lambda row: id(row.others)):
        yield list(rows)


def _indices(rows: Sequence[_Row]) -> pa.Array:
    return pa.array([each.row for each in rows], pa.int64())


def shard_key(path: str) -> str:
    """Make a key for shards: a member's suffixes begin at the first dot of its name, so that a key has none there."""
    folder, slash, name = path.rpartition("/")
    return folder + slash + name.replace("%", "%25").replace(".", "%2E")
