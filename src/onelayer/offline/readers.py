"""Read data sets of encoded images: folders of files, and Parquet files; and what all kinds of data sets share."""

from __future__ import annotations

import itertools
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from onelayer.data.parquet import opened_parquet
from onelayer.errors import OnelayerError
from onelayer.offline.decoding import MAX_ENCODED_BYTES
from onelayer.records import Part

_ROWS = 16
"""Largest number of rows of a Parquet file in memory at a time."""
_ROWS_BYTES = 1 << 28
"""Largest size of these rows in bytes, if each held all values of its row group."""


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
    size: int = 0
    """Size of the others in bytes."""


class Source(ABC):
    """A data set of encoded images. It can be pickled, and says how its samples are read and what is kept of them.

    Attributes:
        root: Folder that holds the files.
        column: Name of the column of encoded images in Parquet files that are written.
        schema: Arrow schema of the other columns.
        beside: Arrow schema of a struct that the column of images has beside the bytes, and that is kept where these
            are not; empty without any.
        huggingface: Features, as JSON, that the library ``datasets`` left in the files; None without any.
    """

    root: Path
    column: str
    schema: pa.Schema
    huggingface: str | None = None

    @property
    def beside(self) -> pa.Schema:
        """See the class."""
        return pa.schema([])

    @abstractmethod
    def read(self, part: InputPart) -> Iterator[tuple[Sample, bytes | None]]:
        """Read samples one after the other, each with its encoded image; None for one that is missing."""

    @abstractmethod
    def columns(self, samples: Sequence[Sample]) -> list[pa.Array]:
        """Return what :attr:`schema` says of some samples."""

    def columns_beside(self, samples: Sequence[Sample]) -> list[pa.Array]:  # noqa: ARG002 - of Parquet files only
        """Return what :attr:`beside` says of some samples."""
        return []

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
                with (self.root / name).open("rb") as file:
                    # One byte more than an image may have shows that it is too large.
                    encoded = file.read(min(os.fstat(file.fileno()).st_size, MAX_ENCODED_BYTES) + 1)
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

    @property
    def beside(self) -> pa.Schema:
        """See :class:`Source`."""
        fields = list(self.kind) if pa.types.is_struct(self.kind) else []
        kept = [field.with_nullable(True) for field in fields if field.name != "bytes"]
        return pa.schema([(self.column, pa.struct(kept))] if kept else [])

    def read(self, part: InputPart) -> Iterator[tuple[Sample, bytes | None]]:
        """See :class:`Source`."""
        (name,) = part.files
        begin, end = part.rows or (0, 0)
        with opened_parquet(self.root / name) as file:
            first = 0
            for number in range(file.num_row_groups):
                group = file.metadata.row_group(number)
                row, first = first, first + group.num_rows
                if first <= begin or row >= end:
                    continue
                # A value that many rows repeat counts once in the size of a row group, whose dictionary it is in.
                rows = min(max(_ROWS_BYTES // max(group.total_byte_size, 1), 1), _ROWS)
                # One group after the other: of several, pyarrow keeps what it has read until the end of the last.
                for batch in file.iter_batches(rows, row_groups=[number]):
                    images, others = self._separated(batch)
                    size = others.nbytes // len(images)
                    for index, image in enumerate(images):
                        if begin <= row < end:
                            yield self._sample(name, row, _Row(others, index), size), _content(image)
                        row += 1

    def _separated(self, batch: pa.RecordBatch) -> tuple[pa.Array, pa.RecordBatch]:
        """Separate the encoded images of a batch from everything else."""
        images = batch.column(self.column)
        others = [batch.column(name) for name in self.schema.names]
        if pa.types.is_struct(images.type):
            place = images.type.get_field_index("bytes")
            # Flattening makes fields null where the struct around them is.
            fields = images.flatten()
            images = fields.pop(place)
            others += [pa.StructArray.from_arrays(fields, fields=list(field.type)) for field in self.beside]
        return images, pa.RecordBatch.from_arrays(others, schema=pa.schema([*self.schema, *self.beside]))

    def _sample(self, file: str, row: int, others: _Row, size: int) -> Sample:
        if self.key is None:
            return Sample(f"{file}, row {row}", f"{file.rpartition('.')[0]}/{row:08}", others, size)
        value = others.others.column(self.key)[others.row].as_py()
        if not isinstance(value, str | int) or value == "":
            raise OnelayerError(
                f"the key of row {row} of {file} is {value!r}", expected="a text that is not empty, or a whole number"
            )
        return Sample(str(value), shard_key(str(value)), others, size)

    def columns(self, samples: Sequence[Sample]) -> list[pa.Array]:
        """See :class:`Source`."""
        return _taken(samples, self.schema)

    def columns_beside(self, samples: Sequence[Sample]) -> list[pa.Array]:
        """See :class:`Source`."""
        return _taken(samples, self.beside)

    def image_array(self, samples: Sequence[Sample], encoded: pa.Array) -> pa.Array:
        """See :class:`Source`."""
        encoded = encoded.cast(self.kind.field("bytes").type if pa.types.is_struct(self.kind) else self.kind)
        if not pa.types.is_struct(self.kind):
            return encoded
        beside = (field for struct in self.columns_beside(samples) for field in struct.flatten())
        fields = [encoded if field.name == "bytes" else next(beside) for field in self.kind]
        return pa.StructArray.from_arrays(fields, fields=list(self.kind))

    def members(self, sample: Sample) -> list[tuple[str, bytes]]:
        """See :class:`Source`: all other columns as JSON.

        Raises:
            OnelayerError: If a value has no form in JSON.
        """
        row: _Row = sample.others
        try:
            values = {name: row.others.column(name)[row.row].as_py() for name in row.others.schema.names}
            return [("json", json.dumps(values, ensure_ascii=False, allow_nan=False).encode())] if values else []
        # ValueError is also what a number raises that is not finite, and a text that is not UTF-8.
        except (TypeError, ValueError) as error:
            raise OnelayerError(
                f"the columns of {sample.name} cannot be written as JSON, as a member of a shard: {error}",
                hint="Write Parquet files: --to parquet.",
            ) from error


def _content(image: pa.Scalar) -> bytes | None:
    # One byte more than an image may have shows that it is too large.
    return image.as_buffer()[: MAX_ENCODED_BYTES + 1].to_pybytes() if image.is_valid else None


def _taken(samples: Sequence[Sample], schema: pa.Schema) -> list[pa.Array]:
    batches = [rows[0].others.select(schema.names).take(_indices(rows)) for rows in _by_batch(samples)]
    taken = pa.Table.from_batches(batches, schema).combine_chunks()
    return [column.chunk(0) if column.num_chunks else pa.array([], column.type) for column in taken.columns]


def _by_batch(samples: Sequence[Sample]) -> Iterator[list[_Row]]:
    for _, rows in itertools.groupby((each.others for each in samples), key=lambda row: id(row.others)):
        yield list(rows)


def _indices(rows: Sequence[_Row]) -> pa.Array:
    return pa.array([each.row for each in rows], pa.int64())


def shard_key(path: str) -> str:
    """Make a key for shards of a text that is not empty, such that different texts have different keys.

    A member's suffixes begin at the first dot of its name, so that a key has none there. A text that is no path to
    something below a folder, such as ``../a``, ``/a`` or ``a//b``, becomes a name in the folder itself.
    """
    folder, slash, name = path.rpartition("/")
    if not {"", ".", ".."}.isdisjoint(path.split("/")) or "\0" in path:
        folder, slash, name = "", "", path
    for character in "%./\0":
        name = name.replace(character, f"%{ord(character):02X}")
    return folder + slash + name


def parsed_features(huggingface: str | None) -> dict[str, Any] | None:
    """Parse the features that the library ``datasets`` left in a file; None where there are none that can be read."""
    try:
        return dict(json.loads(huggingface or "{}")["info"]["features"])
    # RecursionError is what lists in lists raise, thousands deep.
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
