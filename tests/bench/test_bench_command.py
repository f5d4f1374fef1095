"""`onelayer bench` on workloads. On the folder of a run it is tested with the other commands on runs."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from onelayer.bench import peers_run
from onelayer.bench.peers_record import PeersCase, PeersRecord
from onelayer.cli import main

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Run]:
    """Runs the command line in a folder of its own; gives its exit code and all that it printed, on one line."""
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.chdir(tmp_path)
    before = signal.getsignal(signal.SIGTERM)

    def call(*arguments: object) -> tuple[int, str]:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(["bench", *map(str, arguments)])
        captured = capfd.readouterr()
        return ended.value.code or 0, re.sub(r"\s+", " ", captured.err + captured.out)  # type: ignore[return-value]

    yield call
    signal.signal(signal.SIGTERM, before)


TINY = ("--peers", "onelayer,torchvision", "--threads", "1", "--repeats", "3", "--device", "cpu")


def test_workloads_are_timed_and_kept(run: Run, image_folder: Path, tmp_path: Path) -> None:
    workloads = ("report-uint8", "imagenet-375x500")
    code, output = run(*workloads, *TINY, "--images", 4, "--batch-size", "2,all", "--data", image_folder)
    assert code == 0, output
    assert "report-uint8, batches of 2, 1 thread" in output
    record = PeersRecord.read(tmp_path / "bench" / "peers.json")
    assert [(case.workload, case.batch_size, case.images) for case in record.cases] == [
        ("report-uint8", 2, 4), ("report-uint8", 4, 4), ("imagenet-375x500", None, 4),
    ]  # fmt: skip
    assert all([row.peer for row in case.rows] == ["onelayer", "torchvision"] for case in record.cases)
    assert (record.repeats, record.device) == (3, "cpu")
    assert record.command == (
        "onelayer bench report-uint8 imagenet-375x500 --threads 1 --peers onelayer,torchvision --batch-size 2,all "
        "--device cpu --repeats 3 --images 4 --data photographs"
    ), "the folders of the machine stay out of it"
    assert {path.name for path in (tmp_path / "bench").iterdir()} == {
        "peers.json", "peers.md", "report-uint8-threads-1.png", "imagenet-375x500-threads-1.png",
    }  # fmt: skip


def test_nothing_named_lists_what_there_is(run: Run, tmp_path: Path) -> None:
    code, output = run()
    assert code == 0
    for text in ("report-float32", "imagenet-3000x4000", "torchvision-compiled", "onelayer bench WORKLOAD"):
        assert text in output
    assert not list(tmp_path.iterdir())


def test_help_shows_examples_of_both_uses(run: Run) -> None:
    code, output = run("--help")
    assert code == 0
    assert "$ onelayer bench imagenet-375x500" in output
    assert "$ onelayer bench runs/sample" in output


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("imagenet",), "no workload 'imagenet', and no run.*Did you mean imagenet-"),
        (("runs/nothing",), "no workload 'runs/nothing', and no run in a folder of that name"),
        (("report-uint8", "--peers", "opncv"), "no peer named 'opncv'; expected all, or some of onelayer"),
        (("report-uint8", "--peers", ","), "--peers ',' was given"),
        (("report-uint8", "--threads", "0"), "--threads 0 was given; expected numbers from 1 to"),
        (("report-uint8", "--threads", "two"), "--threads two was given"),
        (("report-uint8", "--threads", "100000"), "--threads 100000 was given"),
        (("report-uint8", "--batch-size", "8,0"), "--batch-size 8,0 was given"),
        (("report-uint8", "--batch-size", "-3"), "--batch-size -3 was given"),
        (("report-uint8", "--repeats", "1"), "--repeats"),
        (("report-uint8", "--images", "0"), "--images"),
        (("report-uint8", "--data", "nowhere"), "no data called 'nowhere'"),
    ],
)
def test_bad_input(run: Run, arguments: tuple[str, ...], text: str) -> None:
    code, output = run(*arguments)
    assert code == 2, output
    assert "Traceback" not in output
    assert re.search(text, output), output


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_cuda_without_cuda(run: Run) -> None:
    code, output = run("report-uint8", "--device", "cuda")
    assert code == 2
    assert re.search("no CUDA device here.*--device auto or cpu", output)


def test_a_run_takes_none_of_the_options_of_workloads(run: Run, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    code, output = run("run", "--threads", "1", "--out", "elsewhere")
    assert code == 2
    assert "run is a run, and --threads, --out given; expected --device, --repeats and --data only" in output


def test_out_cannot_be_written(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    code, output = run("imagenet-375x500", *TINY, "--out", "file/bench")
    assert code == 2, output
    assert "file" in output
    assert "375×500" not in output, "nothing is measured first"


def test_an_interrupt_keeps_what_was_measured(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = peers_run.measure_cases

    def interrupted(request: peers_run.PeersRequest) -> Iterator[PeersCase]:
        yield next(iter(measured(request)))
        raise KeyboardInterrupt

    monkeypatch.setattr(peers_run, "measure_cases", interrupted)
    code, output = run("imagenet-375x500", "clip-375x500", *TINY, "--images", 1)
    assert code == 130
    assert "1 case measured, kept in bench" in output
    assert len(PeersRecord.read(tmp_path / "bench" / "peers.json").cases) == 1
