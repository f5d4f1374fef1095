from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from onelayer.data import ImageSplits, load_images
from onelayer.errors import OnelayerError

SHAPE = (3, 2, 2)
HUGGING_FACE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def rows(images: Sequence[bytes | None], column: str = "img") -> pa.Table:
    structs = [{"bytes": image, "path": "a.png"} for image in images]
    return pa.table({"label": pa.array(range(len(images))), column: pa.array(structs, HUGGING_FACE)})


def load(path: Path, seed: int = 0, **options) -> ImageSplits:
    return load_images(str(path), shape=SHAPE, seed=seed, **options)


def numbers(images) -> list[int]:
    return [int(image.flat[0]) for image in images]


def everything(parts: ImageSplits) -> list[int]:
    return sorted(numbers(parts.train) + numbers(parts.validation) + numbers(parts.test))


@pytest.fixture
def tables(tmp_path: Path, numbered: Callable[..., bytes]) -> Callable[..., Path]:
    """A folder of Parquet files: name below it → numbers of the images."""

    def make(**files: Sequence[int]) -> Path:
        root = tmp_path / "tables"
        for name, images in files.items():
            path = root / f"{name}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(rows([numbered(number) for number in images]), path)
        return root

    return make


@pytest.mark.parametrize(
    ("column", "kind", "shape"),
    [
        ("img", "struct", (3, 17, 11)),
        ("image", "struct of large binary", (1, 1, 1)),
        ("image", "binary", (3, 17, 11)),
        ("img", "large binary", (1, 1, 1)),
    ],
)
def test_exact_pixels_of_every_row(column, kind, shape, tmp_path: Path, noise, encode) -> None:
    images = [noise(shape, seed) for seed in range(7)]
    binary = pa.large_binary() if "large" in kind else pa.binary()
    encoded = pa.array([encode(image) for image in images], binary)
    if "struct" in kind:
        paths = pa.array([f"{number}.png" for number in range(7)])
        encoded = pa.StructArray.from_arrays([paths, encoded], names=["path", "bytes"])
    for part in ("train", "validation", "test"):
        pq.write_table(pa.table({column: encoded}), tmp_path / f"{part}.parquet", row_group_size=3)
    parts = load_images(str(tmp_path), shape=shape, seed=0)
    for found in (parts.train, parts.validation, parts.test):
        np.testing.assert_array_equal(found, images)


def test_one_file_is_split_by_the_seed(tables) -> None:
    path = tables(test=range(40)) / "test.parquet"
    first, again, other = load(path, 1), load(path, 1), load(path, 2)
    assert (len(first.train), len(first.validation), len(first.test)) == (28, 4, 8)
    assert everything(first) == everything(other) == list(range(40))
    assert numbers(first.test) == numbers(again.test) != numbers(other.test)
    assert first.summary.source == str(path)


def test_more_rows_than_are_read_at_a_time(tables, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onelayer.data.parquet._ROWS", 4)
    root = tables(train=range(11), val=range(11, 16), test=range(16, 20))
    parts = load(root)
    assert numbers(parts.train) == list(range(11))
    assert numbers(parts.validation) == list(range(11, 16))
    assert numbers(parts.test) == list(range(16, 20))


def test_parts_by_the_beginning_of_names(tables) -> None:
    root = tables(
        **{
            "data/train-00001-of-00002": [2, 3],
            "data/train-00000-of-00002": [0, 1],
            "data/test-00000-of-00001": [4],
            "data/validation_x": [5],
            "data/VAL": [6],
        }
    )
    parts = load(root)
    assert numbers(parts.train) == [0, 1, 2, 3]
    assert numbers(parts.test) == [4]
    assert numbers(parts.validation) == [6, 5]
    assert "their own train, validation and test parts" in parts.summary.description


def test_parts_by_folders(tables) -> None:
    parts = load(tables(**{"plain/train/0000": [0, 1], "plain/test/0000": [2], "plain/valid/0": [3]}))
    assert (numbers(parts.train), numbers(parts.validation), numbers(parts.test)) == ([0, 1], [3], [2])


def test_the_name_of_a_file_goes_before_its_folder(tables) -> None:
    parts = load(tables(**{"train/train": [0], "train/test": [1], "train/val": [2]}))
    assert (numbers(parts.train), numbers(parts.validation), numbers(parts.test)) == ([0], [2], [1])


def test_names_that_only_look_like_parts(tables) -> None:
    assert everything(load(tables(training=range(5), testimony=range(5, 10)))) == list(range(10))


def test_missing_validation_is_a_tenth_of_train(tables) -> None:
    parts = load(tables(**{"train-0": range(20), "train-1": range(20, 30), "test-0": [30, 31]}))
    assert (len(parts.train), len(parts.validation)) == (27, 3)
    assert sorted(numbers(parts.train) + numbers(parts.validation)) == list(range(30))
    assert numbers(parts.test) == [30, 31]


def test_files_in_no_part_and_parts_without_train_are_refused(tables) -> None:
    root = tables(train=[0, 1], test=[2], extra=[3])
    with pytest.raises(OnelayerError, match=r"such as .*extra\.parquet"):
        load(root)
    (root / "extra.parquet").unlink()
    (root / "train.parquet").unlink()
    with pytest.raises(OnelayerError, match="has test, but no train part"):
        load(root)


@pytest.mark.parametrize("bad", ["null", "null bytes", "empty", "truncated", "wrong size"])
def test_a_bad_row_is_refused_by_number_or_skipped(bad, tmp_path: Path, numbered, monkeypatch) -> None:
    monkeypatch.setattr("onelayer.data.parquet._ROWS", 4)  # so that row 6 is in the second batch
    images = [{"bytes": numbered(number), "path": None} for number in range(10)]
    images[6] = {
        "null": None,
        "null bytes": {"bytes": None, "path": "6.png"},
        "empty": {"bytes": b"", "path": None},
        "truncated": {"bytes": numbered(6)[:-30], "path": None},
        "wrong size": {"bytes": numbered(6, (3, 28, 28)), "path": None},
    }[bad]
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"img": pa.array(images, HUGGING_FACE)}), path)
    problem = {"wrong size": "found 3×28×28, expected 3×2×2", "empty": "it is no PNG", "truncated": "it cannot be"}
    with pytest.raises(
        OnelayerError, match=rf"a\.parquet, row 6 cannot be used: {problem.get(bad, 'it has no bytes')}"
    ):
        load(path)
    parts = load(path, skip_bad=True)
    assert parts.summary.skipped == 1
    assert everything(parts) == [0, 1, 2, 3, 4, 5, 7, 8, 9]


def test_the_second_load_decodes_nothing(tables, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tables(train=range(10), test=[10, 11])
    first = load(root)
    monkeypatch.setattr("onelayer.data.encoded.decode_image", None)
    again = load(root)
    assert again.summary == first.summary
    np.testing.assert_array_equal(again.train, first.train)


def test_a_missing_column_is_refused_with_those_there_are(tmp_path: Path) -> None:
    pq.write_table(pa.table({"label": [1], "picture": [b"x"]}), tmp_path / "a.parquet")
    with pytest.raises(OnelayerError, match=r"its columns are label, picture; expected a column img or image"):
        load(tmp_path)


@pytest.mark.parametrize(
    "column", [pa.array([1]), pa.array([{"path": "a.png"}]), pa.array([{"bytes": 3}]), pa.array([[b"x"]])]
)
def test_a_column_of_another_type_is_refused(column, tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": column}), tmp_path / "a.parquet")
    with pytest.raises(OnelayerError, match=r"the column image of .*a\.parquet is of type .*; expected encoded images"):
        load(tmp_path)


def damaged_pages(data: bytes) -> bytes:
    # The footer stays, so the file opens and fails on reading; the header of the first page is what is overwritten.
    return data[:4] + b"\xff" * 40 + data[44:]


def damaged_names(data: bytes) -> bytes:
    return data.replace(b"img", b"i\x84g")  # no UTF-8


@pytest.mark.parametrize(
    "damage", [lambda data: b"", lambda data: b"no table", lambda data: data[:-9], damaged_pages, damaged_names]
)
@pytest.mark.parametrize("skip_bad", [False, True])
def test_a_damaged_file_is_refused(damage, skip_bad, tables, numbered) -> None:
    path = tables(a=range(5)) / "a.parquet"
    pq.write_table(pa.table({"img": [numbered(number) for number in range(5)]}), path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(OnelayerError, match=r"a\.parquet cannot be read as Parquet: .*; expected a whole Parquet file"):
        load(path, skip_bad=skip_bad)


def test_no_rows_are_refused(tables) -> None:
    with pytest.raises(OnelayerError, match="has no images; expected at least one"):
        load(tables(a=[]))


def test_without_pyarrow_the_extra_is_named(tables, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tables(a=range(3))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for path in (root, root / "a.parquet"):
        with pytest.raises(OnelayerError) as refused:
            load(path)
        assert refused.value.hint == "Install it with: pip install 'onelayer[parquet]'"


def test_real_data() -> None:
    default = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "cifar10"
    path = Path(os.environ.get("ONELAYER_DATA", default)) / "test.parquet"
    if not path.exists():
        pytest.skip("the test file of CIFAR-10 as Parquet is not there; ONELAYER_DATA names its folder")
    parts = load_images(str(path), shape=(3, 32, 32), seed=0)
    assert (len(parts.train), len(parts.validation), len(parts.test)) == (7_000, 1_000, 2_000)
    # A photograph survives the way with its pixels: the first row, decoded by itself, is in one of the parts.
    first = pq.ParquetFile(path).read_row_group(0, columns=["img"])["img"][0].as_py()["bytes"]
    with Image.open(io.BytesIO(first)) as image:
        pixels = np.asarray(image).transpose(2, 0, 1)
    found = [int((part == pixels).all(axis=(1, 2, 3)).sum()) for part in (parts.train, parts.validation, parts.test)]
    assert sum(found) == 1
