"""Gradient descent takes the steps that a bare PyTorch loop would take, and keeps what it should."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DistributedSampler

from onelayer import DenseLayer, OnelayerError, Pipeline, pipelines
from onelayer.console import visible_progress
from onelayer.errors import Interrupted
from onelayer.reproduction.learning.callbacks import WholeCheckpoints
from onelayer.reproduction.learning.fit_interface import FitOptions, FitResult
from onelayer.reproduction.learning.gradient_descent import fit, fit_whitened
from onelayer.reproduction.learning.least_squares import ImageSums
from onelayer.reproduction.learning.regression import ImageBatches
from onelayer.reproduction.learning.whitening import Whitening, whitened_rows
from onelayer.reproduction.records import TrainingSettings, read_history
from onelayer.reproduction.run_folder import RunFolder

Pixels = Callable[..., NDArray[np.uint8]]
Fit = Callable[..., tuple[FitResult, RunFolder]]

TRAIN, VALIDATION = 64, 20
"""Two batches of 32 and a validation batch per epoch."""


@pytest.fixture
def learn(tmp_path: Path, flip: Pipeline, random_pixels: Pixels) -> Fit:
    """Learns the flip from 64 noise images; keyword arguments are training settings."""

    def run(
        name: str, *, pipeline: Pipeline = flip, resume: bool = False, train: int = TRAIN, **settings: float
    ) -> tuple[FitResult, RunFolder]:
        folder = RunFolder(tmp_path / name)
        folder.path.mkdir(exist_ok=True)
        options = TrainingSettings.model_validate({"batch_size": 32, "epochs": 5} | settings)
        pixels, held_out = random_pixels(train, flip.input_shape), random_pixels(VALIDATION, flip.input_shape, 1)
        return fit(pipeline, pixels, held_out, FitOptions(options, folder, "cpu", resume)), folder

    return run


def validation_mse(folder: RunFolder) -> list[float]:
    return [row.validation_mse for row in read_history(folder.history)]


def test_takes_the_steps_of_a_bare_loop(learn: Fit, flip: Pipeline, random_pixels: Pixels) -> None:
    learned, folder = learn("run", epochs=3, lr=0.001, seed=3, train=70)

    layer = DenseLayer(flip.input_shape, flip.output_shape, torch.Generator().manual_seed(3))
    adam = torch.optim.Adam(layer.parameters(), lr=0.001)
    train = torch.from_numpy(random_pixels(70, flip.input_shape)) / 255
    validation = torch.from_numpy(random_pixels(VALIDATION, flip.input_shape, 1)) / 255
    order = DistributedSampler(range(70), 1, 0, seed=3)
    history = []
    for epoch in range(3):
        order.set_epoch(epoch)
        losses, sizes = [], []
        for batch in torch.tensor(list(order)).split(32):
            loss = nn.functional.mse_loss(layer(train[batch]), flip(train[batch]))
            adam.zero_grad()
            loss.backward()
            adam.step()
            losses.append(loss.item())
            sizes.append(len(batch))
        history.append(
            (np.average(losses, weights=sizes), float(((layer(validation) - flip(validation)) ** 2).mean().detach()))
        )
    # Fused Adam, and x·(1/255) for x/255, round differently in the last bit.
    torch.testing.assert_close(learned.layer.weight, layer.weight, rtol=0, atol=1e-6)
    recorded = [(row.train_mse, row.validation_mse) for row in read_history(folder.history)]
    np.testing.assert_allclose(recorded, history, rtol=1e-5)
    assert recorded[-1][1] < recorded[0][1]


def test_takes_the_steps_of_a_bare_loop_on_whitened_images(
    tmp_path: Path, flip: Pipeline, random_pixels: Pixels
) -> None:
    pixels, held_out = random_pixels(70, flip.input_shape), random_pixels(VALIDATION, flip.input_shape, 1)
    settings = TrainingSettings(epochs=2, batch_size=32, seed=3)
    learned = fit_whitened(ImageSums(flip, pixels), held_out, FitOptions(settings, RunFolder(tmp_path), "cpu"))

    summed = ImageSums(flip, pixels).over()
    whitening = Whitening.of(summed)
    rows = torch.from_numpy(whitened_rows(whitening, flip, pixels))
    layer = DenseLayer(flip.input_shape, flip.output_shape, torch.Generator().manual_seed(3))
    with torch.no_grad():
        layer.bias.copy_(torch.from_numpy(summed.mean_output))
    adam = torch.optim.Adam(layer.parameters(), lr=settings.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, 2 * 3)
    order = DistributedSampler(range(70), 1, 0, seed=3)
    for epoch in range(2):
        order.set_epoch(epoch)
        for batch in torch.tensor(list(order)).split(32):
            inputs, targets = rows[batch, :30], rows[batch, 30:]
            adam.zero_grad()
            nn.functional.mse_loss(layer(inputs.reshape(-1, *flip.input_shape)).flatten(1), targets).backward()
            adam.step()
            schedule.step()
    assert learned.summary.best_epoch == 2, "choose settings with which the last epoch is the best"
    undone = whitening.undone(layer)
    np.testing.assert_allclose(learned.layer.weight.detach().numpy(), undone.weight, rtol=0, atol=1e-5)
    np.testing.assert_allclose(learned.layer.bias.detach().numpy(), undone.bias, rtol=0, atol=1e-5)


@pytest.mark.exhaustive
def test_learns(learn: Fit, flip: Pipeline) -> None:
    learned, _ = learn("run", epochs=150, lr=0.01, min_delta=0, train=300)
    images = torch.rand(50, *flip.input_shape)
    assert float((learned.layer(images) - flip(images)).detach().abs().max()) < 0.01
    assert learned.summary.best_validation_mse < 1e-5


def test_keeps_the_best_epoch_and_resumes_from_the_last(learn: Fit, flip: Pipeline, random_pixels: Pixels) -> None:
    learned, folder = learn("run", epochs=4, lr=1.0)
    mse = validation_mse(folder)
    best = int(np.argmin(mse)) + 1
    assert best < 4, "choose a learning rate at which the last epoch is not the best"
    assert learned.summary.best_epoch == best
    validation = torch.from_numpy(random_pixels(VALIDATION, flip.input_shape, 1)) / 255
    reached = float(((learned.layer(validation) - flip(validation)) ** 2).mean().detach())
    assert reached == pytest.approx(mse[best - 1], rel=1e-5)
    epochs = [torch.load(folder.checkpoints / f"{name}.ckpt", weights_only=True)["epoch"] for name in ("best", "last")]
    assert epochs == [best - 1, 3], "counted from 0"


def test_patience_counts_on_and_stays_out(learn: Fit) -> None:
    # No epoch after the first can fall by 1.0, so the three that follow it are the last.
    settings = {"patience": 3, "min_delta": 1.0}
    learn("run", epochs=2, **settings)
    first, folder = learn("run", epochs=50, resume=True, **settings)
    assert (first.summary.stop_reason, first.summary.epochs_run) == ("early stopping", 4)
    before = folder.history.read_bytes()
    again, _ = learn("run", epochs=50, resume=True, **settings)
    assert again.summary == first.summary
    assert folder.history.read_bytes() == before


def test_patience_that_runs_out_in_the_last_epoch(learn: Fit) -> None:
    assert learn("run", epochs=4, patience=3, min_delta=1.0)[0].summary.stop_reason == "early stopping"
    assert learn("other", epochs=3, patience=3, min_delta=1.0)[0].summary.stop_reason == "all epochs done"


def test_same_seed_same_weights_whatever_the_global_state(learn: Fit) -> None:
    torch.manual_seed(1)
    first = learn("first", epochs=1)[0].layer
    torch.manual_seed(2)
    before = torch.random.get_rng_state()
    second = learn("second", epochs=1)[0].layer
    assert torch.equal(first.weight, second.weight)
    assert torch.equal(torch.random.get_rng_state(), before), "learning must not touch the caller's random state"
    assert not torch.equal(first.weight, learn("third", epochs=1, seed=1)[0].layer.weight)


def test_resumed_learning_is_uninterrupted_learning_also_in_a_moved_run(learn: Fit) -> None:
    straight, straight_folder = learn("straight", epochs=4, lr=1.0)
    mse = validation_mse(straight_folder)
    assert min(mse[:3]) < mse[3], "choose a learning rate at which the fourth epoch is not the best"
    _, parts = learn("parts", epochs=3, lr=1.0)
    parts.path.rename(parts.path.with_name("moved"))
    moved, moved_folder = learn("moved", epochs=4, lr=1.0, resume=True)
    assert moved.summary.best_epoch == straight.summary.best_epoch < 4
    assert torch.equal(moved.layer.weight, straight.layer.weight)
    without_time = [
        [(row.epoch, row.train_mse, row.validation_mse) for row in read_history(folder.history)]
        for folder in (straight_folder, moved_folder)
    ]
    assert without_time[0] == without_time[1]


def interrupting(flip: Pipeline, good_calls: int) -> Pipeline:
    """A pipeline during which Ctrl-C is pressed, after so many batches."""
    calls = 0

    def transform(images: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls > good_calls:
            raise KeyboardInterrupt
        return flip(images)

    return Pipeline("interrupting", transform, flip.input_shape)


def test_interrupted_before_anything_was_kept(learn: Fit, flip: Pipeline) -> None:
    with pytest.raises(Interrupted, match="first epoch"):
        learn("run", pipeline=interrupting(flip, 2))


def test_interrupted_between_the_best_checkpoint_and_the_last(learn: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    write = WholeCheckpoints.save_checkpoint
    written: list[str] = []

    def interrupted(self: WholeCheckpoints, checkpoint: dict[str, object], path: object, **options: object) -> None:
        written.append(Path(str(path)).name)
        if written.count("last.ckpt") == 3:
            raise KeyboardInterrupt
        write(self, checkpoint, path, **options)

    with monkeypatch.context() as patched:
        patched.setattr(WholeCheckpoints, "save_checkpoint", interrupted)
        learned, folder = learn("run", epochs=4)
    assert written[-2:] == ["best.ckpt", "last.ckpt"], "the third epoch must be the best so far"
    # what is said of the layer is true of the layer that is kept
    assert learned.summary.best_epoch == learned.summary.epochs_run == 3
    best = torch.load(folder.checkpoints / "best.ckpt", weights_only=True)["state_dict"]["layer.weight"]
    assert torch.equal(learned.layer.weight, best)
    straight, _ = learn("straight", epochs=4)
    resumed, _ = learn("run", epochs=4, resume=True)
    assert torch.equal(resumed.layer.weight, straight.layer.weight)


def test_a_killed_write_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.ckpt"
    WholeCheckpoints().save_checkpoint({"epoch": 1}, path)

    def full(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="disk full"):
        WholeCheckpoints().save_checkpoint({"epoch": 2}, path)
    assert torch.load(path, weights_only=True) == {"epoch": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]


def test_a_checkpoint_that_is_broken_or_carries_code_is_named_and_does_nothing(learn: Fit) -> None:
    _, folder = learn("run", epochs=1)
    witness, last = folder.path / "witness", folder.checkpoints / "last.ckpt"

    class Harmful:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (witness,)

    torch.save(torch.load(last, weights_only=True) | {"harmful": Harmful()}, last)
    for _ in range(2):
        with pytest.raises(OnelayerError, match=r"last\.ckpt cannot be read"):
            learn("run", epochs=2, resume=True)
        assert not witness.exists()
        last.write_bytes(last.read_bytes()[:1000])


def exploding(flip: Pipeline, good_calls: int) -> Pipeline:
    """A pipeline whose truth becomes NaN after so many batches."""
    calls = 0

    def transform(images: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return flip(images) * (1.0 if calls <= good_calls else float("nan"))

    return Pipeline("exploding", transform, flip.input_shape)


def test_nan_stops_and_the_best_so_far_is_kept(learn: Fit, flip: Pipeline) -> None:
    # 1 call for the output shape, and 2 training batches and 1 validation batch an epoch
    learned, folder = learn("run", pipeline=exploding(flip, 1 + 2 * 3), epochs=20)
    assert learned.summary.stop_reason == "not finite"
    assert learned.summary.epochs_run == 3
    assert learned.summary.best_epoch == 2
    assert learned.summary.last_validation_mse is None
    assert torch.isfinite(learned.layer.weight).all()
    assert len(read_history(folder.history)) == 3


def test_nan_in_the_first_epoch_leaves_nothing(learn: Fit, flip: Pipeline) -> None:
    with pytest.raises(OnelayerError, match=r"NaN in epoch 1\. No layer was kept\. Try a smaller .* --lr 0\.0001"):
        learn("run", pipeline=exploding(flip, 2), epochs=20)


@pytest.mark.exhaustive
def test_two_processes_learn_together(tmp_path: Path, random_pixels: Pixels) -> None:
    report = pipelines.named("report")
    train, validation = random_pixels(64, report.input_shape), random_pixels(16, report.input_shape, 1)
    folders = [RunFolder(tmp_path / name) for name in ("two", "one")]
    for folder in folders:
        folder.path.mkdir()
    # Two processes with batches of 8 average their gradients: the steps of one process with the same 16 images.
    settings = TrainingSettings(epochs=2, batch_size=8, devices=2), TrainingSettings(epochs=2, batch_size=16)
    two, one = (
        fit(report, train, validation, FitOptions(each, folder, "cpu"))
        for each, folder in zip(settings, folders, strict=True)
    )
    # A step of Adam is as long as its rate, 1e-3, however small the gradient: where that is nearly zero, the rounding
    # of its sum shows.
    torch.testing.assert_close(two.layer.weight, one.layer.weight, rtol=0, atol=1e-5)
    assert [row.epoch for row in read_history(folders[0].history)] == [1, 2]
    assert two.summary.best_epoch == one.summary.best_epoch


def test_every_image_once_an_epoch_in_a_new_order(random_pixels: Pixels) -> None:
    pixels = random_pixels(50, (1, 1, 1))
    pixels[:, 0, 0, 0] = np.arange(50)
    loader = ImageBatches(pixels, pixels, batch_size=8, seed=0).train_dataloader()
    orders = []
    for epoch in range(2):
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        orders.append(torch.cat(list(loader)).flatten().tolist())
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(50))
    assert orders[0] != orders[1]


def test_training_does_not_write_to_the_images(flip: Pipeline, tmp_path: Path, random_pixels: Pixels) -> None:
    np.save(tmp_path / "pixels.npy", random_pixels(64, flip.input_shape))
    mapped = np.load(tmp_path / "pixels.npy", mmap_mode="r", allow_pickle=False)
    before = copy.deepcopy(np.asarray(mapped))
    folder = RunFolder(tmp_path / "mapped")
    folder.path.mkdir()
    fit(flip, mapped, mapped[:10], FitOptions(TrainingSettings(epochs=1), folder, "cpu"))
    np.testing.assert_array_equal(mapped, before)


def test_progress_is_shown_only_where_it_is_asked_for(learn: Fit, capfd: pytest.CaptureFixture[str]) -> None:
    learn("silent", epochs=1)
    assert capfd.readouterr() == ("", "")
    with visible_progress():
        learn("visible", epochs=1)
    assert "Epoch 1/1" in capfd.readouterr().err
