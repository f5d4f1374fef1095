"""``onelayer recognise``"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import onelayer
from onelayer.algebra import AxisMap, Dense, Separable

Run = Callable[..., tuple[int, str]]


def learned_layer(noise: float) -> Dense:
    rows, cols = (
        AxisMap.flip(n_out) @ AxisMap.resample(n_in, n_out, "bilinear", True, precision="float32")
        for n_in, n_out in ((12, 7), (10, 6))
    )
    true = Separable(np.array([[0.2989, 0.587, 0.114]]), rows, cols, np.zeros(1)).to_dense()
    weight = true.weight + np.random.default_rng(0).normal(0.0, noise, true.weight.shape)
    return Dense(weight, true.bias, true.in_shape, true.out_shape)


def test_a_layer(run: Run, tmp_path: Path) -> None:
    onelayer.save(onelayer.DenseLayer.from_operator(learned_layer(1e-5), torch.float64), tmp_path / "learned")
    code, text = run("recognise", tmp_path / "learned", "--out", tmp_path / "recognised")
    assert code == 0, text
    assert "bilinear antialias 12→7, flipped" in text
    assert "luma (torchvision: 0.2989, 0.587, 0.114)" in text
    exact = learned_layer(0.0)
    images = torch.rand(3, 3, 12, 10)
    found = onelayer.load(tmp_path / "recognised")(images)
    np.testing.assert_allclose(found.numpy(), exact.apply(images.numpy()), atol=1e-6)


def test_the_statistics_of_images(run: Run, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    generator = np.random.default_rng(1)
    for index in range(60):
        coarse = Image.fromarray(generator.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        coarse.resize((10, 12), Image.Resampling.BICUBIC).save(tmp_path / "images" / f"{index:02}.png")
    onelayer.save(onelayer.DenseLayer.from_operator(learned_layer(1e-6), torch.float64), tmp_path / "learned")
    code, text = run("recognise", tmp_path / "learned", "--data", tmp_path / "images")
    assert code == 0, text
    assert "RMS difference on images" in text


@pytest.mark.exhaustive
def test_a_run_beside_its_pipeline(run: Run, tmp_path: Path) -> None:
    code, text = run("learn", "--quick", "--recipe", "least-squares", "--out", tmp_path / "run")
    assert code == 0, text
    code, text = run("recognise", tmp_path / "run")
    assert code == 0, text
    assert "bilinear antialias 32→28, flipped" in text
    # Largest weight, RMS weight, proved bound in units and in grey levels.
    figures = re.search(r"recognised – true (\S+) (\S+) (\S+) (\S+)", text)
    assert figures is not None
    assert float(figures[4]) < 0.1


def test_what_is_no_product_is_refused(refused: Callable[..., str], tmp_path: Path) -> None:
    weight = np.random.default_rng(0).normal(size=(30, 3 * 8 * 9))
    onelayer.save(
        onelayer.DenseLayer.from_operator(Dense(weight, np.zeros(30), (3, 8, 9), (1, 5, 6)), torch.float64),
        tmp_path / "learned",
    )
    refused(("recognise", tmp_path / "learned"), "the weights are no Kronecker product")
