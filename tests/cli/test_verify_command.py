"""``onelayer verify``"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import onelayer
from onelayer import DenseLayer, ImageSpec
from onelayer.cli.pipeline_source import find_pipeline
from onelayer.verification import proved_bound
from onelayer.verification.certificate import CertificateRecord

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    folder = tmp_path / "photographs"
    folder.mkdir()
    for number, size in enumerate([(30, 20), (11, 17)]):
        pixels = np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    Image.fromarray(np.zeros((12, 12), np.uint8)).convert("RGB").save(folder / "black.jpg")
    return folder


def test_a_derived_layer_on_photographs(run: Run, pipelines_file: Path, photographs: Path, tmp_path: Path) -> None:
    certificate, figure = tmp_path / "certificate.json", tmp_path / "worst.png"
    code, text = run(
        "verify", f"{pipelines_file}:normalised", "--images", photographs, "--json", certificate, "--figure", figure,
        "--adversarial", 3,
    )  # fmt: skip
    assert code == 0, text
    record = CertificateRecord.read(certificate)
    assert record.images is not None
    assert record.images.count == 3
    # Three pixels and two corners of three sizes, the highest and the lowest of each, and of each difference.
    assert (record.extreme_pixels, record.extreme_images) == (15, 60)
    # float32 rounding, of grey levels of 1/255
    assert record.images.max_grey_levels < 1e-2
    assert figure.stat().st_size > 0
    assert json.loads(certificate.read_text())["format_version"] == 1


def test_a_learned_layer_says_its_own_shape(run: Run, pipelines_file: Path, tmp_path: Path) -> None:
    layer, certificate = DenseLayer((3, 5, 4), (1, 11, 9)), tmp_path / "certificate.json"
    onelayer.save(layer, tmp_path / "layer")
    code, text = run("verify", f"{pipelines_file}:small", "--layer", tmp_path / "layer", "--json", certificate)
    assert code == 0, text
    record = CertificateRecord.read(certificate)
    assert (record.input_shapes, record.inputs) == (((3, 5, 4),), ("float32 tensor",))
    # What the command writes is what the library proves, and the extreme image of the difference attains it, up to the
    # rounding of float32.
    original = find_pipeline(f"{pipelines_file}:small").transform
    bound = proved_bound(layer, original, ImageSpec((3, 5, 4), "float32", "tensor"))
    assert record.bound_grey_levels == pytest.approx(bound.grey_levels, rel=1e-12)
    assert record.all.max_grey_levels == pytest.approx(record.bound_grey_levels, rel=1e-3)
    assert "can come out more than" in text


def test_a_saved_layer_says_its_images(
    run: Run, refused: Callable[..., str], pipelines_file: Path, photographs: Path, tmp_path: Path
) -> None:
    layer, certificate = tmp_path / "layer", tmp_path / "certificate.json"
    pipeline = f"{pipelines_file}:small"
    shapes = ("--shape", "3x17x11", "--shape", "3x11x17", "--as", "pil")
    assert run("compile", pipeline, "--out", layer, *shapes)[0] == 0
    code, text = run("verify", pipeline, "--layer", layer, "--json", certificate)
    assert code == 0, text
    record = CertificateRecord.read(certificate)
    assert set(record.input_shapes) == {(3, 17, 11), (3, 11, 17)}
    assert record.inputs == ("uint8 pil",)
    # Photographs come as the layer takes its images, too.
    for path in photographs.iterdir():
        if path.name != "1.png":  # 11×17
            path.unlink()
    code, text = run("verify", pipeline, "--layer", layer, "--images", photographs, "--json", certificate)
    assert code == 0, text
    assert CertificateRecord.read(certificate).inputs == ("uint8 pil",)
    # So do those of another size, which the layer then refuses.
    refused(("verify", pipeline, "--layer", layer, "--shape", "3x5x5"), r"shape \(3, 5, 5\), dtype uint8 \(pil\)")
    refused(
        ("verify", pipeline, "--layer", layer, "--as", "numpy"),
        "no images of this --dtype and --as; expected one of 3×17×11 uint8 pil, 3×11×17 uint8 pil",
    )


@pytest.mark.parametrize(
    ("arguments", "pattern"),
    [
        (("--images", "{folder}"), "there are 0 image files"),
        (("--images", "{file}"), "cannot be read as an image"),
        (("--layer", "{folder}/damaged"), "cannot be read"),
        (("--shape", "3x5x5"), r"answers: onelayer identify \S+:gamma"),
    ],
)
def test_bad_input(
    refused: Callable[..., str], pipelines_file: Path, tmp_path: Path, arguments: tuple[str, ...], pattern: str
) -> None:
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "config.json").write_text("{")
    named = [argument.format(file=pipelines_file, folder=tmp_path) for argument in arguments]
    refused(("verify", f"{pipelines_file}:gamma", *named), pattern)
