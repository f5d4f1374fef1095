"""`onelayer apply`: what it writes, how it goes on, what it refuses. Ray is left out, but for the last tests."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import json
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from data_sets import encoded, files_of, manifest_of, picture
from PIL import Image
from torchvision.datasets.folder import default_loader

import onelayer

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


def job_of(layer: Callable[[Any], Any], folder: Path) -> Any:
    from onelayer.offline.manifest import Options, OutputFolder
    from onelayer.offline.part_writer import Job

    options = Options(
        format="parquet",
        encoding="arrays",
        quality=None,
        images_per_file=1,
        container="pil",
        mode="RGB",
        column=None,
        key=None,
        seed=None,
        rounding=None,
    )
    return Job(
        name="mine.py:evaluation",
        layer=layer,
        source=cast("Any", None),
        output=OutputFolder(folder, "parquet"),
        options=options,
        provenance="{}",
        run="",
        versions={},
        skip_bad=True,
        max_bad=100,
    )


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
        # And what a power failure may leave: an empty record.
        (out / "_onelayer" / "parts" / "00005.json").write_bytes(b"")
        here(10**9)
        code, text = run(*command)
        assert code == 0, text
        assert "11 images in 6 files at" in text
        assert files_of(out) == files_of(whole)
        # Another time nothing is left to do, unless a file was lost.
        code, text = run(*command)
        assert "(0 now)" in text
        assert "--certify was left aside: the certificate is that of the run that began this output." in text
        assert "Not certified: none was asked for" in text
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
    words = pipelines_file.with_name("words.py")
    words.write_text("OFFSET = 41\n")
    refused((*command, *options), "another source of the pipeline: ")
    words.write_text("OFFSET = 40\n")
    assert run(*command, *options)[0] == 0
    pipelines_file.write_text(pipelines_file.read_text() + "\n")
    refused((*command, *options), "another source of the pipeline: ")
    os.utime(photographs / "cat" / "00.png", ns=(1, 1))
    refused((*command, *options), r"another source of the pipeline \(and of data set\)")
    assert files_of(out) == files_of(whole)
    # An output is replaced by another, not by a mistake.
    refused((*command, *options, "--overwrite", "--column", "jpg"), "the column jpg was given with image files")
    assert files_of(out) == files_of(whole)
    here(2)
    assert run(*command, *options, "--overwrite")[0] == 130
    # Here, too, the same command goes on.
    here(10**9)
    code, text = run(*command, *options, "--overwrite")
    assert code == 0, text
    assert "11 images in 6 files (8 now)" in text

    # No folder of somebody else's is taken for an output, nor one in the data set.
    refused(("apply", name, photographs, pipelines_file.parent, "--overwrite"), "holds other files, such as")
    refused(("apply", name, photographs, photographs / "out"), "lies in the data set")


@pytest.mark.usefixtures("here")
def test_what_is_read_is_never_replaced(
    run: Run, refused: Refused, photographs: Path, pipelines_file: Path, tmp_path: Path
) -> None:
    name, out = f"{pipelines_file}:smaller", tmp_path / "out"
    options = ("--write", "png", "--certify", 0)
    assert run("apply", name, photographs, out, "--images-per-file", 6, *options)[0] == 0
    (out / "part-of-my-thesis.parquet").write_bytes(b"theirs")
    before = files_of(out)
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "0.parquet").symlink_to(out / "part-00001.parquet")
    for data in (out / "part-00001.parquet", out, tmp_path / "links", tmp_path / "links" / "0.parquet"):
        refused(("apply", name, data, out, "--overwrite", *options), "lies in the (output|data set)")
    assert files_of(out) == before
    # Nothing else than the files of an output is removed.
    assert run("apply", name, photographs, out, "--overwrite", *options)[0] == 0
    assert sorted(path.name for path in out.glob("part-*")) == ["part-00000.parquet", "part-of-my-thesis.parquet"]
    # Nor is a folder taken for an output because of files that others have not finished.
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "film.partial").write_bytes(b"")
    refused(("apply", name, photographs, tmp_path / "theirs"), "holds other files, such as film.partial")


def test_runs_do_not_mix(
    run: Run,
    refused: Refused,
    here: Callable[[int], None],
    photographs: Path,
    pipelines_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A process that outlives its run writes nothing, and what it wrote is not taken for another run's."""
    from onelayer.errors import OnelayerError
    from onelayer.offline import run as running
    from onelayer.offline.manifest import OutputFolder
    from onelayer.offline.part_writer import PartWriter

    whole, out = tmp_path / "whole", tmp_path / "out"
    write_here = running.write_parts
    options = ("--images-per-file", 4, "--certify", 0)
    command = ("apply", f"{pipelines_file}:brighter", photographs)
    assert run(*command, whole, *options)[0] == 0

    left: list[Any] = []

    def leave(parts: Any, job: Any, **_: Any) -> Any:
        left.extend([PartWriter(job), parts])
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(running, "write_parts", leave)
    assert run("apply", f"{pipelines_file}:evaluation", photographs, out, *options)[0] == 130
    writer, parts = left
    writer.write(parts[0])
    others, record = (out / "part-00000.parquet").read_bytes(), OutputFolder(out, "parquet").record(0).read_bytes()
    monkeypatch.setattr(running, "write_parts", write_here)
    here(1)
    assert run(*command, out, *options, "--overwrite")[0] == 130
    for part in parts:
        with pytest.raises(OnelayerError, match=r"another run has begun in .*; expected one at a time"):
            writer.write(part)
    (out / "part-00000.parquet").write_bytes(others)
    OutputFolder(out, "parquet").record(0).write_bytes(record)
    with OutputFolder(out, "parquet").locked():
        refused((*command, out, *options), "another run writes to .*; expected one at a time", "Wait until it ends")
    here(10**9)
    code, text = run(*command, out, *options)
    assert code == 0, text
    assert "(8 now)" in text
    assert files_of(out) == files_of(whole)

    # What happens to files while a run goes on is seen at its end; and what killed workers left is removed.
    def disturbed(what: Callable[[], object]) -> None:
        def write(*arguments: Any, **options: Any) -> Any:
            yield from write_here(*arguments, **options)
            (out / ".part-00001.parquet.0.partial").write_bytes(b"half")
            what()

        (out / "part-00001.parquet").unlink()
        monkeypatch.setattr(running, "write_parts", write)

    disturbed(lambda: (out / "part-00002.parquet").write_bytes(b"else"))
    refused((*command, out, *options), "part-00002.parquet is not what was written")
    disturbed(lambda: None)
    assert run(*command, out, *options)[0] == 0
    assert files_of(out) == files_of(whole)
    disturbed(lambda: os.utime(photographs / "cat" / "00.png", ns=(1, 1)))
    refused((*command, out, *options), "files of the data set were changed while it was read", "--overwrite")


@pytest.mark.usefixtures("here")
def test_pil_images_of_other_modes(
    run: Run, refused: Refused, photographs: Path, pipelines_file: Path, tmp_path: Path
) -> None:
    palette, hsv = (("apply", f"{pipelines_file}:{name}", photographs) for name in ("to_a_palette", "to_hsv"))
    problem = "gives a PIL image of mode {}, which {} do not hold .*cat/00.png.*expected the mode RGB or L"
    refused((*palette, tmp_path / "a", "--write", "png"), problem.format("P", "PNG and JPEG files"))
    refused((*hsv, tmp_path / "a", "--write", "jpeg"), problem.format("HSV", "PNG and JPEG files"))
    refused((*palette, tmp_path / "a"), problem.format("P", "files of arrays"))
    code, text = run(*hsv, tmp_path / "b")
    assert code == 0, text
    assert "Not certified: the comparison raises KeyError: 'HSV'" in text
    image = default_loader(str(photographs / "cat" / "00.png")).convert("HSV")
    assert (arrays_of(tmp_path / "b")["cat/00.png"] == np.asarray(image)).all()


def test_results_that_files_do_not_hold() -> None:
    """Those of no form end the run and name the image; those that cannot be encoded are bad images."""
    from onelayer.data.encoded import BadImage
    from onelayer.errors import OnelayerError
    from onelayer.offline import manifest
    from onelayer.offline.part_writer import result_of

    options = job_of(np.asarray, Path()).options

    def result(made: Any, encoding: str) -> Any:
        form = options.model_copy(update={"encoding": encoding, "quality": 90 if encoding == "jpeg" else None})
        return result_of(made if callable(made) else lambda _: made, encoded(picture(0), "PNG"), "a.png", form)

    complex_numbers = torch.zeros(3, 4, 4, dtype=torch.complex64)
    for made, problem in (
        (None, "a NoneType"),
        (torch.zeros(3, 4, 4).to(torch.float8_e4m3fn), "a tensor of float8_e4m3fn of layout strided, which"),
        (torch.zeros(3, 4, 4).bfloat16(), "a tensor of bfloat16 of layout strided, which"),
        (torch.zeros(4, 4).to_sparse(), "a tensor of float32 of layout sparse_coo, which"),
        (complex_numbers, "an array of complex64"),
        (complex_numbers.conj(), "an array of complex64"),
    ):
        for encoding in ("arrays", "png", "jpeg"):
            with pytest.raises(OnelayerError, match=rf"the pipeline gives {problem}.* \(of the image a.png\)"):
                result(made, encoding)
    assert (result(complex_numbers.conj().imag, "arrays") == 0).all()
    for made, encoding in ((np.zeros((0, 4, 3), np.uint8), "png"), (np.zeros((1, 70_000, 3), np.uint8), "jpeg")):
        with pytest.raises(BadImage, match=r"its result cannot be encoded: ."):
            result(made, encoding)

    # Whether memory runs out is no matter of the image.
    def takes_all(_: Any) -> Any:
        raise MemoryError

    def takes_all_of_torch(_: Any) -> Any:
        return torch.empty(1 << 58, dtype=torch.uint8)

    for made in (takes_all, takes_all_of_torch):
        with pytest.raises(OnelayerError, match=r"memory ran out on the image a\.png.*fewer --workers"):
            result(made, "arrays")

    def cannot(_: Any) -> Any:
        raise ValueError(f"not with {object()}")

    with pytest.raises(BadImage) as caught:
        result(cannot, "arrays")
    # Addresses differ between processes.
    for text in (str(caught.value), "the pipeline raises ValueError on it: not with <object object at 0x7F0A>"):
        record = manifest.BadImage.of("a.png", BadImage(text))
        assert record.problem == "the pipeline raises ValueError on it: not with <object object>"


def test_memory_that_runs_out_while_an_image_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    from onelayer.offline import decoding

    def convert(*_: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(decoding, "as_container", convert)
    with pytest.raises(MemoryError):
        decoding.decode(encoded(picture(0), "PNG"), "pil", "RGB")


def test_code_that_is_sent_along(tmp_path: Path) -> None:
    """Of a folder above Python or onelayer nothing of these is sent; what cannot be pickled is refused."""
    from onelayer.errors import OnelayerError
    from onelayer.offline.cluster import pickled_job, user_modules

    assert user_modules(Path(os.__file__).parents[1]) == {}
    assert user_modules(Path(onelayer.__file__).parents[1]) == {}
    mine = {module.__name__: path for module, path in user_modules(Path(__file__).parent).items()}
    assert mine[__name__] == Path(__file__)
    lock = threading.Lock()
    with pytest.raises(OnelayerError, match=r"mine.py:evaluation cannot be pickled.*cannot pickle '_thread.lock'"):
        pickled_job(job_of(lambda _: lock, tmp_path), Path(os.__file__).parents[1])


class CannotBeLoaded:
    def __call__(self, image: Any) -> Any:
        return image

    def __reduce__(self) -> Any:
        return int, ("x",)


def ends_its_process(_: Any) -> Any:
    sys.exit("no")


def test_errors_in_workers_come_back_as_rows(tmp_path: Path) -> None:
    from onelayer.offline.cluster import _Actor, pickled_job
    from onelayer.offline.readers import FolderSource, InputPart

    picture(0).save(tmp_path / "a.png")
    output = tmp_path / "out"
    (output / "_onelayer" / "parts").mkdir(parents=True)
    part = InputPart(number=3, files=("a.png",), size=1).model_dump_json()

    def problem(layer: Callable[[Any], Any], **changes: Any) -> str:
        job = dataclasses.replace(job_of(layer, output), source=FolderSource(tmp_path), **changes)
        row = _Actor(pickled_job(job, None))({"part": part})
        assert not row["record"]
        return str(json.loads(row["error"])["problem"])

    assert problem(CannotBeLoaded()).startswith("a worker cannot load the pipeline: ValueError: invalid literal")
    assert problem(ends_its_process) == "file 3 of the output cannot be written: SystemExit: no"
    assert problem(np.asarray, options=None).startswith("file 3 of the output cannot be written: AttributeError: ")
    assert "another run has begun in" in problem(np.asarray)
    assert not list(output.glob("*part*"))


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
        r"the pipeline gives a tuple \(of the image cat/00.png\); expected a tensor, a PIL image or an array",
    )
    refused(
        ("apply", name, photographs, tmp_path / "c", "--skip-bad", "--write", "png"),
        r"gives float32 of shape \(3, 10, 10\), which PNG and JPEG files do not hold \(of the image cat/00.png\)",
    )
    # What cannot be encoded of one image is.
    name = f"{pipelines_file}:nothing_of_small_images"
    code, text = run("apply", name, photographs, tmp_path / "d", "--write", "png", "--skip-bad")
    assert code == 0, text
    assert "left out: dog/03.png: its result cannot be encoded: " in text


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
