"""Write results as Parquet files and as WebDataset shards."""

from __future__ import annotations

import io
import json
import tarfile
from abc import ABC, abstractmethod
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from numpy.typing import NDArray

from onelayer.errors import OnelayerError
from onelayer.offline.decoding import Encoding
from onelayer.offline.readers import Sample, Source, parsed_features

Format = Literal["parquet", "webdataset"]
SUFFIX_OF: dict[Format, str] = {"parquet": ".parquet", "webdataset": ".tar"}
SUFFIX_OF_MEMBER: dict[Encoding, str] = {"arrays": "npy", "png": "png", "jpeg": "jpg"}

Result = NDArray[Any] | bytes
"""Pixels, or an encoded image."""

PIXELS = {"pixels": pa.binary(), "shape": pa.list_(pa.int32()), "dtype": pa.string()}
"""Columns of pixels: the bytes of an array, row by row; its shape; and the name of NumPy's dtype."""

_ROW_GROUP_BYTES = 32 << 20
_ROW_GROUP_ROWS = 1024
_LARGEST = 2**31 - 1
"""Bytes that a value of a binary column can have."""


class Writer(ABC):
    """A file that is written sample by sample, as a context manager."""

    @abstractmethod
    def add(self, sample: Sample, result: Result) -> None:
        """Write a sample."""

    @abstractmethod
    def close(self) -> None:
        """Write what is left, and close the file."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        # After an error nobody keeps the file.
        if kind is None:
            self.close()


def open_writer(path: Path, source: Source, form: Format, encoding: Encoding, provenance: str) -> Writer:
    """Open a file to write samples of a data set to.

    Args:
        path: Path of the file.
        source: The data set.
        form: Format of the file.
        encoding: Form of the results.
        provenance: JSON for the metadata of Parquet files.

    Raises:
        OnelayerError: If a column of the data set has the name of one that is added.
    """
    if form == "webdataset":
        return ShardWriter(path, source, encoding)
    return ParquetWriter(path, source, encoding, provenance)


def output_schema(source: Source, encoding: Encoding, provenance: str) -> pa.Schema:
    """Make the schema of Parquet files.

    Raises:
        OnelayerError: If two columns have one name.
    """
    added = PIXELS if encoding == "arrays" else {source.column: source.image_type}
    kept = [*source.schema, *(source.beside if encoding == "arrays" else ())]
    names = Counter([*(field.name for field in kept), *added])
    if twice := [name for name, count in names.items() if count > 1]:
        raise OnelayerError(
            f"the data set has a column {twice[0]}, and the output would have two",
            expected=f"names other than {', '.join(added)}",
            hint="Rename the column." if encoding == "arrays" else "Rename the column, or write arrays.",
        )
    schema = pa.schema([*kept, *(pa.field(name, kind) for name, kind in added.items())])
    metadata = {"onelayer": provenance}
    if (features := _features(source, encoding)) is not None:
        metadata["huggingface"] = features
    return schema.with_metadata(metadata)


def _features(source: Source, encoding: Encoding) -> str | None:
    """Write down for the library ``datasets`` what the columns are; None where it sees by itself."""
    features = parsed_features(source.huggingface)
    if features is None:
        if encoding == "arrays":
            return None
        types = {field.name: str(field.type) for field in source.schema}
        features = {name: {"dtype": kind, "_type": "Value"} for name, kind in types.items()}
        if not all(kind["dtype"] in ("string", "binary") for kind in features.values()):
            return None
    if encoding == "arrays":
        features.pop(source.column, None)
        features["pixels"] = {"dtype": "binary", "_type": "Value"}
        features["shape"] = {"feature": {"dtype": "int32", "_type": "Value"}, "_type": "List"}
        features["dtype"] = {"dtype": "string", "_type": "Value"}
    else:
        # In the order of the columns.
        features[source.column] = features.pop(source.column, {"_type": "Image"})
    return json.dumps({"info": {"features": features}})


class ParquetWriter(Writer):
    """A Parquet file; a row group is written as soon as it is large enough."""

    def __init__(self, path: Path, source: Source, encoding: Encoding, provenance: str) -> None:
        self._source, self._encoding = source, encoding
        self._schema = output_schema(source, encoding, provenance)
        # Pixels are never repeated, and no range of theirs is of use to a reader.
        self._file = pa.parquet.ParquetWriter(
            path, self._schema, use_dictionary=False, write_statistics=False, compression="none"
        )
        self._samples: list[Sample] = []
        self._shapes: list[tuple[int, ...]] = []
        self._dtypes: list[str] = []
        self._values = _Values()
        self._bytes_of_others = 0

    def add(self, sample: Sample, result: Result) -> None:
        """See :class:`Writer`."""
        value = result.reshape(-1).view(np.uint8) if isinstance(result, np.ndarray) else np.frombuffer(result, np.uint8)
        if len(value) > _LARGEST:
            raise OnelayerError(
                f"the result for {sample.name} has {len(value):,} bytes", expected=f"at most {_LARGEST:,}"
            )
        size = self._values.bytes + len(value) + self._bytes_of_others + sample.size
        if self._samples and (size > _ROW_GROUP_BYTES or len(self._samples) == _ROW_GROUP_ROWS):
            self._flush()
        self._bytes_of_others += sample.size
        self._values.append(value)
        self._samples.append(sample)
        if isinstance(result, np.ndarray):
            self._shapes.append(result.shape)
            self._dtypes.append(result.dtype.name)

    def _flush(self) -> None:
        if not self._samples:
            return
        values = self._values.array()
        columns = self._source.columns(self._samples)
        if self._encoding == "arrays":
            shapes = pa.array([list(shape) for shape in self._shapes], PIXELS["shape"])
            columns += self._source.columns_beside(self._samples)
            columns += [values, shapes, pa.array(self._dtypes, PIXELS["dtype"])]
        else:
            columns.append(self._source.image_array(self._samples, values))
        table = pa.Table.from_arrays(columns, schema=self._schema)
        self._file.write_table(table, row_group_size=len(self._samples))
        self._values.clear()
        self._samples, self._shapes, self._dtypes = [], [], []
        self._bytes_of_others = 0

    def close(self) -> None:
        """See :class:`Writer`."""
        self._flush()
        self._file.close()


class _Values:
    """A column of bytes in memory that is used again for each row group.

    A value is copied while it lies in the caches. To keep hundreds of results until a row group is full takes new
    memory for each, and reads each from memory again.
    """

    def __init__(self) -> None:
        self._memory = np.empty(_ROW_GROUP_BYTES, np.uint8)
        self._ends = [0]

    @property
    def bytes(self) -> int:
        """Length of all values."""
        return self._ends[-1]

    def append(self, value: NDArray[np.uint8]) -> None:
        """Copy a value; one that is larger than a row group should be is the only one."""
        end = self.bytes + len(value)
        if end > len(self._memory):
            self._memory = np.empty(end, np.uint8)
        self._memory[self.bytes : end] = value
        self._ends.append(end)

    def array(self) -> pa.Array:
        """Return the column, which is valid until the next value."""
        offsets = pa.py_buffer(np.array(self._ends, np.int32))
        return pa.Array.from_buffers(pa.binary(), len(self._ends) - 1, [None, offsets, pa.py_buffer(self._memory)])

    def clear(self) -> None:
        """Forget all values."""
        self._ends = [0]


class ShardWriter(Writer):
    """A WebDataset shard. Its bytes follow from the samples alone: no times, no owners."""

    def __init__(self, path: Path, source: Source, encoding: Encoding) -> None:
        self._source, self._suffix = source, SUFFIX_OF_MEMBER[encoding]
        self._keys: set[str] = set()
        self._file = tarfile.TarFile(path, "w", format=tarfile.PAX_FORMAT, copybufsize=1 << 20)

    def add(self, sample: Sample, result: Result) -> None:
        """See :class:`Writer`."""
        if sample.key in self._keys:
            raise OnelayerError(
                f"two samples of a shard would have the key {sample.key}, the second of them {sample.name}",
                expected="different keys",
                hint="Name the samples by another column (--key), or write Parquet files: --to parquet.",
            )
        self._keys.add(sample.key)
        suffix = self._source.suffix(sample, self._suffix)
        members = self._source.members(sample)
        # Readers of shards take suffixes for the same whatever their case.
        if any(name.lower() == suffix.lower() for name, _ in members):
            raise OnelayerError(
                f"the sample {sample.name} has a member {suffix} already", hint="Rename it, or write Parquet files."
            )
        self._write(f"{sample.key}.{suffix}", result if isinstance(result, bytes) else _npy(result))
        for name, content in members:
            self._write(f"{sample.key}.{name}", content)

    def _write(self, name: str, content: bytes) -> None:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        self._file.addfile(info, io.BytesIO(content))

    def close(self) -> None:
        """See :class:`Writer`."""
        self._file.close()


def _npy(array: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()
