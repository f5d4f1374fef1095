"""explain, compile and verify on the command line, and what can go wrong there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import onelayer
from onelayer import DenseLayer, pipelines
from onelayer.verification import proved_bound
from onelayer.verification.certificate import CertificateRecord

Run = Callable[..., tuple[int, str]]

PIPELINE = """
import torch
from torchvision.transforms import v2

small = v2.Compose([v2.Resize(9), v2.Grayscale()])

def normalised():
    return v2.Compose([v2.ToImage(), small, v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5], [0.25])])

blurred = v2.GaussianBlur(31, sigma=3.0)
random = v2.RandomErasing()
mirrored = v2.Pad(20, padding_mode="reflect")
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "transforms.py"
    path.write_text(PIPELINE)
    return path


def test_explain_shows_every_transform_and_the_stage(run: Run, file: Path, tmp_path: Path) -> None:
    code, text = run(
        "explain", f"{file}:normalised", "--shape", "3x17x11", "--as", "pil", "--figure", tmp_path / "a.png"
    )
    assert code == 0
    for name in ("ToImage", "Resize", "Grayscale", "ToDtype", "Normalize", "3×17×11", "1×13×9"):
        assert name in text
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.format == "PNG"


def test_explain_a_built_in_and_weights(run: Run) -> None:
    for pipeline in ("report", "torchvision:ResNet50_Weights.IMAGENET1K_V2"):
        code, text = run("explain", pipeline)
        assert code == 0
        assert "resample" in text


def test_compile_writes_layers_that_load(run: Run, file: Path, tmp_path: Path) -> None:
    out = tmp_path / "layer"
    shapes = ["--shape", "3x17x11", "--shape", "3X20X30", "--as", "numpy", "--dtype", "uint8"]
    code, text = run("compile", f"{file}:small", "--out", out, *shapes)
    assert code == 0
    assert "3×20×30 uint8 numpy → 1×9×13 uint8 numpy: 6 stages" in text
    fused = run("compile", f"{file}:small", "--out", tmp_path / "fused", *shapes, "--rounding", "fused")
    assert "3×20×30 uint8 numpy → 1×9×13 uint8 numpy: 2 stages" in fused[1]
    loaded = onelayer.load(out)
    assert loaded(np.zeros((17, 11, 3), np.uint8)).shape == (13, 9, 1)
    assert loaded(np.zeros((20, 30, 3), np.uint8)).shape == (9, 13, 1)
    code, text = run("compile", f"{file}:small", "--out", out, *shapes)
    assert (code, "there is a layer in" in text) == (2, True)
    code, _ = run("compile", f"{file}:small", "--out", out, "--shape", "3x5x5", "--overwrite")
    assert code == 0
    assert onelayer.load(out)(torch.zeros(3, 5, 5)).shape == (1, 9, 9)


def test_verify_a_derived_layer_on_photographs(run: Run, file: Path, tmp_path: Path) -> None:
    (tmp_path / "photographs").mkdir()
    for number, size in enumerate([(30, 20), (11, 17)]):
        pixels = np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photographs" / f"{number}.png")
    Image.fromarray(np.zeros((12, 12), np.uint8)).convert("RGB").save(tmp_path / "photographs" / "black.jpg")
    certificate = tmp_path / "certificate.json"
    code, text = run(
        "verify", f"{file}:normalised", "--images", tmp_path / "photographs", "--json", certificate,
        "--figure", tmp_path / "worst.png",
    )  # fmt: skip
    assert code == 0, text
    record = CertificateRecord.read(certificate)
    assert record.images is not None
    assert record.images.count == 3
    # float32 rounding, of grey levels of 1/255
    assert record.images.max_grey_levels < 1e-2
    assert (tmp_path / "worst.png").stat().st_size > 0
    assert json.loads(certificate.read_text())["format_version"] == 1


def test_verify_a_learned_layer(run: Run, tmp_path: Path) -> None:
    layer = DenseLayer((3, 32, 32), (1, 28, 28))
    onelayer.save(layer, tmp_path / "layer")
    code, text = run("verify", "report", "--layer", tmp_path / "layer", "--json", tmp_path / "certificate.json")
    assert code == 0, text
    record = CertificateRecord.read(tmp_path / "certificate.json")
    bound = proved_bound(layer, pipelines.named("report"), onelayer.ImageSpec((3, 32, 32), "float32", "tensor"))
    assert record.bound_grey_levels == pytest.approx(bound.grey_levels, rel=1e-12)
    assert record.bound_grey_levels is not None
    # The extreme image of the difference attains it, up to the rounding of float32.
    assert record.all.max_grey_levels == pytest.approx(record.bound_grey_levels, rel=1e-3)
    assert "No image in [0, 1] can come out more than" in text


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["explain", "resnet51"], "there is no pipeline named 'resnet51'"),
        (["explain", "{file}:small"], "does not say which images it is for; expected --shape"),
        (["explain", "{file}:nothing", "--shape", "3x5x5"], "has no attribute 'nothing'"),
        (["explain", "{file}:random", "--shape", "3x5x5"], "it is random; in RandomErasing (step 0)"),
        (["explain", "{file}:blurred", "--shape", "3x9x9"], "GaussianBlur"),
        (["explain", "{file}:mirrored", "--shape", "3x9x9"], "Pad"),
        (["explain", "report", "--shape", "3x0x5"], "--shape 3x0x5 was given"),
        (["explain", "report", "--shape", "32x32"], "--shape 32x32 was given"),
        (["explain", "report", "--shape", "4x32x32"], "gray channels of 4 channels"),
        (["explain", "report", "--dtype", "uint16"], "uint16"),
        (["explain", "report", "--figure", "{folder}/a.xyz"], "cannot be drawn"),
        (["compile", "{file}:random", "--out", "{folder}/layer", "--shape", "3x5x5"], "it is random"),
        (["verify", "report", "--layer", "{folder}"], "there is no layer in"),
        (["verify", "report", "--images", "{folder}"], "there are 0 image files"),
        (["verify", "report", "--images", "{file}"], "cannot be read as an image"),
        (["verify", "report", "--images", "{file}", "--shape", "3x5x5"], "both --images and --shape"),
        (["verify", "{folder}/raises.py:x", "--shape", "3x5x5"], "ZeroDivisionError"),
    ],
)
def test_bad_input(run: Run, file: Path, tmp_path: Path, arguments: list[str], text: str) -> None:
    (tmp_path / "raises.py").write_text("x = 1 / 0\n")
    code, printed = run(*(argument.format(file=file, folder=tmp_path) for argument in arguments))
    assert code == 2
    assert text in printed
    assert "Traceback" not in printed
    assert not (tmp_path / "layer").exists()
