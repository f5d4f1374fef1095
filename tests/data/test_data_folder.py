from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from onelayer.data import ImageSplits, load_images
from onelayer.errors import OnelayerError

SHAPE = (3, 2, 2)


def load(root: Path, seed: int = 0, **options) -> ImageSplits:
    return load_images(str(root), shape=SHAPE, seed=seed, **options)


def numbers(images) -> list[int]:
    return [int(image.flat[0]) for image in images]


def sizes(parts: ImageSplits) -> tuple[int, int, int]:
    assert (parts.summary.train, parts.summary.validation, parts.summary.test) == (
        len(parts.train),
        len(parts.validation),
        len(parts.test),
    )
    return len(parts.train), len(parts.validation), len(parts.test)


def everything(parts: ImageSplits) -> list[int]:
    return sorted(numbers(parts.train) + numbers(parts.validation) + numbers(parts.test))


def test_class_folders_are_split_by_the_seed(photos) -> None:
    root = photos(*(f"{'cat' if number % 2 else 'dog'}/{number:02}.png" for number in range(40)))
    first, again, other = load(root, 1), load(root, 1), load(root, 2)
    assert sizes(first) == (28, 4, 8)
    assert everything(first) == list(range(40))
    for part in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(first, part), getattr(again, part))
        assert getattr(first, part).flags.c_contiguous
        assert not getattr(first, part).flags.writeable
    assert numbers(first.test) != numbers(other.test)
    assert everything(other) == list(range(40))
    assert first.summary.source == str(root)
    assert "70% train" in first.summary.description
    assert first.summary.key == again.summary.key != other.summary.key


@pytest.mark.parametrize("shape", [(3, 17, 11), (3, 1, 1), (1, 17, 11), (1, 1, 1)])
def test_exact_pixels(shape, tmp_path: Path, noise, encode) -> None:
    expected = [noise(shape, seed) for seed in range(3)]
    for part, pixels in zip(("train", "validation", "test"), expected, strict=True):
        (tmp_path / part).mkdir()
        (tmp_path / part / "a.PNG").write_bytes(encode(pixels))
    parts = load_images(str(tmp_path), shape=shape, seed=0)
    for found, pixels in zip((parts.train, parts.validation, parts.test), expected, strict=True):
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, pixels[np.newaxis])


@pytest.mark.parametrize("validation", ["val", "valid", "validation", "VAL"])
def test_parts_of_its_own_are_kept(validation, photos) -> None:
    root = photos("Train/b/0.png", "Train/a/1.png", f"{validation}/2.png", "test/x/b.png", "test/x/a.png", "test/c.png")
    parts = load(root)
    assert numbers(parts.train) == [1, 0]  # sorted by name
    assert numbers(parts.validation) == [2]
    assert numbers(parts.test) == [5, 4, 3]


def test_missing_validation_is_a_tenth_of_train(photos) -> None:
    root = photos(*(f"train/{number:02}.png" for number in range(30)), "test/a.png", "test/b.png")
    parts = load(root)
    assert sizes(parts) == (27, 3, 2)
    assert sorted(numbers(parts.train) + numbers(parts.validation)) == list(range(30))
    assert numbers(parts.test) == [30, 31]


def test_missing_test_is_a_fifth_of_train(photos) -> None:
    root = photos(*(f"train/{number:02}.png" for number in range(30)), "val/a.png")
    parts = load(root)
    assert sizes(parts) == (24, 1, 6)
    assert sorted(numbers(parts.train) + numbers(parts.test)) == list(range(30))


def test_a_class_called_train_inside_a_part_is_a_class(photos) -> None:
    parts = load(photos("train/train/0.png", "val/train/1.png", "test/train/2.png"))
    assert (numbers(parts.train), numbers(parts.validation), numbers(parts.test)) == ([0], [1], [2])


def test_the_order_is_no_matter_of_the_file_system(photos, monkeypatch: pytest.MonkeyPatch) -> None:
    root = photos(*(f"test/{folder}/{name}.png" for folder in "abc" for name in "ab"), "train/a.png", "val/a.png")
    walk = os.walk
    listed = []

    def ordered(*arguments: object, backwards: bool, **options: object) -> Iterator[tuple[str, list[str], list[str]]]:
        for folder, subfolders, names in walk(*arguments, **options):
            subfolders.sort(reverse=backwards)
            names.sort(reverse=backwards)
            listed.append(names)
            yield folder, subfolders, names

    orders = []
    for backwards in (False, True):
        with monkeypatch.context() as patch:
            patch.setattr(os, "walk", partial(ordered, backwards=backwards))
            parts = load(root)
        orders.append((numbers(parts.test), parts.summary.key))
    assert orders[0] == orders[1]
    assert orders[0][0] == list(range(6))
    assert ["a.png", "b.png"] in listed
    assert ["b.png", "a.png"] in listed


def test_hidden_and_other_files_are_left_alone(photos) -> None:
    root = photos("0.png", "1.jpeg", "sub/2.PNG", ".hidden.png", ".git/3.png", "sub/._2.png")
    (root / "labels.txt").write_text("no image")
    (root / "movie.gif").write_bytes(b"GIF89a")
    assert everything(load(root)) == [0, 1, 2]


def test_loops_of_links_end(photos) -> None:
    root = photos("a/0.png", "a/1.png", "a/2.png", "other/x.png")
    (root / "a" / "up").symlink_to(root, target_is_directory=True)
    (root / "a" / "self").symlink_to(root / "a", target_is_directory=True)
    (root / "b").symlink_to(root / "a", target_is_directory=True)
    assert everything(load(root)) == [0, 1, 2, 3]


def test_linked_folders_are_followed(photos, tmp_path: Path) -> None:
    elsewhere = photos("0.png", "1.png", "2.png", folder="elsewhere")
    root = tmp_path / "root"
    root.mkdir()
    (root / "linked").symlink_to(elsewhere, target_is_directory=True)
    assert everything(load(root)) == [0, 1, 2]


def test_a_pipe_is_not_waited_for(photos) -> None:
    root = photos("0.png", "1.png", "2.png")
    os.mkfifo(root / "pipe.png")
    assert everything(load(root)) == [0, 1, 2]


def test_a_dangling_link_is_refused(photos) -> None:
    root = photos("0.png", "1.png", "2.png")
    (root / "gone.png").symlink_to(root / "nothing.png")
    with pytest.raises(OnelayerError, match=r"gone\.png cannot be read: No such file"):
        load(root)


def test_a_folder_that_cannot_be_listed_is_refused(photos, monkeypatch: pytest.MonkeyPatch) -> None:
    root = photos("0.png", "1.png", "2.png", "locked/3.png")
    scandir = os.scandir

    def locked(path: str) -> object:
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", locked)
        with pytest.raises(OnelayerError, match="locked cannot be read: Permission denied"):
            load(root)


def test_two_images_are_too_few(photos) -> None:
    with pytest.raises(OnelayerError, match="too few images to split: 2; expected at least 3"):
        load(photos("0.png", "1.png"))


def test_images_outside_of_the_parts_are_refused(photos) -> None:
    with pytest.raises(OnelayerError, match=r"parts \(train and test\), but 1 of its files .* such as .*extra/3\.png"):
        load(photos("train/0.png", "train/1.png", "test/2.png", "extra/3.png"))


def test_parts_without_train_are_refused(photos) -> None:
    with pytest.raises(OnelayerError, match="has test, but no train part"):
        load(photos("test/0.png", "test/1.png", "test/2.png"))


BAD: dict[str, Callable[..., tuple[bytes, str]]] = {
    "truncated": lambda encode, noise: (encode(noise(SHAPE, 0))[:-30], "it cannot be decoded.*Repair or remove it"),
    "empty": lambda encode, noise: (b"", "it is no PNG.*Repair or remove it"),
    "wrong size": lambda encode, noise: (
        encode(noise((3, 28, 28), 0)),
        "found 3×28×28, expected 3×2×2. Resize the images to 2×2 pixels, give --data other images, or leave out",
    ),
    "grey": lambda encode, noise: (
        encode(noise((1, 2, 2), 0)),
        "found 1×2×2, expected 3×2×2. Convert the images to RGB without transparency, 8 bits per channel, or leave out",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_image_is_refused_by_name_or_skipped(kind, photos, encode, noise) -> None:
    root = photos(*(f"{number}.png" for number in range(10)))
    data, problem = BAD[kind](encode, noise)
    (root / "4.png").write_bytes(data)
    with pytest.raises(OnelayerError, match=rf"4\.png cannot be used: {problem}") as refused:
        load(root)
    assert "--skip-bad" in str(refused.value)
    parts = load(root, skip_bad=True)
    assert parts.summary.skipped == 1
    assert everything(parts) == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    assert load(root, skip_bad=True).summary.skipped == 1
    with pytest.raises(OnelayerError, match=r"4\.png"):  # although what is left is in the cache by now
        load(root)


def test_only_bad_images_are_refused(photos) -> None:
    root = photos("0.png", "1.png", "2.png")
    with pytest.raises(OnelayerError, match="no usable image: all 3 are bad; expected images of 3×32×32"):
        load_images(str(root), shape=(3, 32, 32), seed=0, skip_bad=True)


def test_a_part_of_only_bad_images_is_refused(photos) -> None:
    root = photos("train/0.png", "train/1.png", "test/2.png")
    (root / "test" / "2.png").write_bytes(b"")
    with pytest.raises(OnelayerError, match="no images in its test part"):
        load(root, skip_bad=True)


def test_too_many_pixels_are_refused_before_decoding(photos, monkeypatch: pytest.MonkeyPatch) -> None:
    root = photos("0.png", "1.png", "2.png")
    monkeypatch.setattr("onelayer.data.splits.MAX_BYTES", 3 * 12 - 1)
    with monkeypatch.context() as patch:
        patch.setattr("onelayer.data.encoded.decode_image", None)
        with pytest.raises(OnelayerError, match=r"has 3 images of 3×2×2, .* GiB of pixels"):
            load(root)
    monkeypatch.setattr("onelayer.data.splits.MAX_BYTES", 3 * 12)
    assert everything(load(root)) == [0, 1, 2]


def test_the_second_load_decodes_nothing(photos, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    root = photos(*(f"{number:02}.png" for number in range(20)))
    first = load(root, cache=tmp_path / "cache")
    monkeypatch.setattr("onelayer.data.encoded.decode_image", None)
    again = load(root, cache=tmp_path / "cache")
    assert again.summary == first.summary
    np.testing.assert_array_equal(again.train, first.train)
    # The split is not in the cache: another seed needs no decoding either.
    assert everything(load(root, seed=5, cache=tmp_path / "cache")) == list(range(20))


@pytest.mark.parametrize("change", ["bytes", "name", "part"])
def test_changed_files_are_decoded_again(change, photos, numbered) -> None:
    root = photos("train/0.png", "train/1.png", "test/2.png", "val/3.png")
    before = load(root)
    if change == "bytes":
        (root / "train" / "0.png").write_bytes(numbered(77))
    elif change == "name":
        (root / "train" / "0.png").rename(root / "train" / "z.png")
    else:
        (root / "train" / "0.png").rename(root / "test" / "0.png")
    after = load(root)
    assert after.summary.key != before.summary.key
    expected = {"bytes": ([77, 1], [2]), "name": ([1, 0], [2]), "part": ([1], [0, 2])}[change]
    assert (numbers(after.train), numbers(after.test)) == expected


def test_the_place_of_the_folder_is_no_matter(photos, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(photos("0.png", "1.png", "2.png", folder="here"))
    monkeypatch.setattr("onelayer.data.encoded.decode_image", None)
    assert load(photos("0.png", "1.png", "2.png", folder="there")).summary.key == first.summary.key


def test_another_shape_has_another_key(tmp_path: Path, noise, encode) -> None:
    keys = []
    for shape in ((3, 1, 4), (3, 4, 1)):
        for number in range(3):
            (tmp_path / f"{number}.png").write_bytes(encode(np.zeros((3, 2, 2), np.uint8)))
        with pytest.raises(OnelayerError, match="found 3×2×2"):
            load_images(str(tmp_path), shape=shape, seed=0)
        for number in range(3):
            (tmp_path / f"{number}.png").write_bytes(encode(noise(shape, number)))
        keys.append(load_images(str(tmp_path), shape=shape, seed=0).summary.key)
    assert keys[0] != keys[1]


def test_without_a_cache_the_images_are_the_same(photos, tmp_path: Path) -> None:
    root = photos(*(f"{number}.png" for number in range(10)))
    (tmp_path / "file").write_text("in the way")
    without = load(root, cache=tmp_path / "file")
    assert not without.train.flags.writeable
    np.testing.assert_array_equal(without.train, load(root).train)


def test_thinned_takes_at_most_so_many(photos) -> None:
    parts = load(photos(*(f"{number}.png" for number in range(20))))
    few = parts.thinned(3, 99, 2)
    assert sizes(few) == (3, 2, 2)
    np.testing.assert_array_equal(few.train, parts.train[[0, 6, 13]])
    np.testing.assert_array_equal(few.validation, parts.validation)
    np.testing.assert_array_equal(few.test, parts.test[[0, -1]])
    assert few.summary.key == parts.summary.key
    with pytest.raises(ValueError, match="at least 1"):
        parts.thinned(1, 0, 1)
