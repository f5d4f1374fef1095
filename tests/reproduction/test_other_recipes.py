"""The recipes that a run is compared with: each is learned once, and only where it is missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torchvision.transforms import v2

from onelayer import Pipeline
from onelayer import serialize as layer_files
from onelayer.errors import Interrupted
from onelayer.reproduction import recipes
from onelayer.reproduction.learning import directions, whitening
from onelayer.reproduction.learning.callbacks import HistoryFile
from onelayer.reproduction.learning.directions import SharedImageStatistics
from onelayer.reproduction.recipes import OtherRecipe, learn_other_recipes, other_recipes
from onelayer.reproduction.records import OtherRecipesRecord, Recipe, TrainingSettings, read_history
from onelayer.reproduction.run_folder import RunFolder

SHAPE = (2, 5, 4)
TRANSFORM = v2.RandomHorizontalFlip(p=1)
PIPELINE = Pipeline("mirror", TRANSFORM, SHAPE)
SETTINGS = TrainingSettings(epochs=3, patience=3, batch_size=50, lr=0.01)
FEW = OtherRecipe("few", "least-squares", 100)
OTHERS = (FEW, OtherRecipe("all", "least-squares", 300), OtherRecipe("white", "adam-whitened", 300))


def learn(
    folder: Path, pixels: NDArray[np.uint8], *, pipeline: Pipeline = PIPELINE, others: tuple[OtherRecipe, ...] = OTHERS
):
    learn_other_recipes(
        others, *SharedImageStatistics().of(pipeline, pixels[:300]), pixels[300:], SETTINGS, RunFolder(folder), "cpu"
    )
    return OtherRecipesRecord.read(folder / "recipes.json").layers


@pytest.fixture
def pixels(random_pixels: Callable[..., NDArray[np.uint8]], monkeypatch: pytest.MonkeyPatch) -> NDArray[np.uint8]:
    monkeypatch.setattr(directions, "COVARIANCE_IMAGES", FEW.images)
    return random_pixels(350, SHAPE)


@pytest.mark.parametrize(
    ("own", "train", "names"),
    [
        ("report", 45_000, ["least-squares-5000", "least-squares", "adam-whitened"]),
        ("report", 5_000, ["least-squares", "adam-whitened"]),
        ("least-squares", 5_001, ["least-squares-5000", "adam-whitened"]),
        ("adam-whitened", 28, ["least-squares"]),
    ],
)
def test_what_the_run_has_found_already_is_left_out(own: Recipe, train: int, names: list[str]) -> None:
    others = other_recipes(own, PIPELINE, train)
    assert [other.name for other in others] == names
    assert {other.images for other in others} <= {5_000, train}


def test_whitened_are_as_many_images_as_memory_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whitening, "_MAX_BYTES", 4 * 80 * 7_000)
    others = other_recipes("report", PIPELINE, 8_000)
    # From the fewest to the most, since sums go on and not back.
    assert [(other.name, other.images) for other in others] == [
        ("least-squares-5000", 5_000), ("adam-whitened", 7_000), ("least-squares", 8_000),
    ]  # fmt: skip


def test_each_is_learned_saved_and_recorded(tmp_path: Path, pixels: NDArray[np.uint8]) -> None:
    layers = learn(tmp_path, pixels)
    assert [(layer.name, layer.recipe, layer.images, layer.epochs) for layer in layers] == [
        ("few", "least-squares", 100, 1), ("all", "least-squares", 300, 1), ("white", "adam-whitened", 300, 3),
    ]  # fmt: skip
    images = torch.from_numpy(pixels[300:]) / 255
    for layer in layers:
        saved = layer_files.load_dense(tmp_path / "recipes" / layer.name / "layer")
        error = float((saved.double()(images.double()) - TRANSFORM(images)).abs().max().detach())
        # Least squares is exact but for float32 targets; three short epochs of Adam are a beginning.
        assert error < (1e-5 if layer.recipe == "least-squares" else 1.5), layer.name
        assert layer.directions is not None
        assert not (tmp_path / "recipes" / layer.name / "checkpoints").exists()
    assert len(read_history(tmp_path / "recipes" / "white" / "history.csv")) == 3


def test_every_image_is_summed_once(tmp_path: Path, pixels: NDArray[np.uint8]) -> None:
    seen = 0

    def counting(images: torch.Tensor) -> torch.Tensor:
        nonlocal seen
        seen += len(images)
        return TRANSFORM(images)

    learn(tmp_path, pixels, pipeline=Pipeline("counting", counting, SHAPE), others=OTHERS[:2])
    # One for the output shape; 300 summed; 50 of training and of validation for the errors of each of the two layers.
    assert seen == 1 + 300 + 4 * 50


def test_only_what_is_missing_is_learned(
    tmp_path: Path, pixels: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = learn(tmp_path, pixels, others=(FEW,))
    before = (tmp_path / "recipes" / "few" / "layer" / "model.safetensors").stat().st_mtime_ns
    layers = learn(tmp_path, pixels)
    assert layers[:1] == first
    assert [layer.name for layer in layers] == ["few", "all", "white"]
    assert (tmp_path / "recipes" / "few" / "layer" / "model.safetensors").stat().st_mtime_ns == before
    monkeypatch.setattr(recipes, "ImageSums", None)  # nothing is summed where nothing is missing
    assert learn(tmp_path, pixels) == layers


def test_interrupted_it_goes_on(tmp_path: Path, pixels: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch) -> None:
    straight = learn(tmp_path / "straight", pixels)
    write = HistoryFile.write

    def interrupted(self: HistoryFile) -> None:
        write(self)
        if len(self.rows) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(HistoryFile, "write", interrupted)
        with pytest.raises(Interrupted, match="adam-whitened stopped after 2 whole epochs"):
            learn(tmp_path / "parts", pixels)
    assert len(OtherRecipesRecord.read(tmp_path / "parts" / "recipes.json").layers) == 2
    layers = learn(tmp_path / "parts", pixels)
    assert [layer.epochs for layer in layers] == [layer.epochs for layer in straight]
    saved = [(tmp_path / name / "recipes" / "white" / "layer" / "model.safetensors") for name in ("straight", "parts")]
    assert saved[0].read_bytes() == saved[1].read_bytes()


def test_a_function_that_cannot_be_derived_has_no_directions(tmp_path: Path, pixels: NDArray[np.uint8]) -> None:
    opaque = Pipeline("opaque", lambda images: images.flip(-1), SHAPE)
    (layer,) = learn(tmp_path, pixels, pipeline=opaque, others=(FEW,))
    assert layer.directions is None


def test_a_folder_that_is_cleared_keeps_nothing_of_it(tmp_path: Path, pixels: NDArray[np.uint8]) -> None:
    learn(tmp_path, pixels, others=(FEW,))
    folder = RunFolder(tmp_path)
    for path in (folder.directions, folder.directions_figure):
        path.write_text("x")
    assert folder.remove_results()
    # What is learned does not depend on the run's own layer; the figure shows that layer.
    assert folder.other_recipes.exists()
    assert folder.directions.exists()
    assert not folder.directions_figure.exists()
    folder.clear()
    assert list(tmp_path.iterdir()) == []
