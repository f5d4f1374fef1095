"""Write results as Parquet files and as WebDataset shards."""

from __future__ import annotations

import io
import json
import tarfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from numpy.typing import NDArray

from onelayer.errors import OnelayerError
from onelayer.offline.decoding import Encoding
from onelayer.offline.readers import Sample, Source

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
    if twice := [name for name in source.schema.names if name in added or source.schema.names.count(name) > 1]:
        raise OnelayerError(
            f"the data set has a column {twice[0]}, and the output would have two",
            expected=f"names other than {', '.join(added)}",
            hint="Rename the column." if encoding == "arrays" else "Rename the column, or write arrays.",
        )
    schema = pa.schema([*source.schema, *(pa.field(name, kind) for name, kind in added.items())])
    metadata = {"onelayer": provenance}
    if (features := _features(source, encoding)) is not None:
        metadata["huggingface"] = features
    return schema.with_metadata(metadata)


def _features(source: Source, encoding: Encoding) -> str | None:
    """Write down for the library ``datasets`` what the columns are; None where it sees by itself."""
    try:
        features = dict(json.loads(source.huggingface or "{}")["info"]["features"])
    except (ValueError, KeyError, TypeError):
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
        self._results: list[Result] = []
        self._bytes = 0

    def add(self, sample: Sample, result: Result) -> None:
        """See :class:`Writer`."""
        length = result.nbytes if isinstance(result, np.ndarray) else len(result)
        if length > _LARGEST:
            raise OnelayerError(f"the result for {sample.name} has {length:,} bytes", expected=f"at most {_LARGEST:,}")
        if self._bytes + length > _LARGEST:
            self._flush()
        self._samples.append(sample)
        self._results.append(result)
        self._bytes += length
        if self._bytes >= _ROW_GROUP_BYTES or len(self._samples) >= _ROW_GROUP_ROWS:
            self._flush()

    def _flush(self) -> None:
        if not self._samples:
            return
        values = _binary(self._results)
        columns = self._source.columns(self._samples)
        if self._encoding == "arrays":
            shapes = [list(each.shape) for each in self._results if isinstance(each, np.ndarray)]
            dtypes = [each.dtype.name for each in self._results if isinstance(each, np.ndarray)]
            columns += [values, pa.array(shapes, PIXELS["shape"]), pa.array(dtypes, PIXELS["dtype"])]
        else:
            columns.append(self._source.image_array(self._samples, values))
        table = pa.Table.from_arrays(columns, schema=self._schema)
        self._file.write_table(table, row_group_size=len(self._samples))
        self._samples, self._results, self._bytes = [], [], 0

    def close(self) -> None:
        """See :class:`Writer`."""
        self._flush()
        self._file.close()


def _binary(results: Sequence[Result]) -> pa.Array:
    """Make a column of bytes, with one copy of each."""
    parts = [
        each.reshape(-1).view(np.uint8) if isinstance(each, np.ndarray) else np.frombuffer(each, np.uint8)
        for each in results
    ]
    offsets = np.zeros(len(parts) + 1, np.int32)
    np.cumsum([len(part) for part in parts], out=offsets[1:])
    buffer = pa.allocate_buffer(int(offsets[-1]))
    np.concatenate(parts, out=np.frombuffer(buffer, np.uint8))
    return pa.Array.from_buffers(pa.binary(), len(parts), [None, pa.py_buffer(offsets), buffer])


class ShardWriter(Writer):
    """A WebDataset shard. Its bytes follow from the samples alone: no times, no owners."""

    def __init__(self, path: Path, source: Source, encoding: Encoding) -> None:
        self._source, self._suffix = source, SUFFIX_OF_MEMBER[encoding]
        self._file = tarfile.TarFile(path, "w", format=tarfile.PAX_FORMAT, copybufsize=1 << 20)

    def add(self, sample: Sample, result: Result) -> None:
        """See :class:`Writer`."""
        suffix = self._source.suffix(sample, self._suffix)
        members = self._source.members(sample)
        if any(name == suffix for name, _ in members):
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
