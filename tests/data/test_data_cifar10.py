from __future__ import annotations

import errno
import hashlib
import http.client
import http.server
import io
import pickle
import tarfile
import threading
import urllib.error
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from torchvision.datasets import CIFAR10

from onelayer.data import load_images
from onelayer.errors import OnelayerError

SHAPE = (3, 32, 32)
PER_BATCH = 20


class Python2Pickler(pickle.Pickler):
    """Spells dtypes as the Python 2 of the real files did, with 0 and 1 for booleans."""

    def reducer_override(self, obj: object) -> object:
        if isinstance(obj, np.dtype):
            _, (name, align, copy), state = obj.__reduce__()
            return np.dtype, (name, int(align), int(copy)), state
        return NotImplemented


def batch_of(pixels) -> bytes:
    file = io.BytesIO()
    Python2Pickler(file, protocol=2).dump({"data": pixels.reshape(len(pixels), -1), "labels": [0] * len(pixels)})
    return file.getvalue()


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 256, (6, PER_BATCH, *SHAPE), dtype=np.uint8)


@pytest.fixture
def archive(tmp_path: Path, pixels, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small archive laid out as the real one, with its digests in place of the real ones."""
    names = [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"]
    files = {name: batch_of(batch) for name, batch in zip(names, pixels, strict=True)}
    files["batches.meta"] = pickle.dumps({"label_names": ["airplane"]}, protocol=2)
    (tmp_path / "served").mkdir()
    path = tmp_path / "served" / CIFAR10.filename
    with tarfile.open(path, "w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(f"{CIFAR10.base_folder}/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    monkeypatch.setattr(CIFAR10, "train_list", [[name, md5(files[name])] for name in names[:5]])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", md5(files["test_batch"])]])
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": md5(files["batches.meta"])})
    monkeypatch.setattr(CIFAR10, "tgz_md5", md5(path.read_bytes()))
    return path


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def served(archive: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The archive, at the address that it is downloaded from."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=archive.parent)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setattr(CIFAR10, "url", f"http://127.0.0.1:{server.server_port}/{archive.name}")
        yield archive
        server.shutdown()
        thread.join()


def load(cache: Path, seed: int = 0):
    return load_images("cifar10", shape=SHAPE, seed=seed, cache=cache)


def test_download_and_split(served, pixels, tmp_path: Path) -> None:
    parts = load(tmp_path / "cache")
    assert (len(parts.train), len(parts.validation), len(parts.test)) == (90, 10, 20)
    np.testing.assert_array_equal(parts.test, pixels[5])
    both = np.concatenate([parts.train, parts.validation])
    official = pixels[:5].reshape(100, *SHAPE)
    # Noise images are all different, so equal sorted bytes mean the same images, each once.
    assert sorted(map(bytes, both)) == sorted(map(bytes, official))
    for images in (parts.train, parts.validation, parts.test):
        assert images.dtype == np.uint8
        assert images.flags.c_contiguous
        assert not images.flags.writeable
    summary = parts.summary
    assert (summary.source, summary.train, summary.validation, summary.test) == ("cifar10", 90, 10, 20)


def test_nothing_is_downloaded_twice(served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(tmp_path / "cache")
    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", None)
    again, other = load(tmp_path / "cache"), load(tmp_path / "cache", seed=1)
    assert again.summary == first.summary
    np.testing.assert_array_equal(again.validation, first.validation)
    assert other.summary.key != first.summary.key
    assert (other.validation != first.validation).any()


def test_the_warning_of_some_numpy_versions_is_not_passed_on(
    served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of the installed version it may be one that does not warn, so the warning is added.
    loads = pickle.load

    def warning(*arguments: object, **options: object) -> object:
        warnings.warn("align should be passed as boolean", np.exceptions.VisibleDeprecationWarning, stacklevel=2)
        return loads(*arguments, **options)

    monkeypatch.setattr("torchvision.datasets.cifar.pickle.load", warning)
    assert load(tmp_path / "cache").summary.train == 90


class Touch:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> object:
        return Path.touch, (self.path,)


def test_a_changed_batch_is_not_unpickled(served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load(tmp_path / "cache")
    batch = tmp_path / "cache" / "cifar10" / CIFAR10.base_folder / "data_batch_3"
    batch.write_bytes(pickle.dumps(Touch(tmp_path / "executed")))
    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", lambda *_, **__: None)
    with pytest.raises(OnelayerError, match="CIFAR-10 cannot be had: Dataset not found or corrupted"):
        load(tmp_path / "cache")
    assert not (tmp_path / "executed").exists()
    pickle.loads(batch.read_bytes())
    assert (tmp_path / "executed").exists()  # it would have been


def test_a_changed_batch_is_restored_from_the_archive(served, pixels, tmp_path: Path) -> None:
    load(tmp_path / "cache")
    (tmp_path / "cache" / "cifar10" / CIFAR10.base_folder / "test_batch").write_bytes(b"")
    np.testing.assert_array_equal(load(tmp_path / "cache").test, pixels[5])


def test_a_damaged_download_is_refused_and_made_again(served, tmp_path: Path) -> None:
    whole = served.read_bytes()
    served.write_bytes(whole[:-7])
    with pytest.raises(OnelayerError, match="CIFAR-10 cannot be had: File not found or corrupted") as refused:
        load(tmp_path / "cache")
    assert "Check the network" in (refused.value.hint or "")
    served.write_bytes(whole)
    assert load(tmp_path / "cache").summary.train == 90


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (urllib.error.URLError("Name or service not known"), "Check the network"),
        (TimeoutError("timed out"), "Check the network"),
        (http.client.IncompleteRead(b"", 5), "Check the network"),
        (OSError(errno.ENOSPC, "No space left on device"), "free some space"),
    ],
)
def test_a_failing_download_says_what_to_do(
    error, hint, archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("urllib.request.urlopen", fail)
    with pytest.raises(OnelayerError, match="CIFAR-10 cannot be had") as refused:
        load(tmp_path / "cache")
    assert hint in (refused.value.hint or "")


def test_a_folder_that_cannot_be_written_is_refused(archive, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OnelayerError, match=r"CIFAR-10 cannot be had: .*file"):
        load(tmp_path / "file")


@pytest.mark.parametrize("shape", [(1, 32, 32), (3, 28, 28)])
def test_another_shape_is_refused_before_the_download(shape, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("urllib.request.urlopen", None)
    with pytest.raises(OnelayerError, match=r"the images of CIFAR-10 are 3×32×32; expected .*, the input of the pipe"):
        load_images("cifar10", shape=shape, seed=0)
