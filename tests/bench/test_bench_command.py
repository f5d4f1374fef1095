"""`onelayer bench` on workloads. On the folder of a run it is tested with the other commands on runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from onelayer.bench import loader, measure
from onelayer.bench.record import BenchmarkRecord

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def bench(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs `onelayer bench` in an empty folder; gives its exit code and all that it printed, on one line."""
    monkeypatch.chdir(tmp_path)
    # Charts that are drawn fast.
    monkeypatch.setattr("onelayer.plotting.DOTS_PER_INCH", 30)
    return lambda *arguments: run("bench", *arguments)


TINY = ("--peers", "onelayer,torchvision", "--threads", "1", "--repeats", "3", "--device", "cpu")


def test_workloads_are_timed_and_kept(bench: Run, image_folder: Path, tmp_path: Path) -> None:
    workloads = ("report-uint8", "imagenet-375x500")
    code, output = bench(*workloads, *TINY, "--images", 2, "--batch-size", "1,all", "--data", image_folder)
    assert code == 0, output
    assert "report-uint8, batches of 1, 1 thread" in output
    record = BenchmarkRecord.read(tmp_path / "bench" / "peers.json")
    assert [(case.workload, case.batch_size, case.images) for case in record.cases] == [
        ("report-uint8", 1, 2), ("report-uint8", 2, 2), ("imagenet-375x500", None, 2),
    ]  # fmt: skip
    assert all([row.peer for row in case.rows] == ["onelayer", "torchvision"] for case in record.cases)
    assert (record.repeats, record.devices) == (3, ("cpu",))
    assert record.command == (
        "onelayer bench report-uint8 imagenet-375x500 --threads 1 --peers onelayer,torchvision --batch-size 1,all "
        "--device cpu --repeats 3 --images 2 --data photographs"
    ), "the folders of the machine stay out of it"
    assert {path.name for path in (tmp_path / "bench").iterdir()} == {
        "peers.json", "peers.md", "report-uint8-threads-1.png", "imagenet-375x500-threads-1.png",
    }  # fmt: skip


def test_nothing_named_lists_what_there_is(bench: Run, tmp_path: Path) -> None:
    code, output = bench()
    assert code == 0
    for text in ("report-float32", "imagenet-3000x4000", "torchvision-compiled", "onelayer bench WORKLOAD"):
        assert text in output
    assert not list(tmp_path.iterdir())


def test_help_shows_examples_of_both_uses(bench: Run) -> None:
    code, output = bench("--help")
    assert code == 0
    assert "$ onelayer bench imagenet-375x500" in output
    assert "$ onelayer bench runs/sample" in output


def test_bad_input(bench: Run) -> None:
    # More of it is refused before torch is imported: see the tests of the application.
    for arguments, text in (
        (("imagenet",), "no workload 'imagenet', and no run.*Did you mean imagenet-"),
        (("runs/nothing",), "no workload 'runs/nothing', and no run in a folder of that name"),
        (("report-uint8", "--peers", "opncv"), "no peer named 'opncv'; expected all, or some of onelayer"),
        (("report-uint8", "--threads", "two"), "--threads two was given"),
        (("report-uint8", "--threads", "100000"), "--threads 100000 was given"),
        (("report-uint8", "--batch-size", "-3"), "--batch-size -3 was given"),
        (("report-uint8", "--repeats", "1"), "--repeats"),
        (("report-uint8", "--images", "0"), "--images"),
    ):
        code, output = bench(*arguments)
        assert code == 2, output
        assert "Traceback" not in output
        assert re.search(text, output), output


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_cuda_without_cuda(bench: Run) -> None:
    code, output = bench("report-uint8", "--device", "cuda")
    assert code == 2
    assert re.search("no CUDA device here.*--device auto or cpu", output)


def test_out_cannot_be_written(bench: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    code, output = bench("imagenet-375x500", *TINY, "--out", "file/bench")
    assert code == 2, output
    assert "file" in output
    assert "375×500" not in output, "nothing is measured first"


def test_an_interrupt_keeps_what_was_measured(bench: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = measure.measure

    def interrupted(*arguments: Any) -> Iterator[BenchmarkRecord]:
        yield next(iter(whole(*arguments)))
        raise KeyboardInterrupt

    monkeypatch.setattr(measure, "measure", interrupted)
    code, output = bench("imagenet-375x500", "clip-375x500", *TINY, "--peers", "torchvision", "--images", 1)
    assert code == 130
    assert "1 case measured, kept in bench" in output
    assert len(BenchmarkRecord.read(tmp_path / "bench" / "peers.json").cases) == 1


def test_a_loader_with_random_transforms(bench: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    name, pipeline = next(iter(loader.training_pipelines().items()))
    assert len(loader.training_pipelines()) == 2
    monkeypatch.setattr(loader, "training_pipelines", lambda: {name: pipeline})
    code, output = bench("training", "--images", 8, "--repeats", 3, "--out", tmp_path)
    assert code == 0, output
    assert "decoding" in output
    record = loader.LoaderRecord.read(tmp_path / "training-loader.json")
    assert [(row.images, row.workers) for row in record.rows] == [("PIL images", 2), ("tensors", 2)]
    assert all(len(rates) == 3 for row in record.rows for rates in row.images_per_second.values())
    code, output = bench("training", "clip-stream")
    assert code == 2, output
    assert "training and clip-stream were given" in output
    code, output = bench("training", "--threads", "1")
    assert code == 2, output
    assert "training and --threads were given" in output
