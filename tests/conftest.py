"""What several test files use."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from onelayer.cli import main
from onelayer.pipelines import Pipeline

REPOSITORY = Path(__file__).parent.parent

# Tests say what they need of Hypothesis by a profile, never by a number of examples of their own.
hypothesis.settings.register_profile("fast", max_examples=25, deadline=None, derandomize=True)
hypothesis.settings.register_profile("exhaustive", max_examples=500, deadline=None)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of a slice of the exhaustive tests."""
    parser.addoption("--order-by", metavar="TEXT", help="run the test files in an order that follows from TEXT")
    parser.addoption("--budget", metavar="SECONDS", type=float, help="start no test after this time")


def _is_exhaustive(config: pytest.Config) -> bool:
    wanted = config.getoption("-m") or ""
    return "exhaustive" in wanted and "not exhaustive" not in wanted


def pytest_configure(config: pytest.Config) -> None:
    """Choose how many examples Hypothesis tries: many in a run of the exhaustive tests, few otherwise."""
    hypothesis.settings.load_profile("exhaustive" if _is_exhaustive(config) else "fast")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Count Hypothesis tests among the exhaustive ones, where they try more; order files for a slice."""
    if _is_exhaustive(config):
        for item in items:
            if getattr(getattr(item, "obj", None), "is_hypothesis_test", False):
                item.add_marker("exhaustive")
    if (text := config.getoption("--order-by")) is not None:
        items.sort(key=lambda item: hashlib.sha256(f"{text} {item.path.name}".encode()).digest())


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what begins after the time budget."""
    budget = item.config.getoption("--budget")
    if budget is not None and time.monotonic() - _BEGIN > budget:
        pytest.skip("outside of this run's time budget")


_BEGIN = time.monotonic()


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or fills the user's cache, or takes the user's data for its default."""
    monkeypatch.setenv("ONELAYER_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ONELAYER_DATA", raising=False)


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., tuple[int, str]]]:
    """Runs the command line here; gives its exit code and all that it printed, on one line."""
    monkeypatch.setenv("COLUMNS", "400")
    before = signal.getsignal(signal.SIGTERM)

    def call(*arguments: object) -> tuple[int, str]:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        return ended.value.code or 0, re.sub(r"\s+", " ", captured.err + captured.out)  # type: ignore[return-value]

    yield call
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="session")
def cifar10_parquet() -> Path:
    """Real CIFAR-10 in Parquet files, where a machine has it."""
    path = Path(os.environ.get("ONELAYER_DATA", REPOSITORY / ".." / "shared" / "data" / "cifar10"))
    if not path.exists():
        pytest.skip("no CIFAR-10 as Parquet: name its folder in ONELAYER_DATA")
    return path


@pytest.fixture
def random_pixels() -> Callable[..., NDArray[np.uint8]]:
    """Makes uint8 noise [n, C, H, W] from a seed."""

    def make(n: int, shape: tuple[int, int, int], seed: int = 0) -> NDArray[np.uint8]:
        return np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)

    return make


@pytest.fixture
def flip() -> Pipeline:
    """A pipeline small enough to learn in a second, of a shape that mixes up no two axes: 2×5×3, flipped."""
    return Pipeline("flip", lambda images: torch.flip(images, (-1,)), (2, 5, 3))


@pytest.fixture(scope="session")
def write_images() -> Callable[[Path], Path]:
    """Makes a folder with forty 32×32 PNG files of smooth colours, enough for a run from end to end."""

    def write(folder: Path) -> Path:
        folder.mkdir()
        generator = np.random.default_rng(7)
        for index in range(40):
            coarse = Image.fromarray(generator.integers(0, 256, (4, 4, 3), dtype=np.uint8))
            coarse.resize((32, 32), Image.Resampling.BICUBIC).save(folder / f"{index:03}.png")
        return folder

    return write


@pytest.fixture
def image_folder(tmp_path: Path, write_images: Callable[[Path], Path]) -> Path:
    """Such a folder."""
    return write_images(tmp_path / "photographs")
