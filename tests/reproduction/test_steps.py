"""The steps of a run, from one to the next, on built-in pipelines and on a user's own."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

import onelayer
from onelayer import OnelayerError, Pipeline
from onelayer.bench.record import BenchmarkRecord
from onelayer.reproduction import steps
from onelayer.reproduction.learn_request import LearnRequest, RecipeChoice
from onelayer.reproduction.learning.directions import SharedImageStatistics
from onelayer.reproduction.records import (
    DirectionsRecord,
    MetricsRecord,
    OtherRecipesRecord,
    RunRecord,
    read_history,
)
from onelayer.reproduction.run_folder import RunFolder


def mirrored(images: torch.Tensor) -> torch.Tensor:
    """A function that cannot be derived, of batches only."""
    batch, channels, height, width = images.shape
    return images.flip(-1).reshape(batch, channels, height, width)


OWN = Pipeline("mine.py:mirrored", mirrored, (3, 5, 4), "my own function")


@pytest.fixture
def photographs(tmp_path: Path, write_images: Callable[..., Path]) -> str:
    """A hundred images of 5×4, of which 70 are for training: more than their 60 values."""
    return str(write_images(tmp_path / "photographs", 100, 5, 4))


def request(out: Path, data: str | None, **options: object) -> LearnRequest:
    return LearnRequest(out, data, recipe=RecipeChoice.least_squares, **options)  # type: ignore[arg-type]


def test_a_run_leaves_everything_the_report_has(finished_run: Path) -> None:
    names = {path.name for path in finished_run.iterdir()}
    assert names >= {
        "report.html", "run.json", "history.csv", "train.png", "comparison.png", "predictions.png", "weights.png",
        "metrics.json", "comparison.safetensors", "benchmark.json", "benchmark.png", "layer", "recipes.json", "recipes",
        "directions.json", "directions.png", "checkpoints", "logs",
    }  # fmt: skip
    record = RunRecord.read(finished_run / "run.json")
    assert (record.quick, record.pipeline.name, record.recipe) == (True, "tiny", "report")
    assert record.pipeline.description == "grayscale and a flip of tiny images"
    assert (record.data.train, record.data.validation, record.data.test) == (98, 14, 28)
    assert record.training is not None
    assert record.training.epochs_run == len(read_history(finished_run / "history.csv")) == steps.QUICK_EPOCHS
    assert [epoch.epoch for epoch in DirectionsRecord.read(finished_run / "directions.json").epochs] == [0, 1, 2, 3]
    others = OtherRecipesRecord.read(finished_run / "recipes.json").layers
    assert [layer.name for layer in others] == ["least-squares", "adam-whitened"]
    compared = MetricsRecord.read(finished_run / "metrics.json").layers
    assert [layer.layer for layer in compared] == ["learned", "least-squares", "adam-whitened", "derived"]
    # 28 test images make no larger batch.
    assert [case.batch_size for case in BenchmarkRecord.read(finished_run / "benchmark.json").cases] == [8, 16]
    assert "quick run" in (finished_run / "report.html").read_text(encoding="utf-8").lower()


def test_the_metrics_are_those_of_the_layer_in_the_folder(run_copy: Path, tiny_pipeline: Pipeline) -> None:
    layer, images = onelayer.load(run_copy), steps.images_of(RunRecord.read(run_copy / "run.json")).test
    inputs = torch.from_numpy(np.array(images)) / 255
    with torch.no_grad():
        largest = float((layer(inputs) - tiny_pipeline(inputs)).abs().max()) * 255
    assert MetricsRecord.read(run_copy / "metrics.json").layers[0].max_grey_levels == pytest.approx(largest, rel=1e-4)


def test_a_users_own_function_is_learned_compared_and_timed(
    tmp_path: Path, photographs: str, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    record = steps.learn_step(request(out, photographs, pipeline=OWN), SharedImageStatistics())
    assert (record.pipeline.name, record.pipeline.description) == ("mine.py:mirrored", "my own function")
    assert record.pipeline.steps == ("mirrored",)
    assert (record.pipeline.input_shape, record.pipeline.output_shape) == ((3, 5, 4), (3, 5, 4))
    assert capfd.readouterr() == ("", "")
    steps.compare_step(RunFolder(out), pipeline=OWN)
    (learned,) = MetricsRecord.read(out / "metrics.json").layers
    assert learned.layer == "learned", "there is nothing to derive"
    assert learned.max_grey_levels < 1e-3
    with pytest.raises(OnelayerError, match=r"one of mine\.py:mirrored, which is no built-in pipeline"):
        steps.compare_step(RunFolder(out))


def test_resuming_refuses_another_pipeline(tmp_path: Path, photographs: str) -> None:
    out = tmp_path / "run"
    steps.learn_step(request(out, photographs, pipeline=OWN))
    again = steps.learn_step(request(out, None, pipeline=OWN, resume=True))
    assert again.training is not None
    for pipeline, said in (
        (None, "no built-in pipeline"),
        (Pipeline("mine.py:other", mirrored, (3, 5, 4)), r"mine\.py:other .* is not the run's"),
        (Pipeline("mine.py:mirrored", mirrored, (3, 4, 5)), r"\(3, 4, 5\) is not the run's"),
        (Pipeline("mine.py:mirrored", lambda images: images[..., 1:], (3, 5, 4)), r"gives images of \(3, 5, 3\)"),
    ):
        with pytest.raises(OnelayerError, match=said):
            steps.learn_step(request(out, None, pipeline=pipeline, resume=True))


def test_a_function_of_single_images_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    def function(image: torch.Tensor) -> torch.Tensor:
        channels, height, width = image.shape
        return image.reshape(channels, height, width)

    with pytest.raises(OnelayerError, match=r"mine failed on a batch of images: ValueError.*\[N, C, H, W\]"):
        steps.learn_step(request(tmp_path / "run", "nowhere", pipeline=Pipeline("mine", function, (3, 5, 4))))
    assert not (tmp_path / "run").exists()


def test_too_few_images_are_warned_of(
    tmp_path: Path, write_images: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    few = str(write_images(tmp_path / "few", 20, 5, 4))
    steps.learn_step(request(tmp_path / "run", few, pipeline=OWN))
    said = " ".join(capfd.readouterr().err.split())
    assert said.startswith("Warning: 14 images to learn from, but 60 values in each: so few images do not determine")


def test_images_that_have_moved_are_found_where_they_are(run_copy: Path) -> None:
    moved = run_copy.with_name("photographs").rename(run_copy.with_name("elsewhere"))
    with pytest.raises(OnelayerError, match="photographs"):
        steps.compare_step(RunFolder(run_copy))
    steps.compare_step(RunFolder(run_copy), str(moved))
    shutil.copy(moved / "001.png", moved / "000.png")
    with pytest.raises(OnelayerError, match="not those of the run"):
        steps.compare_step(RunFolder(run_copy), str(moved))


def test_only_what_is_missing_is_learned(run_copy: Path) -> None:
    folder = RunFolder(run_copy)
    assert not steps.other_recipes_missing(folder)
    assert not steps.comparison_missing(folder)
    record = OtherRecipesRecord.read(folder.other_recipes)
    OtherRecipesRecord(layers=record.layers[:1]).write(folder.other_recipes)
    assert steps.other_recipes_missing(folder)
    steps.other_recipes_step(folder, "cpu", SharedImageStatistics())
    again = OtherRecipesRecord.read(folder.other_recipes).layers
    assert again[0] == record.layers[0]
    assert again[1].directions == record.layers[1].directions
    folder.metrics.unlink()
    assert steps.comparison_missing(folder)


def test_the_derived_layer_of_a_pipeline_that_can_be_read(tiny_pipeline: Pipeline) -> None:
    images = torch.rand(2, *tiny_pipeline.input_shape)
    (layer,) = steps._derived(tiny_pipeline).values()
    torch.testing.assert_close(layer(images), tiny_pipeline(images), atol=1e-6, rtol=0)
    assert steps._derived(Pipeline("random", v2.RandomErasing(), (3, 5, 4))) == {}
