"""``onelayer reproduce``, ``learn``, ``compare``, ``report`` and ``bench`` of a run, end to end, and bad input."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import onelayer
from onelayer import pipelines
from onelayer import serialize as layer_files
from onelayer.bench.record import BenchmarkRecord
from onelayer.cli import pipeline_source
from onelayer.pipelines import Pipeline
from onelayer.pipelines.catalogue import CATALOGUE
from onelayer.reproduction import steps
from onelayer.reproduction.records import MetricsRecord, OtherRecipesRecord, RunRecord, read_history

Run = Callable[..., tuple[int, str]]
Refused = Callable[..., str]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# --- what works -----------------------------------------------------------------------------------------------------


def test_reproduce_leaves_everything_the_report_has(finished_run: Path, tiny_pipeline: Pipeline) -> None:
    names = {path.name for path in finished_run.iterdir()}
    assert names >= {
        "report.html", "history.csv", "train.png", "comparison.png", "metrics.json", "benchmark.json", "layer",
        "recipes.json", "recipes", "directions.json",
    }  # fmt: skip
    compared = MetricsRecord.read(finished_run / "metrics.json").layers
    assert [layer.layer for layer in compared] == ["learned", "least-squares", "adam-whitened", "derived"]
    record = RunRecord.read(finished_run / "run.json")
    assert record.quick
    assert (record.data.train, record.data.validation, record.data.test) == (98, 14, 28)
    assert record.training is not None
    assert record.training.epochs_run == len(read_history(finished_run / "history.csv")) == steps.QUICK_EPOCHS
    # 28 test images make no larger batches
    assert [case.batch_size for case in BenchmarkRecord.read(finished_run / "benchmark.json").cases] == [8, 16]
    page = (finished_run / "report.html").read_text(encoding="utf-8")
    assert "quick run" in page.lower()
    # the metrics are those of the layer in the folder, on the test images
    layer = onelayer.load(finished_run)
    inputs = torch.from_numpy(np.array(steps.images_of(record).test)) / 255
    with torch.no_grad():
        largest = float((layer(inputs) - tiny_pipeline(inputs)).abs().max()) * 255
    measured = MetricsRecord.read(finished_run / "metrics.json").layers[0].max_grey_levels
    assert measured == pytest.approx(largest, rel=1e-4)


@pytest.mark.usefixtures("instant_figures")
def test_report_makes_the_same_page_again_without_the_data(run: Run, run_copy: Path) -> None:
    assert run("report", run_copy)[0] == 0
    before = contents(run_copy)
    shutil.rmtree(run_copy.with_name("photographs"))
    for name in ("report.html", "train.png", "comparison.png"):
        (run_copy / name).unlink()
    code, text = run("report", run_copy)
    assert code == 0, text
    assert f"The page: {run_copy}/report.html" in text
    assert contents(run_copy) == before


@pytest.fixture
def tiny(tiny_pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of the tiny pipeline, as the command line knows it."""
    monkeypatch.setattr(pipeline_source, "BUILT_IN", (*pipeline_source.BUILT_IN, tiny_pipeline.name))
    return tiny_pipeline.name


def test_one_pass_recipe_skips_bad_images_and_is_compared(
    run: Run, refused: Refused, tiny: str, write_images: Callable[..., Path], tmp_path: Path
) -> None:
    out, images = tmp_path / "run", write_images(tmp_path / "images", 100, 5, 4)
    broken = images / "013.png"
    broken.write_bytes(broken.read_bytes()[:50])
    command = ("learn", tiny, "--quick", "--data", images, "--out", out, "--recipe", "least-squares")
    refused(command, r"013\.png", "--skip-bad")
    code, text = run(*command, "--skip-bad")
    assert code == 0, text
    assert "1 images could not be used" in text
    record = RunRecord.read(out / "run.json")
    assert (record.data.skipped, record.data.train + record.data.validation + record.data.test) == (1, 99)
    assert (record.recipe, len(read_history(out / "history.csv"))) == ("least-squares", 1)
    assert layer_files.load_dense(out / "layer").weight.dtype == torch.float64
    code, text = run("compare", out)
    assert code == 0, text
    assert "PSNR" in text
    assert f"onelayer report {out}" in text
    refused(("learn", "--resume", "--out", out, "--recipe", "report"), "--recipe")


def test_a_function_of_ones_own(
    run: Run, refused: Refused, pipelines_file: Path, write_images: Callable[..., Path], tmp_path: Path
) -> None:
    out, function = tmp_path / "run", f"{pipelines_file}:resized"
    images = write_images(tmp_path / "images", 120, 5, 4)  # 84 to learn from, and 60 values in each
    command = ("learn", function, "--data", images, "--out", out, "--recipe", "least-squares")
    refused(command, "resized does not say which images it is for")
    code, text = run(*command, "--shape", "3x5x4")
    assert code == 0, text
    assert f"The layer: {out}/layer" in text
    record = RunRecord.read(out / "run.json")
    assert (record.pipeline.name, record.pipeline.input_shape, record.pipeline.output_shape) == (
        function, (3, 5, 4), (3, 9, 5),
    )  # fmt: skip
    # Nothing is run because a record names it: the other commands want to be told.
    refused(("compare", out), "no built-in pipeline", f"Name it behind the command: {function}")
    refused(("compare", out, f"{pipelines_file}:mirrored"), "is not the run's; expected .*resized")
    for again in (("compare", out, function), ("bench", out, function), ("learn", function, "--resume", "--out", out)):
        code, text = run(*again)
        assert code == 0, text
    assert MetricsRecord.read(out / "metrics.json").layers[0].max_grey_levels < 0.01
    refused(("bench", out, function, "--peers", "onelayer"), "is a run, and --peers given")


# --- bad input ------------------------------------------------------------------------------------------------------


def test_images_that_cannot_be_used(refused: Refused, image_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    (tmp_path / "empty").mkdir()
    refused(("learn", "--data", tmp_path / "empty", "--out", out), "empty", "neither images nor Parquet")
    for wrong in (Image.new("RGB", (17, 11)), Image.new("L", (32, 32))):
        wrong.save(image_folder / "020.png")
        refused(("learn", "--data", image_folder, "--out", out), r"020\.png", "3×32×32")
    pyarrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    parquet.write_table(pyarrow.table({"picture": [b"x"], "label": [1]}), tmp_path / "train.parquet")
    refused(("learn", "--data", tmp_path / "train.parquet", "--out", out), "img", "image", "picture")
    assert not (out / "run.json").exists()


def test_a_layer_that_no_memory_holds(refused: Refused, image_folder: Path, tmp_path: Path) -> None:
    command = ("learn", "clip", "--data", image_folder, "--out", tmp_path / "run", "--recipe", "least-squares")
    refused(command, "would have 84,672,000,000 weights; expected at most 536,870,912. Learn on smaller images")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_cuda_without_cuda(refused: Refused, tmp_path: Path) -> None:
    for command in ("reproduce", "learn"):
        refused((command, "--device", "cuda", "--out", tmp_path / "run"), "no CUDA device", "--device auto")


def test_numbers_out_of_range(refused: Refused, tmp_path: Path) -> None:
    for option, value in [
        ("--epochs", 0), ("--batch-size", 0), ("--batch-size", 10**9), ("--lr", 0), ("--lr", -1), ("--lr", "nan"),
        ("--lr", "inf"), ("--lr", 2), ("--patience", 0), ("--min-delta", -0.1), ("--min-delta", "nan"), ("--seed", -1),
    ]:  # fmt: skip
        refused(
            ("learn", "--out", tmp_path / "run", option, value),
            rf"{option} {value}(\.0)? is out of range; expected (greater|less|a finite)",
        )
    assert not (tmp_path / "run").exists()


def test_what_is_there_is_not_touched(refused: Refused, run_copy: Path, tmp_path: Path) -> None:
    before = contents(run_copy)
    images = run_copy.with_name("photographs")
    data = ("--data", images)
    refused(("reproduce", "--quick", *data, "--out", run_copy), "already holds a run", "--resume", "--overwrite")
    refused(("learn", "--data", tmp_path / "nowhere", "--out", run_copy, "--overwrite"), "nowhere")
    devices = ("--device", "cpu", "--devices", 1000)
    refused(("learn", *data, "--out", run_copy, "--overwrite", *devices), "--devices 1000", "at most")
    refused(("reproduce", "--resume", "--overwrite", "--out", run_copy), "--resume", "--overwrite")
    changed = ("--lr", 0.1, "--seed", 3)
    refused(("reproduce", "--resume", "--out", run_copy, *changed), "--lr, --seed", "--epochs may grow")
    refused(("reproduce", "--resume", "--out", run_copy, "--epochs", 1), "at least the run's 3")
    assert contents(run_copy) == before
    Image.new("RGB", (4, 5), "red").save(images / "000.png")
    refused(("compare", run_copy), "not those of the run")
    before = contents(images)
    refused(("learn", *data, "--out", images, "--overwrite"), "not empty and holds no run")
    assert contents(images) == before


def test_out_that_cannot_be_written(
    refused: Refused, image_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("learn", "--data", image_folder, "--out")
    (tmp_path / "file").write_text("x")
    refused((*command, tmp_path / "file" / "run"), "cannot be written", "--out")
    refused((*command, tmp_path / "file"), "cannot be written|not empty", "--out")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 2**20))  # type: ignore[attr-defined]
        refused((*command, tmp_path / "run"), "room for 1 MiB", r"expected 1\d\d MiB")

    def locked(**_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", locked)
    refused((*command, tmp_path / "run"), "cannot be written: Permission denied")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_no_right_to_write(refused: Refused, image_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    refused(("learn", "--data", image_folder, "--out", tmp_path / "locked" / "run"), "cannot be written")


def test_damaged_files_of_a_run(refused: Refused, run_copy: Path) -> None:
    def damage(name: str, content: bytes, command: str, *patterns: str) -> None:
        whole = (run_copy / name).read_bytes()
        (run_copy / name).write_bytes(content)
        refused((command, run_copy), *patterns)
        (run_copy / name).write_bytes(whole)

    metrics = (run_copy / "metrics.json").read_bytes()
    weights = (run_copy / "layer" / "model.safetensors").read_bytes()
    config = json.loads((run_copy / "layer" / "config.json").read_text())
    other_shape = json.dumps(config | {"input_shape": [3, 8, 8]}).encode()
    newer = json.dumps(config | {"format_version": 99}).encode()
    damage("history.csv", b"garbage", "report", r"history\.csv cannot be read", "train_mse")
    damage("metrics.json", metrics[: len(metrics) // 2], "report", r"metrics\.json cannot be read", "format version 1")
    damage("layer/model.safetensors", weights[:5000], "compare", r"model\.safetensors cannot be read")
    damage("layer/config.json", other_shape, "bench", "weights in")
    damage("layer/config.json", newer, "bench", "format version 99", "newer onelayer")
    layer_files.save(onelayer.DenseLayer((3, 8, 8), (1, 4, 4)), run_copy / "layer")
    refused(("compare", run_copy), r"\(3, 8, 8\)", r"\(3, 5, 4\)")


# --- whole runs -----------------------------------------------------------------------------------------------------


@pytest.mark.exhaustive
def test_the_parts_alone_make_up_the_whole(run: Run, image_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "parts"
    options = ("--epochs", 2, "--batch-size", 8, "--lr", 0.002, "--patience", 4, "--min-delta", 0.001, "--seed", 5)
    assert run("learn", "--data", image_folder, "--out", out, *options)[0] == 0
    settings = RunRecord.read(out / "run.json").settings
    assert settings.model_dump() == {
        "epochs": 2, "batch_size": 8, "lr": 0.002, "patience": 4, "min_delta": 0.001, "seed": 5, "devices": 1,
    }  # fmt: skip
    assert not (out / "metrics.json").exists()
    assert "PSNR" in run("compare", out)[1]
    assert "batched" in run("bench", out, "--repeats", 3, "--device", "cpu")[1]
    assert run("report", out)[0] == 0
    assert {"metrics.json", "benchmark.json", "report.html"} <= {path.name for path in out.iterdir()}


@pytest.mark.exhaustive
def test_a_whitened_run_is_a_run_like_the_reports(run: Run, image_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    code, text = run("learn", "--data", image_folder, "--out", out, "--recipe", "adam-whitened", "--quick")
    assert code == 0, text
    assert RunRecord.read(out / "run.json").recipe == "adam-whitened"
    assert len(read_history(out / "history.csv")) == 3
    assert layer_files.load_dense(out / "layer").weight.dtype == torch.float64
    assert run("compare", out)[0] == 0
    assert run("report", out)[0] == 0


@pytest.mark.exhaustive
def test_resume_does_what_is_missing_and_no_more(run: Run, run_copy: Path) -> None:
    before = contents(run_copy)
    (run_copy / "benchmark.json").unlink()
    (run_copy / "report.html").unlink()
    assert run("reproduce", "--resume", "--out", run_copy)[0] == 0
    after = contents(run_copy)
    assert after.keys() == before.keys()
    same = {name for name in after if after[name] == before[name]}
    assert same >= {"metrics.json", "history.csv", "layer/model.safetensors", "comparison.safetensors"}
    assert "benchmark.json" not in same


@pytest.mark.exhaustive
def test_resume_learns_the_recipe_that_is_missing_and_compares_again(run: Run, run_copy: Path) -> None:
    before = contents(run_copy)
    record = OtherRecipesRecord.read(run_copy / "recipes.json")
    shutil.rmtree(run_copy / "recipes" / "adam-whitened")
    OtherRecipesRecord(layers=record.layers[:1]).write(run_copy / "recipes.json")
    (run_copy / "metrics.json").unlink()
    assert run("compare", run_copy)[0] == 0
    assert len(MetricsRecord.read(run_copy / "metrics.json").layers) == 3
    assert run("reproduce", "--resume", "--out", run_copy)[0] == 0
    after = contents(run_copy)
    assert after.keys() == before.keys()
    same = {name for name in after if after[name] == before[name]}
    assert same >= {"recipes/adam-whitened/layer/model.safetensors", "comparison.safetensors", "benchmark.json"}
    assert OtherRecipesRecord.read(run_copy / "recipes.json").layers[0] == record.layers[0]


@pytest.mark.exhaustive
def test_a_run_without_other_recipes_is_compared_as_it_is(run: Run, run_copy: Path) -> None:
    shutil.rmtree(run_copy / "recipes")
    (run_copy / "recipes.json").unlink()
    # A layer in another precision is compared all the same.
    onelayer.save(onelayer.load(run_copy).double(), run_copy / "layer")
    assert run("compare", run_copy)[0] == 0
    assert [layer.layer for layer in MetricsRecord.read(run_copy / "metrics.json").layers] == ["learned", "derived"]
    assert run("report", run_copy)[0] == 0
    assert "Other recipes" not in (run_copy / "report.html").read_text(encoding="utf-8")


@pytest.mark.exhaustive
def test_more_epochs_on_resume_go_on_learning(run: Run, run_copy: Path) -> None:
    first = read_history(run_copy / "history.csv")
    assert run("reproduce", "--resume", "--out", run_copy, "--epochs", 5)[0] == 0
    history = read_history(run_copy / "history.csv")
    assert [row.epoch for row in history] == [1, 2, 3, 4, 5]
    assert history[:3] == first
    record = RunRecord.read(run_copy / "run.json")
    assert record.training is not None
    assert record.training.epochs_run == 5


@pytest.mark.exhaustive
def test_the_same_command_gives_the_same_layer(run: Run, tiny: str, run_copy: Path) -> None:
    (run_copy / "notes.txt").write_text("mine")
    before = (run_copy / "layer" / "model.safetensors").read_bytes()
    images = run_copy.with_name("photographs")
    assert run("learn", tiny, "--quick", "--data", images, "--out", run_copy, "--overwrite")[0] == 0
    assert (run_copy / "layer" / "model.safetensors").read_bytes() == before
    # The run was replaced, and nothing else.
    assert (run_copy / "notes.txt").read_text() == "mine"
    assert not (run_copy / "metrics.json").exists()


@pytest.mark.exhaustive
def test_the_beginning_of_a_record_is_no_foreign_folder(run: Run, image_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json.partial").write_text("{")  # killed while it wrote its first file
    assert run("learn", "--quick", "--data", image_folder, "--out", tmp_path / "run")[0] == 0


@pytest.mark.exhaustive
def test_resume_knows_its_data_whatever_the_environment_says(
    run: Run, run_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONELAYER_DATA", "sample")
    (run_copy / "metrics.json").unlink()
    assert run("reproduce", "--resume", "--out", run_copy)[0] == 0


@pytest.mark.exhaustive
def test_the_environment_names_the_data_of_a_new_run(
    run: Run, image_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONELAYER_DATA", str(image_folder))
    monkeypatch.chdir(tmp_path)
    assert run("learn", "--quick")[0] == 0
    assert RunRecord.read(tmp_path / "runs" / "photographs" / "run.json").data.source == str(image_folder)


@pytest.mark.exhaustive
def test_resume_where_the_images_have_moved(run: Run, refused: Refused, run_copy: Path) -> None:
    moved = run_copy.with_name("photographs").rename(run_copy.with_name("elsewhere"))
    for name in ("metrics.json", "benchmark.json"):
        (run_copy / name).unlink()
    refused(("reproduce", "--resume", "--out", run_copy), "photographs")
    assert run("reproduce", "--resume", "--out", run_copy, "--data", moved)[0] == 0


@pytest.mark.exhaustive
def test_the_disk_fills_while_it_runs(
    run: Run, refused: Refused, image_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "comparison.safetensors")

    with monkeypatch.context() as patched:
        patched.setattr("onelayer.reproduction.comparison.write_whole", full)
        command = ("reproduce", "--quick", "--data", image_folder, "--out", tmp_path / "run")
        refused(command, r"comparison\.safetensors: No space left on device", "kept")
    learned = (tmp_path / "run" / "layer" / "model.safetensors").read_bytes()
    assert run("reproduce", "--resume", "--out", tmp_path / "run")[0] == 0
    assert (tmp_path / "run" / "layer" / "model.safetensors").read_bytes() == learned


@pytest.mark.exhaustive
def test_nan_keeps_the_best_and_says_what_to_try(
    refused: Refused, image_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = pipelines.report_transform()
    calls = 0

    class Exploding(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            nonlocal calls
            calls += images.ndim == 4 and len(images) > 2  # not what asks for its output
            return report(images) * (1.0 if calls < 7 else float("nan"))

    monkeypatch.setitem(CATALOGUE, "report", replace(CATALOGUE["report"], build=Exploding))
    out = tmp_path / "run"
    # each epoch is one batch of 28 and one validation batch
    refused(
        ("reproduce", "--data", image_folder, "--out", out),
        r"infinite or NaN in epoch \d", "is kept in", r"--lr 0\.0001",
    )  # fmt: skip
    assert torch.isfinite(onelayer.load(out).weight).all()
    assert RunRecord.read(out / "run.json").training.stop_reason == "not finite"  # type: ignore[union-attr]
    refused(("reproduce", "--resume", "--out", out), "cannot go on", "--overwrite")


@pytest.mark.exhaustive
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_keeps_the_best_and_resume_goes_on(
    run: Run, number: signal.Signals, image_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    # A shell starts what runs in its background with interrupts ignored, and children inherit that.
    heed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    command = [sys.executable, "-c", f"{heed}; from onelayer.cli import main; main()", "reproduce"]
    environment = os.environ | {"COLUMNS": "300"}
    options = ["--data", str(image_folder), "--out", str(out), "--patience", "1000", "--epochs", "40"]
    with subprocess.Popen(
        [*command, *options], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment
    ) as process:
        deadline = time.monotonic() + 120
        while not (out / "history.csv").exists() or len(read_history(out / "history.csv")) < 3:
            assert process.poll() is None, process.stderr.read()  # type: ignore[union-attr]
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(number)
        _, output = process.communicate(timeout=60)
    output = re.sub(r"\s+", " ", output)
    assert process.returncode == 130, output
    assert "Traceback" not in output
    assert "No CUDA runtime" not in output
    assert output.count("Stopped") == 1
    assert "is kept in" in output
    assert f"onelayer reproduce --resume --out {out}" in output
    assert onelayer.load(out).input_shape == (3, 32, 32)
    training = RunRecord.read(out / "run.json").training
    assert training is not None
    assert training.stop_reason == "interrupted"
    epochs = len(read_history(out / "history.csv"))
    # the signal may have come between the third row and the third checkpoint, and then that epoch is not kept
    assert training.epochs_run == epochs >= 2

    code, output = run("learn", "--resume", "--out", out)
    assert code == 0, output
    assert [row.epoch for row in read_history(out / "history.csv")] == list(range(1, 41))
