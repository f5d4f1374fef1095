from __future__ import annotations

import socket
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data_dir

from onelayer.data import ImageSplits, load_images
from onelayer.data.photographs import BUNDLED
from onelayer.data.sample import _cut
from onelayer.errors import OnelayerError

SHAPE = (3, 32, 32)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> ImageSplits:
    return load_images("sample", shape=SHAPE, seed=0, cache=tmp_path_factory.mktemp("sample"))


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onelayer.data.sample.COUNTS", {"train": 20, "validation": 10, "test": 15})


@pytest.mark.exhaustive
def test_the_sizes_are_those_of_the_report(full) -> None:
    parts = full
    for images, count in ((parts.train, 20_000), (parts.validation, 4_000), (parts.test, 10_000)):
        assert images.shape == (count, *SHAPE)
        assert images.dtype == np.uint8
        assert images.flags.c_contiguous
        assert not images.flags.writeable
    summary = parts.summary
    assert (summary.train, summary.validation, summary.test, summary.skipped) == (20_000, 4_000, 10_000, 0)
    assert summary.source == "sample"


def test_the_second_load_cuts_nothing(few, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", None)  # nothing is downloaded
    parts = load_images("sample", shape=SHAPE, seed=0, cache=tmp_path)
    monkeypatch.setattr("onelayer.data.sample._cut_all", None)
    again = load_images("sample", shape=SHAPE, seed=0, cache=tmp_path)
    assert again.summary == parts.summary
    np.testing.assert_array_equal(again.validation, parts.validation)


@pytest.mark.exhaustive
def test_the_patches_vary(full) -> None:
    parts = full
    for images in (parts.train, parts.validation, parts.test):
        # Random boxes of millions: next to none comes twice (all-black ones do), and they span the grey levels.
        assert len(set(map(bytes, images))) > 0.9 * len(images)
        assert images.min() < 10
        assert images.max() > 245


def test_no_photograph_is_in_two_parts() -> None:
    names = [name for part in ("train", "validation", "test") for name in BUNDLED[part]]
    scenes = [name.replace("motorcycle_left", "motorcycle").replace("motorcycle_right", "motorcycle") for name in names]
    assert len(scenes) == len(set(scenes)) == 8


def exact_cuts(images, name: str) -> int:
    """How many of the images are exact cut-outs of a photograph."""
    with Image.open(Path(data_dir) / name) as image:
        photograph = np.asarray(image.convert("RGB"))
    found = 0
    for image in images.transpose(0, 2, 3, 1):
        candidates = np.argwhere((photograph[:-7, :-7] == image[0, 0]).all(axis=2))
        found += any(np.array_equal(photograph[y : y + 8, x : x + 8], image) for y, x in candidates)
    return found


def test_each_part_is_cut_from_its_own_photographs(monkeypatch: pytest.MonkeyPatch) -> None:
    # At scale 1 patches are exact copies, so each can be found in a photograph, pixel by pixel.
    monkeypatch.setattr("onelayer.data.sample.COUNTS", {"train": 3, "validation": 2, "test": 2})
    monkeypatch.setattr("onelayer.data.sample._cut", cut_at_scale_one)
    parts = load_images("sample", shape=(3, 8, 8), seed=0)
    for part in ("train", "validation", "test"):
        images = getattr(parts, part)
        assert sum(exact_cuts(images, name) for name in BUNDLED[part]) >= len(images)
    others = [name for part in ("train", "validation") for name in BUNDLED[part]]
    assert sum(exact_cuts(parts.test, name) for name in others) == 0


def cut_at_scale_one(photograph, shape, at_scale, at_top, at_left):
    return _cut(photograph, shape, 0.0, at_top, at_left)


@pytest.mark.parametrize("shape", [(3, 17, 11), (3, 1, 1), (1, 17, 11), (1, 32, 32)])
def test_other_shapes(shape, few) -> None:
    parts = load_images("sample", shape=shape, seed=0)
    assert parts.train.shape == (20, *shape)
    assert parts.validation.shape == (10, *shape)
    assert parts.test.shape == (15, *shape)


def test_the_seed_decides(few, tmp_path: Path) -> None:
    first = load_images("sample", shape=SHAPE, seed=1, cache=tmp_path / "a")
    again = load_images("sample", shape=SHAPE, seed=1, cache=tmp_path / "b")
    other = load_images("sample", shape=SHAPE, seed=2, cache=tmp_path / "a")
    assert first.summary.key == again.summary.key != other.summary.key
    for part in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(first, part), getattr(again, part))
        assert (getattr(first, part) != getattr(other, part)).any(axis=(1, 2, 3)).mean() > 0.9


def test_parts_have_streams_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = []
    for train in (20, 21):
        counts = {"train": train, "validation": 10, "test": 15}
        monkeypatch.setattr("onelayer.data.sample.COUNTS", counts)
        parts.append(load_images("sample", shape=SHAPE, seed=0))
    np.testing.assert_array_equal(parts[0].validation, parts[1].validation)
    np.testing.assert_array_equal(parts[0].test, parts[1].test)


@pytest.mark.parametrize(("at_scale", "box"), [(0.0, (67, 34, 78, 51)), (1.0, (45, 0, 78, 51))])
def test_scales_run_from_the_patch_to_the_photograph(at_scale, box) -> None:
    photograph = Image.fromarray(np.random.default_rng(0).integers(0, 256, (51, 78, 3), dtype=np.uint8))
    last = np.nextafter(1.0, 0.0)
    found = _cut(photograph, (3, 17, 11), at_scale, last, last)
    # At three times the patch Pillow does not shrink beforehand, so it is the plain filter.
    expected = photograph.resize((11, 17), Image.Resampling.BICUBIC, box=box)
    np.testing.assert_array_equal(found.transpose(1, 2, 0), np.asarray(expected))


def test_without_scikit_image_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(OnelayerError, match=r"sample of photographs needs skimage.*'onelayer\[reproduce\]'"):
        load_images("sample", shape=SHAPE, seed=0)


def test_a_missing_photograph_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onelayer.data.sample.BUNDLED", {"train": ("gone.png",), "validation": ("x",), "test": ("y",)})
    with pytest.raises(OnelayerError, match=r"does not have its photograph gone\.png"):
        load_images("sample", shape=SHAPE, seed=0)


def test_patches_larger_than_a_photograph_are_refused(few) -> None:
    with pytest.raises(OnelayerError, match=r"the photograph chelsea\.png of the sample, 300×451, is too small"):
        load_images("sample", shape=(1, 301, 8), seed=0)


def test_patches_that_take_too_much_memory_are_refused() -> None:
    with pytest.raises(OnelayerError, match=r"the sample has 34,000 images of 3×224×224, 4\.8 GiB of pixels"):
        load_images("sample", shape=(3, 224, 224), seed=0)
