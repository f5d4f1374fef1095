"""The command line from end to end, and every bad input: a clear error, exit code 2, nothing lost."""

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
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import onelayer
from onelayer import pipelines
from onelayer import serialize as layer_files
from onelayer.pipelines import catalogue
from onelayer.reproduction import steps
from onelayer.reproduction.records import (
    BenchmarkRecord,
    MetricsRecord,
    OtherRecipesRecord,
    RunRecord,
    read_history,
)

Run = Callable[..., tuple[int, str]]


@pytest.fixture(scope="session")
def finished_once(tmp_path_factory: pytest.TempPathFactory, write_images: Callable[[Path], Path]) -> Path:
    """A quick run on forty images, done once for all tests that start from one."""
    folder = tmp_path_factory.mktemp("finished")
    images, out = write_images(folder / "photographs"), folder / "run"
    code = "from onelayer.cli import main; main()"
    command = [sys.executable, "-c", code, "reproduce", "--quick", "--data", images, "--out", out]
    environment = os.environ | {"ONELAYER_CACHE": str(folder / "cache")}
    subprocess.run(command, check=True, capture_output=True, env=environment)
    return out


@pytest.fixture
def finished(finished_once: Path, image_folder: Path, tmp_path: Path) -> Path:
    """A copy of that run, whose images are the test's own."""
    out = tmp_path / "run"
    shutil.copytree(finished_once, out)
    record = json.loads((out / "run.json").read_text())
    record["data"]["source"] = str(image_folder)
    (out / "run.json").write_text(json.dumps(record))
    return out


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# --- what works -----------------------------------------------------------------------------------------------------


def test_reproduce_leaves_everything_the_report_has(finished: Path, image_folder: Path) -> None:
    names = {path.name for path in finished.iterdir()}
    assert names >= {
        "report.html", "history.csv", "train.png", "comparison.png", "metrics.json", "benchmark.json", "layer",
        "recipes.json", "recipes",
    }  # fmt: skip
    # Twenty-eight images do not tell the directions of 3,072 values.
    assert not (finished / "directions.json").exists()
    compared = MetricsRecord.read(finished / "metrics.json").layers
    assert [layer.layer for layer in compared] == ["learned", "least-squares", "adam-whitened", "derived"]
    record = RunRecord.read(finished / "run.json")
    assert record.quick
    assert (record.data.train, record.data.validation, record.data.test) == (28, 4, 8)
    assert record.training is not None
    assert record.training.epochs_run == len(read_history(finished / "history.csv")) == steps.QUICK_EPOCHS
    # eight test images make no larger batch
    assert [row.batch_size for row in BenchmarkRecord.read(finished / "benchmark.json").rows] == [8]
    page = (finished / "report.html").read_text(encoding="utf-8")
    assert "quick run" in page.lower()
    # the metrics are those of the layer in the folder, on the test images
    layer = onelayer.load(finished)
    images = steps.images_of(record).test
    report = pipelines.named("report")
    inputs = torch.from_numpy(np.array(images)) / 255
    with torch.no_grad():
        largest = float((layer(inputs) - report(inputs)).abs().max()) * 255
    assert MetricsRecord.read(finished / "metrics.json").layers[0].max_grey_levels == pytest.approx(largest, rel=1e-4)


def test_report_makes_the_same_page_again_without_the_data(run: Run, finished: Path, image_folder: Path) -> None:
    assert run("report", finished)[0] == 0
    page = (finished / "report.html").read_bytes()
    shutil.rmtree(image_folder)
    for name in ("report.html", "train.png", "comparison.png"):
        (finished / name).unlink()
    code, output = run("report", finished)
    assert code == 0, output
    assert (finished / "report.html").read_bytes() == page
    assert (finished / "train.png").stat().st_size > 1000


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


@pytest.mark.parametrize("recipe", ["least-squares", "adam-whitened"])
def test_other_recipes_make_runs_like_the_reports(run: Run, image_folder: Path, tmp_path: Path, recipe: str) -> None:
    out = tmp_path / "run"
    code, text = run("learn", "--data", image_folder, "--out", out, "--recipe", recipe, "--quick")
    assert code == 0, text
    record = RunRecord.read(out / "run.json")
    assert (record.recipe, record.training is not None) == (recipe, True)
    assert len(read_history(out / "history.csv")) == (1 if recipe == "least-squares" else 3)
    assert layer_files.load_dense(out / "layer").weight.dtype == torch.float64
    assert run("compare", out)[0] == 0
    assert run("report", out)[0] == 0
    code, text = run("learn", "--resume", "--out", out, "--recipe", "report")
    assert code == 2
    assert "--recipe" in text


def test_resume_does_what_is_missing_and_no_more(run: Run, finished: Path) -> None:
    before = contents(finished)
    (finished / "benchmark.json").unlink()
    (finished / "report.html").unlink()
    assert run("reproduce", "--resume", "--out", finished)[0] == 0
    after = contents(finished)
    assert after.keys() == before.keys()
    same = {name for name in after if after[name] == before[name]}
    assert same >= {"metrics.json", "history.csv", "layer/model.safetensors", "comparison.safetensors"}
    assert "benchmark.json" not in same


def test_resume_learns_the_recipe_that_is_missing_and_compares_again(run: Run, finished: Path) -> None:
    before = contents(finished)
    record = OtherRecipesRecord.read(finished / "recipes.json")
    shutil.rmtree(finished / "recipes" / "adam-whitened")
    OtherRecipesRecord(layers=record.layers[:1]).write(finished / "recipes.json")
    (finished / "metrics.json").unlink()
    assert run("compare", finished)[0] == 0
    assert len(MetricsRecord.read(finished / "metrics.json").layers) == 3
    assert run("reproduce", "--resume", "--out", finished)[0] == 0
    after = contents(finished)
    assert after.keys() == before.keys()
    same = {name for name in after if after[name] == before[name]}
    assert same >= {"recipes/adam-whitened/layer/model.safetensors", "comparison.safetensors", "benchmark.json"}
    assert OtherRecipesRecord.read(finished / "recipes.json").layers[0] == record.layers[0]


def test_a_run_without_other_recipes_is_compared_as_it_is(run: Run, finished: Path) -> None:
    shutil.rmtree(finished / "recipes")
    (finished / "recipes.json").unlink()
    assert run("compare", finished)[0] == 0
    assert [layer.layer for layer in MetricsRecord.read(finished / "metrics.json").layers] == ["learned", "derived"]
    assert run("report", finished)[0] == 0
    assert "Other recipes" not in (finished / "report.html").read_text(encoding="utf-8")


def test_more_epochs_on_resume_go_on_learning(run: Run, finished: Path) -> None:
    first = read_history(finished / "history.csv")
    assert run("reproduce", "--resume", "--out", finished, "--epochs", 5)[0] == 0
    history = read_history(finished / "history.csv")
    assert [row.epoch for row in history] == [1, 2, 3, 4, 5]
    assert history[:3] == first
    record = RunRecord.read(finished / "run.json")
    assert record.training is not None
    assert record.training.epochs_run == 5


def test_the_same_command_gives_the_same_layer(run: Run, finished: Path, image_folder: Path, tmp_path: Path) -> None:
    assert run("learn", "--quick", "--data", image_folder, "--out", tmp_path / "again")[0] == 0
    weights = [(folder / "layer" / "model.safetensors").read_bytes() for folder in (finished, tmp_path / "again")]
    assert weights[0] == weights[1]


def test_overwrite_replaces_the_run_and_nothing_else(run: Run, finished: Path, image_folder: Path) -> None:
    (finished / "notes.txt").write_text("mine")
    assert run("learn", "--quick", "--data", image_folder, "--out", finished, "--overwrite")[0] == 0
    assert (finished / "notes.txt").read_text() == "mine"
    assert not (finished / "metrics.json").exists()


@pytest.mark.parametrize("command", ["reproduce", "learn", "compare", "bench", "report"])
def test_help_has_examples(run: Run, command: str) -> None:
    code, output = run(command, "--help")
    assert code == 0
    assert f"$ onelayer {command}" in output


def test_version(run: Run) -> None:
    assert run("--version") == (0, onelayer.__version__ + " ")


def test_help_does_not_wait_for_torch() -> None:
    code = "import sys\nfrom onelayer.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    loaded = subprocess.run(
        [sys.executable, "-c", code + "print('torch' in sys.modules)"], capture_output=True, text=True, check=True
    )
    assert loaded.stdout.strip().endswith("False")


# --- bad input ------------------------------------------------------------------------------------------------------


def refused(result: tuple[int, str], *texts: str) -> None:
    code, output = result
    assert code == 2, output
    assert "Traceback" not in output
    for text in texts:
        assert re.search(text, output), f"{text!r} is not in {output!r}"


def test_no_such_path(run: Run, tmp_path: Path) -> None:
    refused(run("learn", "--data", tmp_path / "nowhere", "--out", tmp_path / "run"), "nowhere", "sample.*cifar10")
    assert not (tmp_path / "run" / "run.json").exists()


def test_empty_folder(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused(
        run("learn", "--data", tmp_path / "empty", "--out", tmp_path / "run"), "empty", "neither images nor Parquet"
    )


def test_corrupt_image_is_named_and_can_be_skipped(run: Run, image_folder: Path, tmp_path: Path) -> None:
    broken = image_folder / "013.png"
    broken.write_bytes(broken.read_bytes()[:150])
    command = ("learn", "--quick", "--data", image_folder, "--out", tmp_path / "run")
    refused(run(*command), r"013\.png", "--skip-bad")
    code, output = run(*command, "--skip-bad")
    assert (code, "1 images could not be used" in output) == (0, True)
    data = RunRecord.read(tmp_path / "run" / "run.json").data
    assert (data.skipped, data.train + data.validation + data.test) == (1, 39)
    assert run("compare", tmp_path / "run")[0] == 0, "what was skipped once is skipped again"


def test_wrong_size(run: Run, image_folder: Path, tmp_path: Path) -> None:
    Image.new("RGB", (17, 11)).save(image_folder / "020.png")
    refused(run("learn", "--data", image_folder, "--out", tmp_path / "run"), r"020\.png", "3×32×32")


def test_wrong_channels(run: Run, image_folder: Path, tmp_path: Path) -> None:
    Image.new("L", (32, 32)).save(image_folder / "020.png")
    refused(run("learn", "--data", image_folder, "--out", tmp_path / "run"), r"020\.png", "3×32×32")


def test_missing_column(run: Run, tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    parquet.write_table(pyarrow.table({"picture": [b"x"], "label": [1]}), tmp_path / "train.parquet")
    refused(run("learn", "--data", tmp_path / "train.parquet", "--out", tmp_path / "run"), "img", "image", "picture")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
@pytest.mark.parametrize("command", ["reproduce", "learn"])
def test_cuda_without_cuda(run: Run, tmp_path: Path, command: str) -> None:
    refused(run(command, "--device", "cuda", "--out", tmp_path / "run"), "no CUDA device", "--device auto")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--epochs", 0), ("--batch-size", 0), ("--batch-size", 10**9), ("--lr", 0), ("--lr", -1), ("--lr", "nan"),
        ("--lr", "inf"), ("--lr", 2), ("--patience", 0), ("--min-delta", -0.1), ("--min-delta", "nan"), ("--seed", -1),
    ],
)  # fmt: skip
def test_numbers_out_of_range(run: Run, tmp_path: Path, image_folder: Path, option: str, value: object) -> None:
    result = run("learn", "--data", image_folder, "--out", tmp_path / "run", option, value)
    refused(result, rf"{option} {value}(\.0)? is out of range; expected (greater|less|a finite)")
    assert not (tmp_path / "run").exists()


def test_more_devices_than_there_are(run: Run, finished: Path, image_folder: Path) -> None:
    before = contents(finished)
    command = ("learn", "--data", image_folder, "--out", finished, "--overwrite", "--device", "cpu")
    refused(run(*command, "--devices", 1000), "--devices 1000", "at most")
    assert contents(finished) == before


def test_not_a_number(run: Run) -> None:
    refused(run("learn", "--epochs", "many"), "--epochs", "valid integer")


def test_a_run_is_not_replaced_unasked(run: Run, finished: Path, image_folder: Path) -> None:
    before = contents(finished)
    result = run("reproduce", "--quick", "--data", image_folder, "--out", finished)
    refused(result, "already holds a run", "--resume", "--overwrite")
    assert contents(finished) == before


def test_a_run_survives_an_overwrite_that_cannot_start(run: Run, finished: Path, tmp_path: Path) -> None:
    before = contents(finished)
    refused(run("learn", "--data", tmp_path / "nowhere", "--out", finished, "--overwrite"), "nowhere")
    assert contents(finished) == before


def test_a_folder_of_something_else_is_left_alone(run: Run, image_folder: Path) -> None:
    before = contents(image_folder)
    refused(run("learn", "--data", image_folder, "--out", image_folder, "--overwrite"), "not empty and holds no run")
    assert contents(image_folder) == before


def test_out_is_a_file(run: Run, image_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    refused(run("learn", "--data", image_folder, "--out", tmp_path / "file" / "run"), "cannot be written", "--out")
    refused(run("learn", "--data", image_folder, "--out", tmp_path / "file"), "cannot be written|not empty", "--out")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_no_right_to_write(run: Run, image_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    refused(run("learn", "--data", image_folder, "--out", tmp_path / "locked" / "run"), "cannot be written")


def test_no_right_to_write_whoever_runs_it(
    run: Run, image_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(**_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", locked)
    refused(run("learn", "--data", image_folder, "--out", tmp_path / "run"), "cannot be written: Permission denied")


def test_the_beginning_of_a_record_is_no_foreign_folder(run: Run, image_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json.partial").write_text("{")  # killed while it wrote its first file
    assert run("learn", "--quick", "--data", image_folder, "--out", tmp_path / "run")[0] == 0


def test_no_room(run: Run, image_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 2**20))  # type: ignore[attr-defined]
    refused(run("learn", "--data", image_folder, "--out", tmp_path / "run"), "room for 1 MiB", r"expected 1\d\d MiB")


def test_the_disk_fills_while_it_runs(
    run: Run, image_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "comparison.safetensors")

    with monkeypatch.context() as patched:
        patched.setattr("onelayer.reproduction.comparison.write_whole", full)
        command = ("reproduce", "--quick", "--data", image_folder, "--out", tmp_path / "run")
        refused(run(*command), r"comparison\.safetensors: No space left on device", "kept")
    learned = (tmp_path / "run" / "layer" / "model.safetensors").read_bytes()
    assert run("reproduce", "--resume", "--out", tmp_path / "run")[0] == 0
    assert (tmp_path / "run" / "layer" / "model.safetensors").read_bytes() == learned


def test_nan_keeps_the_best_and_says_what_to_try(
    run: Run, image_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = pipelines.report_transform()
    calls = 0

    class Exploding(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            nonlocal calls
            calls += 1
            return report(images) * (1.0 if calls < 7 else float("nan"))

    monkeypatch.setitem(catalogue.CATALOGUE, "report", catalogue.Entry("exploding", Exploding, (3, 32, 32)))
    out = tmp_path / "run"
    # each epoch is one batch of 28 and one validation batch
    refused(
        run("reproduce", "--data", image_folder, "--out", out),
        r"infinite or NaN in epoch \d", "is kept in", r"--lr 0\.0001",
    )  # fmt: skip
    assert torch.isfinite(onelayer.load(out).weight).all()
    assert RunRecord.read(out / "run.json").training.stop_reason == "not finite"  # type: ignore[union-attr]
    refused(run("reproduce", "--resume", "--out", out), "cannot go on", "--overwrite")


def test_resume_without_a_run(run: Run, tmp_path: Path) -> None:
    refused(run("reproduce", "--resume", "--out", tmp_path / "nothing"), r"no run\.json")


def test_resume_with_other_settings(run: Run, finished: Path) -> None:
    refused(
        run("reproduce", "--resume", "--out", finished, "--lr", 0.1, "--seed", 3), "--lr, --seed", "--epochs may grow"
    )
    refused(run("reproduce", "--resume", "--out", finished, "--epochs", 1), "at least the run's 3")


def test_resume_and_overwrite_exclude_each_other(run: Run, finished: Path) -> None:
    before = contents(finished)
    refused(run("reproduce", "--resume", "--overwrite", "--out", finished), "--resume", "--overwrite")
    assert contents(finished) == before


def test_resume_on_other_images(run: Run, finished: Path, image_folder: Path) -> None:
    Image.new("RGB", (32, 32), "red").save(image_folder / "000.png")
    refused(run("reproduce", "--resume", "--out", finished), "not those of the run")


def test_resume_knows_its_data_whatever_the_environment_says(
    run: Run, finished: Path, image_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONELAYER_DATA", "sample")
    (finished / "metrics.json").unlink()
    assert run("reproduce", "--resume", "--out", finished)[0] == 0


def test_the_environment_names_the_data_of_a_new_run(
    run: Run, image_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONELAYER_DATA", str(image_folder))
    monkeypatch.chdir(tmp_path)
    assert run("learn", "--quick")[0] == 0
    assert RunRecord.read(tmp_path / "runs" / "photographs" / "run.json").data.source == str(image_folder)


def test_resume_where_the_images_have_moved(run: Run, finished: Path, image_folder: Path) -> None:
    moved = image_folder.rename(image_folder.with_name("elsewhere"))
    for name in ("metrics.json", "benchmark.json"):
        (finished / name).unlink()
    refused(run("reproduce", "--resume", "--out", finished), "photographs")
    assert run("reproduce", "--resume", "--out", finished, "--data", moved)[0] == 0


def test_an_empty_name_is_not_the_default(run: Run, tmp_path: Path) -> None:
    refused(run("learn", "--data", "", "--out", tmp_path / "run"), "no data called")


def test_history_that_is_no_table(run: Run, finished: Path) -> None:
    (finished / "history.csv").write_text("garbage")
    refused(run("report", finished), r"history\.csv cannot be read", "train_mse")


def test_a_layer_in_another_precision_is_compared_all_the_same(run: Run, finished: Path) -> None:
    onelayer.save(onelayer.load(finished).double(), finished / "layer")
    assert run("compare", finished)[0] == 0


def test_a_record_that_was_cut_off(run: Run, finished: Path) -> None:
    text = (finished / "metrics.json").read_text()
    (finished / "metrics.json").write_text(text[: len(text) // 2])
    refused(run("report", finished), r"metrics\.json cannot be read", "format version 1")


def test_a_layer_that_was_cut_off(run: Run, finished: Path) -> None:
    weights = finished / "layer" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    refused(run("compare", finished), r"model\.safetensors cannot be read")


def test_a_layer_of_another_shape_or_a_newer_format(run: Run, finished: Path) -> None:
    config = finished / "layer" / "config.json"
    original = json.loads(config.read_text())
    config.write_text(json.dumps(original | {"input_shape": [3, 8, 8]}))
    refused(run("bench", finished), "weights in")
    config.write_text(json.dumps(original | {"format_version": 99}))
    refused(run("bench", finished), "format version 99", "newer onelayer")


def test_a_layer_that_fits_no_pipeline(run: Run, finished: Path) -> None:
    layer_files.save(onelayer.DenseLayer((3, 8, 8), (1, 4, 4)), finished / "layer")
    refused(run("compare", finished), r"\(3, 8, 8\)", r"\(3, 32, 32\)")


# --- interruption ---------------------------------------------------------------------------------------------------


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
