"""The error by direction adds up to the error, and is kept like the history."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torchvision.transforms import v2

from onelayer import DenseLayer, Pipeline
from onelayer.reproduction.learning.callbacks import DirectionsFile
from onelayer.reproduction.learning.directions import Directions, affine_map, directions_of
from onelayer.reproduction.learning.fit_interface import FitOptions, FitResult
from onelayer.reproduction.learning.gradient_descent import fit
from onelayer.reproduction.learning.least_squares import ImageSums
from onelayer.reproduction.records import DirectionsRecord, TrainingSettings
from onelayer.reproduction.run_folder import RunFolder

SHAPE = (3, 5, 4)
"""60 values: fewer than the 64 groups there can be."""
TRANSFORM = v2.Compose([v2.Grayscale(), v2.RandomHorizontalFlip(p=1), v2.Normalize([0.5], [0.25])])
PIPELINE = Pipeline("small", TRANSFORM, SHAPE)


def images(count: int, seed: int = 0) -> NDArray[np.uint8]:
    """Neighbours are nearly equal, channels too."""
    random = np.random.default_rng(seed)
    steps = random.normal(size=(count, *SHAPE)).cumsum(axis=1).cumsum(axis=2).cumsum(axis=3)
    return np.clip(127 + 20 * steps, 0, 255).astype(np.uint8)


TRAIN = images(300)


def directions() -> Directions:
    true = affine_map(PIPELINE)
    assert true is not None
    return Directions.of(ImageSums(PIPELINE, TRAIN).over(), true)


def test_the_map_of_a_pipeline() -> None:
    true = affine_map(PIPELINE)
    assert true is not None
    floats = torch.rand(7, *SHAPE)
    np.testing.assert_allclose(true.apply(floats.numpy()), TRANSFORM(floats).numpy(), atol=1e-5)
    assert affine_map(Pipeline("unknown", lambda pixels: pixels.flip(-1), SHAPE)) is None
    assert affine_map(Pipeline("clamped", v2.RandomSolarize(threshold=0.5, p=1), SHAPE)) is None


def test_parts_of_the_error_add_up_to_the_error() -> None:
    layer = DenseLayer(SHAPE, PIPELINE.output_shape, torch.Generator().manual_seed(3)).double()
    found = directions()
    errors = found.errors(layer)
    assert errors is not None
    floats = torch.from_numpy(TRAIN).double() / 255
    mse = float((layer(floats) - TRANSFORM(floats)).square().mean().detach())
    # The projection is in float32.
    assert sum(errors.left) + errors.offset == pytest.approx(mse, rel=1e-5)
    record = found.record("report", [])
    assert sum(record.sizes) == 60
    assert record.images == 300
    variance = np.cov(TRAIN.reshape(300, -1).T / 255.0, bias=True).trace()
    assert np.dot(record.sizes, record.eigenvalues) == pytest.approx(variance)
    assert list(record.eigenvalues) == sorted(record.eigenvalues, reverse=True)


def test_an_error_in_one_direction_is_found_there() -> None:
    found = directions()
    layer = DenseLayer(SHAPE, PIPELINE.output_shape).double()
    with torch.no_grad():
        # All twenty output values are off by a half in the third direction.
        layer.weight.copy_(torch.tensor(found.true.weight) + 0.5 * found.vectors[:, 2].double())
        layer.bias.copy_(torch.tensor(found.true.bias))
    errors = found.errors(layer)
    assert errors is not None
    sizes = found.record("report", []).sizes
    assert sizes[:4] == (1, 1, 1, 1)
    assert errors.squared[2] == pytest.approx(0.25, rel=1e-5)
    assert errors.left[2] == pytest.approx(0.25 * found.eigenvalues[2], rel=1e-5)
    # Vectors are orthogonal up to float32.
    assert max(errors.squared[:2] + errors.squared[3:]) < 1e-12


def test_many_directions_are_grouped() -> None:
    pipeline = Pipeline("identity", torch.nn.Identity(), (3, 8, 8))
    true = affine_map(pipeline)
    assert true is not None
    pixels = np.random.default_rng(0).integers(0, 256, (200, 3, 8, 8), dtype=np.uint8)
    record = Directions.of(ImageSums(pipeline, pixels).over(), true).record("report", [])
    assert sum(record.sizes) == 192
    assert 30 < len(record.sizes) <= 64
    assert record.sizes[0] == 1
    assert max(record.sizes) == record.sizes[-1]


def test_no_directions_where_images_do_not_tell_them() -> None:
    assert directions_of(ImageSums(PIPELINE, TRAIN[:60])) is None
    found = directions_of(ImageSums(PIPELINE, TRAIN[:61]))
    assert found is not None
    assert found.images == 61
    assert directions_of(ImageSums(Pipeline("unknown", lambda pixels: pixels.flip(-1), SHAPE), TRAIN)) is None


@pytest.fixture
def learn(tmp_path: Path) -> Callable[..., tuple[FitResult, RunFolder]]:
    """Learns the small pipeline; gives the layer and its folder. An epoch is two batches and one for validation."""

    def run(
        name: str, epochs: int, *, pipeline: Pipeline = PIPELINE, with_file: bool = True, **options: Any
    ) -> tuple[FitResult, RunFolder]:
        folder = RunFolder(tmp_path / name)
        folder.path.mkdir(exist_ok=True)
        files = [DirectionsFile(folder.directions, directions(), "report")] if with_file else []
        settings = TrainingSettings(epochs=epochs, batch_size=64)
        held_out = images(20, 1)
        how = FitOptions(settings, folder, "cpu", epoch_files=files, **options)
        return fit(pipeline, TRAIN[:128], held_out, how), folder

    return run


def test_every_epoch_is_kept_and_learning_is_not_changed(learn: Callable[..., tuple[FitResult, RunFolder]]) -> None:
    learned, folder = learn("with", 3)
    record = DirectionsRecord.read(folder.directions)
    assert [epoch.epoch for epoch in record.epochs] == [0, 1, 2, 3]
    start = directions().errors(DenseLayer(SHAPE, PIPELINE.output_shape, torch.Generator().manual_seed(0)))
    assert start is not None
    np.testing.assert_allclose(record.epochs[0].errors.squared, start.squared, rtol=1e-6)
    last = directions().errors(learned.layer)
    assert last is not None
    assert learned.summary.best_epoch == 3, "choose settings with which the last epoch is the best"
    np.testing.assert_allclose(record.epochs[3].errors.left, last.left, rtol=1e-6)
    assert record.epochs[3].errors.left[0] < record.epochs[0].errors.left[0]
    assert torch.equal(learned.layer.weight, learn("without", 3, with_file=False)[0].layer.weight)
    # Resumed, the file is what it is uninterrupted.
    learn("parts", 2)
    assert len(DirectionsRecord.read(folder.path.with_name("parts") / "directions.json").epochs) == 3
    _, parts = learn("parts", 3, resume=True)
    assert parts.directions.read_bytes() == folder.directions.read_bytes()


def test_an_epoch_that_no_checkpoint_has_is_taken_back(
    learn: Callable[..., tuple[FitResult, RunFolder]], monkeypatch: pytest.MonkeyPatch
) -> None:
    write = DirectionsFile.write

    def interrupted(self: DirectionsFile) -> None:
        write(self)
        if len(self.rows) == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(DirectionsFile, "write", interrupted)
        learned, folder = learn("run", 5)
    assert learned.summary.stop_reason == "interrupted"
    assert [epoch.epoch for epoch in DirectionsRecord.read(folder.directions).epochs] == [0, 1, 2]


def test_weights_that_are_no_numbers_are_left_out(learn: Callable[..., tuple[FitResult, RunFolder]]) -> None:
    calls = 0

    def transform(pixels: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        # 1 call for the output shape, and 2 training batches and 1 validation batch an epoch.
        return TRANSFORM(pixels) * (1.0 if calls <= 4 else float("nan"))

    learned, folder = learn("run", 5, pipeline=Pipeline("exploding", transform, SHAPE))
    assert learned.summary.stop_reason == "not finite"
    assert [epoch.epoch for epoch in DirectionsRecord.read(folder.directions).epochs] == [0, 1]
