"""Fixtures of the command line's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

PIPELINES = """
import numpy as np
import torch
from torchvision.transforms import v2

small = v2.Compose([v2.Resize(9), v2.Grayscale()])

def normalised():
    return v2.Compose([v2.ToImage(), small, v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5], [0.25])])

def resized(image):
    return v2.functional.resize(image, [9, 5], antialias=True)

def gamma(image):
    return image ** 2.2

def turned(image):
    return np.rot90(image).copy()

blurred = v2.GaussianBlur(31, sigma=3.0)
random = v2.RandomPhotometricDistort()
mirrored = v2.Pad(20, padding_mode="reflect")
"""


@pytest.fixture
def pipelines_file(tmp_path: Path) -> Path:
    """A user's file with transforms and functions."""
    path = tmp_path / "mine.py"
    path.write_text(PIPELINES)
    return path
