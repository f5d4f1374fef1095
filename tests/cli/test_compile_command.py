"""``onelayer compile``"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

import onelayer

Run = Callable[..., tuple[int, str]]


def test_layers_load(run: Run, pipelines_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "layer"
    shapes = ["--shape", "3x17x11", "--shape", "3X20X30", "--as", "numpy", "--dtype", "uint8"]
    code, text = run("compile", f"{pipelines_file}:small", "--out", out, *shapes)
    assert code == 0, text
    assert "3×20×30 uint8 numpy → 1×9×13 uint8 numpy: 6 stages" in text
    fused = run("compile", f"{pipelines_file}:small", "--out", tmp_path / "fused", *shapes, "--rounding", "fused")
    assert "3×20×30 uint8 numpy → 1×9×13 uint8 numpy: 2 stages" in fused[1]
    loaded = onelayer.load(out)
    assert loaded(np.zeros((17, 11, 3), np.uint8)).shape == (13, 9, 1)
    assert loaded(np.zeros((20, 30, 3), np.uint8)).shape == (9, 13, 1)
    code, text = run("compile", f"{pipelines_file}:small", "--out", out, "--shape", "3x5x5", "--overwrite")
    assert code == 0, text
    assert onelayer.load(out)(torch.zeros(3, 5, 5)).shape == (1, 9, 9)


def test_nothing_is_written_of_what_cannot_be_derived(
    refused: Callable[..., str], pipelines_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "layer"
    for name, pattern in {"random": "it is random", "gamma": r"answers: onelayer identify \S+:gamma"}.items():
        refused(("compile", f"{pipelines_file}:{name}", "--out", out, "--shape", "3x5x5"), pattern)
    assert not out.exists()
