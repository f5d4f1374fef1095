"""`onelayer apply`: what it writes, how it goes on, what it refuses. Ray is left out, but for the last tests."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from data_sets import encoded, files_of, manifest_of, picture
from PIL import Image
from torchvision.datasets.folder import default_loader

Run = Callable[..., tuple[int, str]]
Refused = Callable[..., str]

pytestmark = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="the extra `ray` is not installed")


def arrays_of(folder: Path) -> dict[str, np.ndarray]:
    """Read the pixels of an output as the page about data sets says, by the key of each."""
    return {
        row["key"]: np.frombuffer(row["pixels"], row["dtype"]).reshape(row["shape"])
        for path in sorted(folder.glob("part-*.parquet"))
        for row in pa.parquet.read_table(path).to_pylist()
    }


def pipeline_of(file: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(file.parent))
    return runpy.run_path(str(file))[name]


@pytest.mark.usefixtures("here")
def test_a_folder_becomes_parquet_files_that_say_where_they_are_from(
    run: Run, photographs: Path, pipelines_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    code, text = run("apply", f"{pipelines_file}:evaluation", photographs, out, "--images-per-file", 4)
    assert code == 0, text
    assert "11 images in 3 files" in text
    assert "0 left out" in text
    assert "not read: 1" in text
    assert "Proved: identical for every image" in text
    transform = pipeline_of(pipelines_file, "evaluation", monkeypatch)
    arrays = arrays_of(out)
    assert list(arrays) == sorted(str(path.relative_to(photographs)) for path in photographs.rglob("*.[jp][pn]g"))
    for key, array in arrays.items():
        expected = transform(default_loader(str(photographs / key)))
        assert torch.equal(torch.from_numpy(array.copy()), expected), key
    manifest = manifest_of(out)
    assert manifest["pipeline"]["name"] == "mine.py:evaluation"
    assert "Resize(size=[12]" in manifest["pipeline"]["transform"]
    assert {"onelayer", "torch", "torchvision", "pillow", "pyarrow"} <= manifest["pipeline"]["versions"].keys()
    assert manifest["certificate"]["bit_exact"]
    assert [part["images"] for part in manifest["finished"]] == [4, 4, 3]
    assert str(tmp_path) not in json.dumps(manifest)
    of_file = json.loads(pa.parquet.read_schema(out / "part-00002.parquet").metadata[b"onelayer"])
    assert of_file == {name: value for name, value in manifest.items() if name not in ("parts", "finished")}


def test_a_run_goes_on_where_it_was(
    run: Run, refused: Refused, here: Callable[[int], None], photographs: Path, pipelines_file: Path, tmp_path: Path
) -> None:
    name = f"{pipelines_file}:evaluation"
    options = ("--images-per-file", 2, "--certify", 0)
    for form in ("parquet", "webdataset"):
        whole, out = tmp_path / f"whole-{form}", tmp_path / f"out-{form}"
        assert run("apply", name, photographs, whole, "--to", form, *options)[0] == 0
        here(2)
        command = ("apply", name, photographs, out, "--to", form, *options)
        code, text = run(*command)
        assert code == 130
        assert "2 of 6 files are written. The same command goes on." in text
        suffix = "tar" if form == "webdataset" else "parquet"
        assert sorted(path.name for path in out.glob("part-*")) == [f"part-{n:05}.{suffix}" for n in (4, 5)]
        # What a killed process may leave: half a file under another name; a file without a record; a cut off one.
        (out / f".part-00001.{suffix}.0.partial").write_bytes(b"half")
        (out / f"part-00001.{suffix}").write_bytes(b"not in the manifest")
        (out / f"part-00004.{suffix}").write_bytes((whole / f"part-00004.{suffix}").read_bytes()[:-1])
        here(10**9)
        code, text = run(*command)
        assert code == 0, text
        assert "11 images in 6 files (10 now)" in text
        assert files_of(out) == files_of(whole)
        # Another time nothing is left to do, unless a file was lost.
        assert "(0 now)" in run(*command)[1]
        (out / f"part-00003.{suffix}").unlink()
        assert "(2 now)" in run(*command)[1]
        assert files_of(out) == files_of(whole)

    # Nothing else goes on there.
    command = ("apply", name, photographs, out)
    refused((*command, "--to", "webdataset"), "begun with another images_per_file.*: 2 there, 500 here", "--overwrite")
    refused((*command, *options), "begun with another format: webdataset there, parquet here")
    options = ("--to", "webdataset", *options)
    refused(
        ("apply", f"{pipelines_file}:smaller", *command[2:], *options), "another pipeline: mine.py:evaluation: Comp"
    )
    pipelines_file.write_text(pipelines_file.read_text() + "\n")
    refused((*command, *options), "another source of the pipeline")
    os.utime(photographs / "cat" / "00.png", ns=(1, 1))
    refused((*command, *options), r"another source of the pipeline \(and of data set\)")
    assert files_of(out) == files_of(whole)
    # An output is replaced by another, not by a mistake.
    refused((*command, *options, "--overwrite", "--column", "jpg"), "the column jpg was given with image files")
    assert files_of(out) == files_of(whole)
    code, text = run(*command, *options, "--overwrite")
    assert code == 0, text
    assert "11 images in 6 files at" in text

    # No folder of somebody else's is taken for an output, nor one in the data set.
    refused(("apply", name, photographs, pipelines_file.parent, "--overwrite"), "holds other files, such as")
    refused(("apply", name, photographs, photographs / "out"), "lies in the data set")


def test_a_part_that_kills_its_workers_ends_the_run(tmp_path: Path) -> None:
    from onelayer.errors import OnelayerError
    from onelayer.offline.manifest import OutputFolder

    output = OutputFolder(tmp_path, "parquet")
    output.record(0).parent.mkdir(parents=True)
    # Not closed, as if their processes were gone.
    attempts = [output.attempt(7) for _ in range(3)]
    for each in attempts:
        each.__enter__()
    with output.attempt(8):
        pass
    with pytest.raises(OnelayerError, match=r"part-00007.parquet was begun 3 times"), output.attempt(7):
        pass


@pytest.mark.usefixtures("here")
def test_bad_images_are_named_and_counted(
    run: Run, refused: Refused, photographs: Path, pipelines_file: Path, tmp_path: Path
) -> None:
    name, out = f"{pipelines_file}:evaluation", tmp_path / "out"
    (photographs / "cat" / "02.jpg").write_bytes((photographs / "cat" / "02.jpg").read_bytes()[:300])
    (photographs / "dog" / "05.jpg").write_bytes(b"no image")
    # A header of 30,000×30,000 pixels, and one of 16 bits per channel.
    bomb = bytearray(encoded(Image.new("L", (1, 1)), "BMP"))
    bomb[18:26] = np.array([30_000, 30_000], "<i4").tobytes()
    (photographs / "dog" / "bomb.bmp").write_bytes(bomb)
    Image.fromarray(np.full((12, 12), 60_000, np.uint16)).save(photographs / "dog" / "wide.png")
    command = ("apply", name, photographs, out, "--images-per-file", 3)
    refused(command, "the image cat/02.jpg cannot be used: it cannot be decoded", "--skip-bad")
    refused((*command, "--skip-bad", "--max-bad", 3), "4 images cannot be used", "expected at most 3", "--max-bad")
    code, text = run(*command, "--skip-bad")
    assert code == 0, text
    assert "4 left out" in text
    assert "left out: dog/05.jpg: it is no PNG, JPEG" in text
    assert "left out: dog/wide.png: found more than 8 bits" in text
    assert "dog/bomb.bmp: it cannot be decoded: Image size (900000000 pixels) exceeds limit" in text
    bad = [each["name"] for part in manifest_of(out)["finished"] for each in part["bad"]]
    assert bad == ["cat/02.jpg", "dog/05.jpg", "dog/bomb.bmp", "dog/wide.png"]
    assert len(arrays_of(out)) == 9

    # So are images that the pipeline refuses; what no file can hold is no matter of an image.
    code, text = run("apply", f"{pipelines_file}:refuses_small_images", photographs, tmp_path / "b", "--skip-bad")
    assert code == 0, text
    assert "dog/03.png: the pipeline raises ValueError on it: too small" in text
    assert "Proved" not in text
    refused(
        ("apply", f"{pipelines_file}:makes_a_pair", photographs, tmp_path / "c", "--skip-bad"),
        "the pipeline gives a tuple for an image; expected a tensor, a PIL image or an array",
    )
    refused(
        ("apply", name, photographs, tmp_path / "c", "--skip-bad", "--write", "png"),
        r"gives float32 of shape \(3, 10, 10\), which PNG and JPEG files do not hold",
    )


@pytest.mark.usefixtures("here")
def test_random_numbers_follow_from_the_seed_and_the_name(
    run: Run, refused: Refused, photographs: Path, pipelines_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"{pipelines_file}:training"
    refused(("apply", name, photographs, tmp_path / "out"), "the pipeline draws random numbers", "or --seed")
    # Also where the first images do not show it; and no file is left of those behind it.
    at_times = ("apply", f"{pipelines_file}:draws_at_times", photographs, tmp_path / "at times", "--certify", 0)
    refused(at_times, "the pipeline draws random numbers")
    assert not list((tmp_path / "at times").glob("part-*"))
    for out, *options in (("a", "--images-per-file", 3), ("b", "--certify", 0), ("other", "--seed", 8)):
        code, text = run("apply", name, photographs, tmp_path / out, "--seed", 7, *options)
        assert code == 0, text
        assert "Not certified" in text
    first, again, other = (arrays_of(tmp_path / out) for out in ("a", "b", "other"))
    assert all((first[key] == again[key]).all() for key in first)
    assert any((first[key] != other[key]).any() for key in first)
    # By hand, for an image: the seed is a hash of both.
    transform = pipeline_of(pipelines_file, "training", monkeypatch)
    torch.manual_seed(int.from_bytes(hashlib.blake2b(b"7\0dog/01.jpg", digest_size=8).digest()))
    expected = transform(default_loader(str(photographs / "dog" / "01.jpg")))
    assert (expected.numpy() == first["dog/01.jpg"]).all()
    refused(
        ("apply", f"{pipelines_file}:of_its_own", photographs, tmp_path / "out", "--seed", 7),
        "gives another result for an image, though PyTorch, Python and NumPy draw the same numbers",
    )


# Ray warns of what it calls itself.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")
def test_actors_of_ray_write_the_same_files(run: Run, photographs: Path, pipelines_file: Path, tmp_path: Path) -> None:
    """A function of a user's file, which uses another file, in actors; then a layer on a Ray dataset."""
    ray = pytest.importorskip("ray")

    name = f"{pipelines_file}:brighter"
    command = ("apply", name, photographs)
    code, text = run(*command, tmp_path / "ray", "--images-per-file", 3, "--workers", 1, "--certify", 0)
    assert code == 0, text
    assert "11 images in 4 files at" in text
    assert not ray.is_initialized()
    for key, array in arrays_of(tmp_path / "ray").items():
        pixels = np.asarray(default_loader(str(photographs / key)))
        assert (array == pixels // 2 + 40).all()


@pytest.mark.exhaustive
def test_what_is_killed_goes_on(photographs: Path, pipelines_file: Path, tmp_path: Path) -> None:
    program = [sys.executable, "-c", "from onelayer.cli import main; main()", "apply", f"{pipelines_file}:evaluation"]
    for number in range(300):
        picture(number).save(photographs / "cat" / f"more-{number:03}.jpg")

    def command(out: Path) -> list[str]:
        return [*program, str(photographs), str(out), "--images-per-file", "10", "--workers", "2"]

    begin = time.monotonic()
    subprocess.run(command(tmp_path / "whole"), check=True, capture_output=True)
    seconds = time.monotonic() - begin
    out = tmp_path / "killed"
    for part in (0.5, 0.6, 0.7, 0.8):
        process = subprocess.Popen(command(out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(part * seconds)
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run(command(out), check=True, capture_output=True)
    assert files_of(out) == files_of(tmp_path / "whole")
