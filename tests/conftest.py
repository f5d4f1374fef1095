"""What several test files use."""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import json
import os
import re
import shutil
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
from torchvision.transforms import v2

from onelayer import pipelines
from onelayer.cache_folder import cache_folder
from onelayer.cli import main
from onelayer.pipelines import Pipeline
from onelayer.pipelines.catalogue import CATALOGUE, Entry

REPOSITORY = Path(__file__).parent.parent

# albumentations would look for updates, and report over the network.
os.environ |= {"NO_ALBUMENTATIONS_UPDATE": "1", "ALBUMENTATIONS_NO_TELEMETRY": "1"}

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


_KERNELS = cache_folder() / "kernels"


@pytest.fixture(scope="session")
def new_cache(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Makes a cache folder that is empty but for compiled kernels, which all tests share with the user."""
    base, numbers = tmp_path_factory.mktemp("caches"), itertools.count()

    def make() -> Path:
        folder = base / str(next(numbers))
        folder.mkdir()
        # Where kernels cannot be kept, each process compiles its own.
        with contextlib.suppress(OSError):
            _KERNELS.mkdir(parents=True, exist_ok=True)
            (folder / "kernels").symlink_to(_KERNELS.absolute())
        return folder

    return make


@pytest.fixture(autouse=True)
def _own_cache(new_cache: Callable[[], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or fills the user's cache, but for compiled kernels, or takes the user's data for its default."""
    monkeypatch.setenv("ONELAYER_CACHE", str(new_cache()))
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


@pytest.fixture
def refused(run: Callable[..., tuple[int, str]]) -> Callable[..., str]:
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
def write_images() -> Callable[..., Path]:
    """Makes a folder with PNG files of smooth colours, by default forty of 32×32: enough for a run from end to end."""

    def write(folder: Path, count: int = 40, height: int = 32, width: int = 32) -> Path:
        folder.mkdir()
        generator = np.random.default_rng(7)
        for index in range(count):
            coarse = Image.fromarray(generator.integers(0, 256, (4, 4, 3), dtype=np.uint8))
            coarse.resize((width, height), Image.Resampling.BICUBIC).save(folder / f"{index:03}.png")
        return folder

    return write


@pytest.fixture
def image_folder(tmp_path: Path, write_images: Callable[..., Path]) -> Path:
    """Such a folder."""
    return write_images(tmp_path / "photographs")


TINY = Entry(
    "grayscale and a flip of tiny images", lambda: v2.Compose([v2.Grayscale(), v2.RandomHorizontalFlip(p=1)]), (3, 5, 4)
)


@pytest.fixture
def tiny_pipeline(monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """The pipeline of :func:`finished_run`, under its name ``tiny`` among the built-in ones."""
    monkeypatch.setitem(CATALOGUE, "tiny", TINY)
    return pipelines.named("tiny")


@pytest.fixture(scope="session")
def finished_run(
    tmp_path_factory: pytest.TempPathFactory, write_images: Callable[..., Path], new_cache: Callable[[], Path]
) -> Path:
    """The folder of a quick run of a tiny pipeline, made once and never changed; its images are in ``photographs``."""
    from onelayer.reproduction.learn_request import LearnRequest
    from onelayer.reproduction.reproduce import reproduce

    folder = tmp_path_factory.mktemp("finished")
    images = write_images(folder / "photographs", 140, *TINY.shape[1:])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ONELAYER_CACHE", str(new_cache()))
        patch.setitem(CATALOGUE, "tiny", TINY)
        reproduce(LearnRequest(folder / "run", str(images), pipelines.named("tiny"), quick=True))
    return folder / "run"


@pytest.fixture
def run_copy(finished_run: Path, tiny_pipeline: Pipeline, tmp_path: Path) -> Path:
    """A copy of that run and of its images, for tests that change them; later steps find its pipeline by name."""
    out, images = tmp_path / "run", tmp_path / "photographs"
    shutil.copytree(finished_run, out)
    shutil.copytree(finished_run.with_name("photographs"), images)
    record = json.loads((out / "run.json").read_text())
    record["data"]["source"] = str(images)
    (out / "run.json").write_text(json.dumps(record))
    return out


@pytest.fixture(scope="session")
def replace_figures() -> Callable[[pytest.MonkeyPatch], None]:
    """Puts one white pixel in place of each of the report's figures, which take longer than all else about a page."""

    def replace(patch: pytest.MonkeyPatch) -> None:
        from onelayer.reproduction.report import figures

        png = io.BytesIO()
        Image.new("L", (1, 1), "white").save(png, "PNG")
        for name in figures.__all__:
            patch.setattr(figures, name, lambda *_: png.getvalue())

    return replace


@pytest.fixture
def instant_figures(replace_figures: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Does so for one test."""
    replace_figures(monkeypatch)
