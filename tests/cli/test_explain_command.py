"""``onelayer explain``"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

Run = Callable[..., tuple[int, str]]


def test_every_transform_and_a_figure(run: Run, pipelines_file: Path, tmp_path: Path) -> None:
    figure = tmp_path / "a.png"
    code, text = run("explain", f"{pipelines_file}:normalised", "--shape", "3x17x11", "--as", "pil", "--figure", figure)
    assert code == 0, text
    for name in ("ToImage", "Resize", "Grayscale", "ToDtype", "Normalize", "3×17×11 uint8 PIL", "1×13×9"):
        assert name in text
    with Image.open(figure) as picture:
        assert picture.format == "PNG"


def test_built_in_pipelines_and_weights_bring_their_shape(run: Run) -> None:
    for pipeline, shape in {"report": "3×32×32", "torchvision:ResNet50_Weights.IMAGENET1K_V2": "3×375×500"}.items():
        code, text = run("explain", pipeline)
        assert code == 0, text
        assert f"{shape} float32 tensor" in text


@pytest.mark.parametrize("columns", [60, 80])
def test_no_number_is_cut_in_a_narrow_terminal(
    run: Run, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    code, text = run("explain", "timm-vit", "--as", "pil")
    assert code == 0
    for number in ("4,317,390", "1,613,472", "1,275,960", "2,667,168", "3×343×224"):
        assert f" {number} " in text


def test_what_runs_as_it_is(run: Run, pipelines_file: Path) -> None:
    code, text = run("explain", f"{pipelines_file}:random", "--shape", "3x5x5")
    assert code == 0
    assert "runs in pieces" in text
    assert re.search("RandomPhotometricDistort.*as it is.*it is random", text)


@pytest.mark.parametrize(
    ("arguments", "pattern"),
    [
        (("{file}:nothing", "--shape", "3x5x5"), "has no attribute 'nothing'"),
        (("{file}:blurred", "--shape", "3x9x9"), "GaussianBlur"),
        (("{file}:mirrored", "--shape", "3x9x9"), "Pad"),
        (("report", "--shape", "4x32x32"), "gray channels of 4 channels"),
        (("torchvision:ResNet50_Weights",), "several weights; expected one of torchvision:ResNet50_Weights.IMAGENET"),
        (("{file}:gamma", "--shape", "3x5x5"), r"answers: onelayer identify \S+:gamma --shape …"),
        (("{folder}/raises.py:x", "--shape", "3x5x5"), "ZeroDivisionError"),
    ],
)
def test_bad_input(
    refused: Callable[..., str], pipelines_file: Path, tmp_path: Path, arguments: tuple[str, ...], pattern: str
) -> None:
    (tmp_path / "raises.py").write_text("x = 1 / 0\n")
    named = (argument.format(file=pipelines_file, folder=tmp_path) for argument in arguments)
    refused(("explain", *named), pattern)
