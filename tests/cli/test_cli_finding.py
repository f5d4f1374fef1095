"""`onelayer identify` and `onelayer recognise`."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import onelayer
from onelayer.algebra import AxisMap, Dense, Separable
from onelayer.verification.certificate import CertificateRecord

Run = Callable[..., tuple[int, str]]

FUNCTIONS = """
import numpy as np
from torchvision.transforms import v2

def resized(image):
    return v2.functional.resize(image, [9, 5], antialias=True)

def gamma(image):
    return image ** 2.2

def turned(image):
    return np.rot90(image).copy()
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Functions that a user has."""
    path = tmp_path / "functions.py"
    path.write_text(FUNCTIONS, encoding="utf-8")
    return path


def test_identify_saves_a_layer_and_a_certificate(run: Run, file: Path, tmp_path: Path) -> None:
    out, certificate = tmp_path / "layer", tmp_path / "certificate.json"
    code, text = run("identify", f"{file}:resized", "--shape", "3x17x11", "--out", out, "--json", certificate)
    assert code == 0, text
    assert "bilinear antialias 17→9" in text
    assert "superposition of noise, largest violation" in text
    assert CertificateRecord.read(certificate).all.max_units < 2e-6
    layer = onelayer.load(out)
    assert layer(torch.rand(2, 3, 17, 11)).shape == (2, 3, 9, 5)
    code, text = run("identify", f"{file}:resized", "--shape", "3x17x11", "--out", out)
    assert code == 2
    assert "there is a layer in" in text


def test_identify_arrays_of_bytes(run: Run, file: Path) -> None:
    code, text = run("identify", f"{file}:turned", "--shape", "3x17x11", "--as", "numpy", "--dtype", "uint8")
    assert code == 0, text
    assert "height and width swapped" in text


def test_identify_refuses_with_numbers(run: Run, file: Path) -> None:
    code, text = run("identify", f"{file}:gamma", "--shape", "3x17x11")
    assert code == 2
    assert "the function is not affine: superposition of" in text
    code, text = run("identify", f"{file}:resized", "--shape", "3x17x11", "--budget", "50")
    assert code == 2
    assert "expected at most 50 in all" in text
    code, text = run("identify", f"{file}:resized")
    assert code == 2
    assert "--shape" in text


def learned_layer(noise: float) -> Dense:
    rows, cols = (
        AxisMap.flip(n_out) @ AxisMap.resample(n_in, n_out, "bilinear", True, precision="float32")
        for n_in, n_out in ((12, 7), (10, 6))
    )
    true = Separable(np.array([[0.2989, 0.587, 0.114]]), rows, cols, np.zeros(1)).to_dense()
    weight = true.weight + np.random.default_rng(0).normal(0.0, noise, true.weight.shape)
    return Dense(weight, true.bias, true.in_shape, true.out_shape)


def test_recognise_a_layer(run: Run, tmp_path: Path) -> None:
    onelayer.save(onelayer.DenseLayer.from_operator(learned_layer(1e-5), torch.float64), tmp_path / "learned")
    code, text = run("recognise", tmp_path / "learned", "--out", tmp_path / "recognised")
    assert code == 0, text
    assert "bilinear antialias 12→7, flipped" in text
    assert "luma (torchvision: 0.2989, 0.587, 0.114)" in text
    exact = learned_layer(0.0)
    images = torch.rand(3, 3, 12, 10)
    found = onelayer.load(tmp_path / "recognised")(images)
    np.testing.assert_allclose(found.numpy(), exact.apply(images.numpy()), atol=1e-6)
    code, text = run("recognise", tmp_path / "learned", "--out", tmp_path / "recognised")
    assert code == 2
    assert "--overwrite" in text


def test_recognise_with_the_statistics_of_images(run: Run, tmp_path: Path) -> None:
    onelayer.save(onelayer.DenseLayer.from_operator(learned_layer(1e-6), torch.float64), tmp_path / "learned")
    code, text = run("recognise", tmp_path / "learned", "--data", "sample")
    assert code == 0, text
    assert "RMS difference on images" in text


def test_recognise_a_run_beside_its_pipeline(run: Run, tmp_path: Path) -> None:
    code, text = run("learn", "--quick", "--recipe", "least-squares", "--out", tmp_path / "run")
    assert code == 0, text
    code, text = run("recognise", tmp_path / "run")
    assert code == 0, text
    assert "bilinear antialias 32→28, flipped" in text
    # Largest weight, RMS weight, proved bound in units and in grey levels.
    figures = re.search(r"recognised – true (\S+) (\S+) (\S+) (\S+)", text)
    assert figures is not None
    assert float(figures[4]) < 0.1


def test_recognise_refuses_what_is_no_product(run: Run, tmp_path: Path) -> None:
    weight = np.random.default_rng(0).normal(size=(30, 3 * 8 * 9))
    onelayer.save(
        onelayer.DenseLayer.from_operator(Dense(weight, np.zeros(30), (3, 8, 9), (1, 5, 6)), torch.float64),
        tmp_path / "learned",
    )
    code, text = run("recognise", tmp_path / "learned")
    assert code == 2
    assert "the weights are no Kronecker product" in text
