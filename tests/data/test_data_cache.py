from __future__ import annotations

import errno
import threading
from pathlib import Path

import numpy as np
import platformdirs
import pytest

from onelayer.cache_folder import cache_folder
from onelayer.console import console
from onelayer.data.cache import DecodedImages, cached

KEY = "0123abcd"


def built(number: int = 1) -> DecodedImages:
    return DecodedImages(
        {"train": np.full((4, 3, 17, 11), number, np.uint8), "test": np.full((2, 3, 17, 11), 9, np.uint8)}, skipped=3
    )


def never() -> DecodedImages:
    raise AssertionError("there is an entry, and yet it is built")


def test_the_second_time_nothing_is_built(tmp_path: Path) -> None:
    for build in (built, never):
        found = cached(tmp_path, KEY, build)
        assert found.skipped == 3
        assert set(found.splits) == {"train", "test"}
        for part, images in built().splits.items():
            np.testing.assert_array_equal(found.splits[part], images)
            assert found.splits[part].dtype == np.uint8
            assert isinstance(found.splits[part], np.memmap)
            assert not found.splits[part].flags.writeable


def test_another_key_is_another_entry(tmp_path: Path) -> None:
    cached(tmp_path, KEY, built)
    assert cached(tmp_path, "other", lambda: built(2)).splits["train"].max() == 2
    assert cached(tmp_path, KEY, never).splits["train"].max() == 1


def truncate(entry: Path) -> None:
    path = entry / "train.npy"
    path.write_bytes(path.read_bytes()[:-5])


def zero_the_end(entry: Path) -> None:
    path = entry / "train.npy"
    path.write_bytes(path.read_bytes()[:-5] + bytes(5))


def save_another_shape(entry: Path) -> None:
    np.save(entry / "train.npy", np.zeros((4, 1, 17, 11), np.uint8))


def save_objects(entry: Path) -> None:
    np.save(entry / "train.npy", np.array([{}], dtype=object), allow_pickle=True)


def remove_a_part(entry: Path) -> None:
    (entry / "test.npy").unlink()


def remove_the_index(entry: Path) -> None:
    (entry / "index.json").unlink()


def cut_the_index(entry: Path) -> None:
    path = entry / "index.json"
    path.write_bytes(path.read_bytes()[:10])


def garble_the_index(entry: Path) -> None:
    (entry / "index.json").write_bytes(b"\xff\xfe\0")


def point_the_index_elsewhere(entry: Path) -> None:
    path = entry / "index.json"
    path.write_text(path.read_text().replace("test", "../../else"))


def replace_by_a_file(entry: Path) -> None:
    for path in entry.iterdir():
        path.unlink()
    entry.rmdir()
    entry.write_text("no folder")


@pytest.mark.parametrize(
    "damage",
    [
        truncate,
        zero_the_end,
        save_another_shape,
        save_objects,
        remove_a_part,
        remove_the_index,
        cut_the_index,
        garble_the_index,
        point_the_index_elsewhere,
        replace_by_a_file,
    ],
)
def test_a_damaged_entry_is_built_again(damage, tmp_path: Path) -> None:
    cached(tmp_path, KEY, built)
    damage(tmp_path / KEY)
    assert cached(tmp_path, KEY, lambda: built(2)).splits["train"].max() == 2
    assert cached(tmp_path, KEY, never).splits["train"].max() == 2
    assert [path.name for path in tmp_path.iterdir()] == [KEY]


def test_an_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", interrupt)
        with pytest.raises(KeyboardInterrupt):
            cached(tmp_path, KEY, built)
    assert not list(tmp_path.iterdir())
    assert cached(tmp_path, KEY, built).skipped == 3


def test_a_full_disk_is_reported_and_survived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with console.capture() as captured:
        found = cached(tmp_path, KEY, built)
    np.testing.assert_array_equal(found.splits["train"], built().splits["train"])
    assert f"The image cache {tmp_path} cannot be written (No space left on device); going on" in captured.get()
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_reported_and_survived(tmp_path: Path) -> None:
    (tmp_path / "[file]").write_text("in the way")
    with console.capture() as captured:
        found = cached(tmp_path / "[file]" / "images", KEY, built)
    assert found.skipped == 3
    # In brackets, which Rich would otherwise take for markup.
    assert f"The image cache {tmp_path}/[file]/images cannot be written" in captured.get()


def test_concurrent_runs_do_not_disturb_each_other(tmp_path: Path) -> None:
    runs = 4
    all_building = threading.Barrier(runs)
    found: list[DecodedImages] = []

    def build() -> DecodedImages:
        all_building.wait(timeout=30)
        return built()

    with console.capture() as captured:
        threads = [threading.Thread(target=lambda: found.append(cached(tmp_path, KEY, build))) for _ in range(runs)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(found) == runs
    for decoded in found:
        np.testing.assert_array_equal(decoded.splits["train"], built().splits["train"])
    assert captured.get() == ""
    assert cached(tmp_path, KEY, never).skipped == 3
    assert [path.name for path in tmp_path.iterdir()] == [KEY]


def test_an_entry_of_another_run_is_taken_where_ours_cannot_be_put(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build() -> DecodedImages:
        cached(tmp_path, KEY, lambda: built(2))
        monkeypatch.setattr(Path, "rename", refuse)
        return built()

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOTEMPTY, "Directory not empty")

    with console.capture() as captured:
        assert cached(tmp_path, KEY, build).splits["train"].max() == 2
    assert captured.get() == ""


def test_where_the_cache_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONELAYER_CACHE", str(tmp_path / "named"))
    assert cache_folder(tmp_path / "given") == tmp_path / "given"
    assert cache_folder(None) == tmp_path / "named"
    for unset in (lambda: monkeypatch.setenv("ONELAYER_CACHE", ""), lambda: monkeypatch.delenv("ONELAYER_CACHE")):
        unset()
        assert cache_folder(None) == platformdirs.user_cache_path("onelayer")
