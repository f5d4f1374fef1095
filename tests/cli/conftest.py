"""Fixtures of the command line's tests."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from onelayer.reproduction.learn_request import LearnRequest
from onelayer.reproduction.reproduce import reproduce

Refused = Callable[..., str]

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
random = v2.RandomErasing()
mirrored = v2.Pad(20, padding_mode="reflect")
"""


@pytest.fixture
def pipelines_file(tmp_path: Path) -> Path:
    """A user's file with transforms and functions."""
    path = tmp_path / "mine.py"
    path.write_text(PIPELINES)
    return path


@pytest.fixture
def refused(run: Callable[..., tuple[int, str]]) -> Refused:
    """Run a command that must end with status 2; check what it says, and return it."""

    def check(arguments: tuple[object, ...], *patterns: str) -> str:
        code, text = run(*arguments)
        assert code == 2, text
        assert "Traceback" not in text
        for pattern in patterns:
            assert re.search(pattern, text), f"{pattern!r} is not in {text!r}"
        return text

    return check


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory, write_images: Callable[[Path], Path]) -> Path:
    """The folder of a quick run on forty images, made once and never changed."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ONELAYER_CACHE", str(folder / "cache"))
        reproduce(LearnRequest(out=folder / "run", data=str(write_images(folder / "photographs")), quick=True))
    return folder / "run"


@pytest.fixture
def run_copy(finished_run: Path, image_folder: Path, tmp_path: Path) -> Path:
    """A copy of that run, whose images are the test's own."""
    out = tmp_path / "run"
    shutil.copytree(finished_run, out)
    record = json.loads((out / "run.json").read_text())
    record["data"]["source"] = str(image_folder)
    (out / "run.json").write_text(json.dumps(record))
    return out
