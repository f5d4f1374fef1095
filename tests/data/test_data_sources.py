from __future__ import annotations

from pathlib import Path

import pytest

from onelayer.data import load_images
from onelayer.errors import OnelayerError


@pytest.mark.parametrize("source", ["", "sampel", "no/such/folder", "nul\0byte"])
def test_what_does_not_exist_is_named(source) -> None:
    with pytest.raises(OnelayerError) as refused:
        load_images(source, shape=(3, 32, 32), seed=0)
    assert f"no data called '{source}'" in refused.value.problem
    for accepted in ("sample", "cifar10", "folder", "Parquet"):
        assert accepted in (refused.value.expected or "")


def test_a_name_too_long_for_the_system_is_refused() -> None:
    with pytest.raises(OnelayerError, match="cannot be read: File name too long"):
        load_images("a" * 5_000, shape=(3, 32, 32), seed=0)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("nothing here")
    with pytest.raises(OnelayerError, match=r"neither images nor Parquet files; expected files that end in \.png, .*"):
        load_images(str(tmp_path), shape=(3, 32, 32), seed=0)


def test_another_file_is_refused(photos) -> None:
    root = photos("0.png")
    with pytest.raises(OnelayerError, match=r"0\.png is neither a folder nor a Parquet file; expected sample, cifar10"):
        load_images(str(root / "0.png"), shape=(3, 2, 2), seed=0)


def test_images_and_parquet_together_are_refused(photos) -> None:
    root = photos("0.png", "1.png", "2.png")
    (root / "table.PARQUET").write_bytes(b"")
    with pytest.raises(OnelayerError, match=r"both images \(3, .*\) and Parquet files \(1, such as .*table\.PARQUET\)"):
        load_images(str(root), shape=(3, 2, 2), seed=0)


@pytest.mark.parametrize("shape", [(2, 32, 32), (4, 32, 32), (0, 32, 32), (3, 0, 32), (3, 32, -1)])
@pytest.mark.parametrize("source", ["sample", "cifar10", "."])
def test_other_shapes_are_refused(shape, source) -> None:
    with pytest.raises(OnelayerError, match="cannot be loaded; expected 1 channel"):
        load_images(source, shape=shape, seed=0)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(OnelayerError, match="the seed is -1; expected a whole number of at least 0"):
        load_images("sample", shape=(3, 32, 32), seed=-1)


def test_a_folder_called_sample_is_given_with_its_path(photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos("0.png", "1.png", "2.png", folder="sample")
    monkeypatch.chdir(tmp_path)
    assert load_images("./sample", shape=(3, 2, 2), seed=0).summary.train == 1
