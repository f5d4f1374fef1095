"""The application as a whole: help, exit codes, and answers that do not wait for torch."""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import onelayer
from onelayer.cli import app as application
from onelayer.errors import Interrupted, OnelayerError

Run = Callable[..., tuple[int, str]]

COMMANDS = [
    "explain", "compile", "verify", "export", "apply", "identify", "learn", "recognise", "reproduce", "compare",
    "bench", "report", "selfcheck", "warmup",
]  # fmt: skip

WITHOUT_TORCH = """
import contextlib, io, json, os, sys
from onelayer.cli import main
answers = []
for arguments in json.load(sys.stdin):
    printed = io.StringIO()
    code = 0
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        try:
            main(arguments)
        except SystemExit as end:
            code = end.code
    answers.append((code, printed.getvalue(), sorted({"torch", "torchvision", "numba"} & sys.modules.keys())))
json.dump(answers, sys.stdout)
"""

FILE = "from torchvision.transforms import v2\nsmall = v2.Resize(9)\ndef make():\n    return small\n"

WRONG: list[tuple[list[str], str]] = [
    (["explain"], "Missing argument 'PIPELINE'"),
    (["explain", "report", "--shape", "nonsense"], "--shape nonsense was given; expected channels, height and width"),
    (["explain", "report", "--shape", "240x320x3"], "height and width. Did you mean --shape 3x240x320?"),
    (["explain", "report", "--shape", "32x32"], "With three channels: --shape 3x32x32."),
    (["explain", "report", "--shape", "3x0x5"], "--shape 3x0x5 was given"),
    (["explain", "report", "--shape", f"3x5x{'9' * 5000}"], "up to 100000 each"),
    (["explain", "report", "--dtype", "uint16"], "'uint16' is not one of"),
    (["explain", "report", "--as", "pil", "--dtype", "float32"], "PIL images have uint8 values"),
    (["explain", "report", "--as", "pil", "--shape", "2x5x5"], "1 channel (mode L) or 3 channels (mode RGB)"),
    (["explain", "report", "--figure", "a.xyz"], "--figure a.xyz cannot be drawn; expected a name ending in .png"),
    (["explain", "resnet51"], "there is no pipeline named 'resnet51'; expected one of cifar10, "),
    (["explain", "resnet18"], "give torchvision:ResNet18_Weights.DEFAULT"),
    (["explain", "ResNet50_Weights.IMAGENET1K_V2"], "give torchvision:ResNet50_Weights.DEFAULT"),
    (["explain", "torchvision:resnet50"], "Did you mean torchvision:ResNet50_Weights.DEFAULT?"),
    (["explain", "mine.py"], "mine.py names a file, but not which pipeline in it"),
    (["explain", "mine.small"], "In a module, give mine:small."),
    (["explain", "nothing.py:small"], "there is no file nothing.py"),
    (["explain", "no_such_module:small"], "there is no module 'no_such_module'"),
    (["explain", "mine.py:small"], "mine.py:small does not say which images it is for; expected --shape with channels"),
    (["identify", "mine.py:make"], "mine.py:make does not say which images it is for"),
    (["compile", "mine.py:small", "--out", "layer"], "mine.py:small does not say which images it is for"),
    (["compile", "report"], "Missing option '--out'"),
    (["compile", "report", "--out", "held"], "there is a layer in held already"),
    (["compile", "report", "--out", "layer", "--shape", "3x5x5", "--shape", "wide"], "--shape wide was given"),
    (["verify", "report", "--layer", "."], "there is no layer in ."),
    (["verify", "report", "--images", "nowhere"], "'nowhere' does not exist"),
    (["verify", "report", "--images", "mine.py", "--shape", "3x5x5"], "both --images and --shape were given"),
    (["verify", "report", "--runtime", "openvino"], "--runtime was given; expected an ONNX file as --layer with it"),
    (["export", "resnet50", "--out", "mine.py"], "there is a file mine.py already; expected another --out"),
    (["export", "resnet50", "--out", "new.onnx", "--model", "nowhere"], "'nowhere' does not exist"),
    (["apply", "resnet50", ".", "out"], "the output out lies in the data set; expected a folder outside of it"),
    (["apply", "resnet51", "held", "out"], "there is no pipeline named 'resnet51'"),
    (["apply", "resnet50", "nowhere", "out"], "there is no nowhere; expected a folder, a Parquet file or a shard"),
    (["apply", "resnet50", ".", "out", "--quality", "9"], "--quality was given; expected --write jpeg with it"),
    (["apply", "resnet50", ".", "out", "--max-bad", "9"], "--max-bad was given; expected --skip-bad with it"),
    (["verify", "report", "--layer", "held", "--rounding", "fused"], "both --layer and --rounding were given"),
    (["recognise", "nowhere"], "there is no layer in nowhere"),
    (["recognise", "held", "--data", "nowhere"], "there is no data called 'nowhere'"),
    (["recognise", "held", "--out", "held"], "there is a layer in held already"),
    (["recognise", "compiled"], "the layer in compiled was compiled, identified or recognised"),
    (["learn", "mine.py:small"], "mine.py:small does not say which images it is for"),
    (["learn", "resnet51"], "there is no pipeline named 'resnet51'"),
    (["compare", "run", "resnet51"], "there is no pipeline named 'resnet51'"),
    (["bench", "run", "report", "clip"], "run is a run, and report clip given; expected its pipeline at most"),
    (["learn", "--data", "nowhere"], "there is no data called 'nowhere'; expected sample, cifar10, a folder"),
    (["learn", "--data", ""], "there is no data called ''"),
    (["learn", "--epochs", "many"], "--epochs"),
    (["learn", "--epochs", "0"], "--epochs 0 is out of range; expected greater than or equal to 1"),
    (["learn", "--lr", "nan"], "--lr nan is out of range; expected a finite number"),
    (["learn", "--resume", "--overwrite"], "both --resume and --overwrite were given"),
    (["learn", "--resume", "--out", "nowhere"], "there is no run in nowhere"),
    (["reproduce", "--out", "run"], "run already holds a run. Go on with it (--resume), replace it (--overwrite)"),
    (["reproduce", "--out", "held", "--overwrite"], "held is not empty and holds no run of onelayer"),
    (["reproduce", "--out", "mine.py/run"], "cannot be written"),
    (["compare", "nowhere"], "there is no run in nowhere"),
    (["report", "nowhere"], "there is no run in nowhere"),
    (["bench", "run", "--threads", "1", "--out", "b"], "run is a run, and --threads, --out given"),
    (["bench", "imagenet"], "no workload 'imagenet', and no run in a folder of that name; expected report-float32"),
    (["bench", "report-uint8", "--peers", "opncv"], "no peer named 'opncv'; expected all, or some of onelayer"),
    (["bench", "report-uint8", "--threads", "0"], "--threads 0 was given; expected numbers from 1 to"),
    (["bench", "report-uint8", "--batch-size", "8,0"], "--batch-size 8,0 was given"),
    (["bench", "report-uint8", "--peers", ","], "--peers ',' was given"),
    (["bench", "report-uint8", "--data", "nowhere"], "there is no data called 'nowhere'"),
    (["selfcheck", "--json", "nowhere/a.json"], "--json nowhere/a.json cannot be written"),
    (["selfcheck", "--cases", "0"], "--cases"),
    (["identity"], "No such command 'identity'"),
]  # fmt: skip


def test_help_and_wrong_arguments_do_not_wait_for_torch(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(FILE)
    (tmp_path / "held").mkdir()
    (tmp_path / "held" / "config.json").write_text("{}")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    (tmp_path / "compiled").mkdir()
    (tmp_path / "compiled" / "config.json").write_text('{"kind": "programs"}')
    asked = [["--help"], ["--version"], *([command, "--help"] for command in COMMANDS), *(line for line, _ in WRONG)]
    ran = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH],
        cwd=tmp_path, input=json.dumps(asked), capture_output=True, text=True, check=True,
        env={**os.environ, "COLUMNS": "1000"},
    )  # fmt: skip
    answers = json.loads(ran.stdout)
    for arguments, (_, _, imported) in zip(asked, answers, strict=True):
        assert not imported, f"{arguments} imported {imported}"
    helps, refusals = answers[: -len(WRONG)], answers[-len(WRONG) :]
    assert [code for code, _, _ in helps] == [0] * len(helps)
    assert helps[1][1].strip() == onelayer.__version__
    for command, (_, text, _) in zip(COMMANDS, helps[2:], strict=True):
        assert f"$ onelayer {command}" in text, "help without an example"
    for (arguments, expected), (code, text, _) in zip(WRONG, refusals, strict=True):
        assert code == 2, f"{arguments} ended with {code}"
        assert expected in " ".join(text.replace("│", " ").split()), f"{arguments} said {text}"
    assert {path.name for path in tmp_path.iterdir()} == {"mine.py", "held", "run", "compiled"}


def test_every_command_is_in_the_help(run: Run) -> None:
    code, text = run("--help")
    assert code == 0
    assert re.findall(r"│ ([a-z]+) [A-Z]", text) == COMMANDS


@pytest.mark.parametrize(
    ("raised", "code", "text"),
    [
        (OnelayerError("a cat was given", expected="a dog"), 2, "Error: a cat was given; expected a dog"),
        (OnelayerError("[red] was given"), 2, "Error: [red] was given"),
        (OSError(errno.ENOSPC, "No space left on device", "x.json"), 2, "Error: x.json: No space left on device. What"),
        (KeyboardInterrupt(), 130, "Stopped. "),
        (Interrupted("The layer of epoch 3 is kept."), 130, "Stopped. The layer of epoch 3 is kept."),
    ],
)
def test_how_it_ends(run: Run, monkeypatch: pytest.MonkeyPatch, raised: BaseException, code: int, text: str) -> None:
    def app(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr(application, "app", app)
    ended, printed = run("explain", "report")
    assert ended == code
    assert printed.startswith(text)


def test_logs_of_the_library_are_printed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(application._PRINTER, "has_compiled", False)

    def app(*_: object, **__: object) -> None:
        for kernel in ("sums", "gathers"):
            logging.getLogger("onelayer.backends.cpu.compilation").info("Compiling the CPU kernel %s …", kernel)
        logging.getLogger("onelayer.anything").info("unimportant")
        logging.getLogger("onelayer.anything").warning("kernels are not kept: %s", "[no home]")
        raise SystemExit(0)

    monkeypatch.setattr(application, "app", app)
    assert run("explain", "report") == (
        0, "Compiling the CPU kernels, once on this machine … kernels are not kept: [no home] ",
    )  # fmt: skip
    logging.getLogger("onelayer.anything").warning("after the command line has ended, nothing is printed by it")
    assert not logging.getLogger("onelayer").handlers


def test_a_missing_package_names_its_extra(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Where no run lies in the default folder yet.
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    missing = {"lightning", "jinja2", "matplotlib", "skimage"}
    for module in missing:
        monkeypatch.setitem(sys.modules, module, None)
    for arguments, extra in {
        ("reproduce",): "reproduce",
        ("learn",): "reproduce",
        ("learn", "--data", tmp_path): "reproduce",
        ("report", tmp_path / "run"): "reproduce",
        ("bench", "report-uint8"): "bench",
        ("explain", "report", "--figure", tmp_path / "a.png"): "reproduce",
    }.items():
        code, text = run(*arguments)
        assert code == 2
        assert f"is not installed. Install it with: pip install 'onelayer[{extra}]'" in text, text
