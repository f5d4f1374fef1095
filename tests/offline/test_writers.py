"""Files of results: what stands in their row groups, and when those end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
writers = pytest.importorskip("onelayer.offline.writers")
readers = pytest.importorskip("onelayer.offline.readers")


def samples(tmp_path: Path, count: int) -> tuple[readers.FolderSource, list[readers.Sample]]:
    names = [f"{number}.png" for number in range(count)]
    return readers.FolderSource(tmp_path), [readers.Sample(name, name, name) for name in names]


def test_row_groups_end_before_they_are_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values of any size, empty and larger than a group among them, are read as they were written."""
    monkeypatch.setattr(writers, "_ROW_GROUP_BYTES", 1000)
    monkeypatch.setattr(writers, "_ROW_GROUP_ROWS", 4)
    generator = np.random.default_rng(0)
    shapes = [(4, 100), (600,), (3, 1, 200), (5000,), (7,), (0, 3), (1, 1, 1), (2,), (3,), (999,)]
    results = [generator.integers(0, 256, shape, dtype=np.uint8) for shape in shapes]
    results[2] = results[2].view(np.float32)
    source, of_results = samples(tmp_path, len(results))
    with writers.open_writer(tmp_path / "some.parquet", source, "parquet", "arrays", "{}") as writer:
        for sample, result in zip(of_results, results, strict=True):
            writer.add(sample, result)
    with pq.ParquetFile(tmp_path / "some.parquet") as file:
        groups = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
        rows = file.read().to_pylist()
    assert groups == [2, 1, 1, 4, 1, 1]
    for sample, result, row in zip(of_results, results, rows, strict=True):
        assert row["key"] == sample.name
        stored = np.frombuffer(row["pixels"], row["dtype"]).reshape(row["shape"])
        np.testing.assert_array_equal(stored, result, strict=True)


def test_encoded_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file without images has its schema, and encoded images stand in a struct with their names."""
    source, (first, second) = samples(tmp_path, 2)
    with writers.open_writer(tmp_path / "none.parquet", source, "parquet", "png", "{}"):
        pass
    assert pq.read_table(tmp_path / "none.parquet").schema.names == ["key", "image"]
    monkeypatch.setattr(writers, "_ROW_GROUP_BYTES", 10)
    with writers.open_writer(tmp_path / "two.parquet", source, "parquet", "png", "{}") as writer:
        writer.add(first, b"an image")
        writer.add(second, b"")
    images = pq.read_table(tmp_path / "two.parquet").column("image").to_pylist()
    assert images == [{"bytes": b"an image", "path": "0.png"}, {"bytes": b"", "path": "1.png"}]
