"""Learn by gradient descent with Lightning, on images as they are or whitened, in a run folder."""

from __future__ import annotations

import logging
import math
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from numpy.typing import NDArray
from torch import nn

from onelayer.console import progress_is_visible
from onelayer.dense_layer import DenseLayer
from onelayer.errors import Interrupted, OnelayerError
from onelayer.pipelines import Pipeline
from onelayer.reproduction.learning.callbacks import EpochBar, HistoryFile, RunCheckpoint, WholeCheckpoints
from onelayer.reproduction.learning.fit_interface import FitOptions, FitResult, loss_not_finite
from onelayer.reproduction.learning.least_squares import ImageSums
from onelayer.reproduction.learning.regression import VALIDATION_MSE, ImageBatches, Regression, WhitenedRegression
from onelayer.reproduction.learning.whitening import Whitening, whitened_rows
from onelayer.reproduction.records import Epoch, StopReason, TrainingSettings, TrainingSummary


def fit(pipeline: Pipeline, train: NDArray[np.uint8], validation: NDArray[np.uint8], options: FitOptions) -> FitResult:
    """Learn a dense layer in place of a pipeline.

    Writes ``history.csv``, ``checkpoints/`` (the best epoch and the last) and ``logs/`` (CSV and TensorBoard). The
    layer kept is that of the epoch with the smallest validation MSE, not the last one. Ctrl-C and SIGTERM end learning
    early; the layer of the whole epochs before is kept, and ``options.resume`` goes on from there.

    Args:
        pipeline: Ground truth.
        train: uint8 [N, C, H, W].
        validation: uint8 [M, C, H, W].
        options: Settings, run folder and device.

    Raises:
        OnelayerError: If the loss became infinite or NaN before the first epoch ended, or the checkpoint to go on from
            cannot be read.
        Interrupted: If a signal came before the first epoch ended.
    """
    generator = torch.Generator().manual_seed(options.settings.seed)
    layer = DenseLayer(pipeline.input_shape, pipeline.output_shape, generator)
    module = Regression(layer, pipeline, options.settings.lr)
    return FitResult(layer, _fit_module(module, train, validation, options))


def fit_whitened(
    sums: ImageSums, validation: NDArray[np.uint8], options: FitOptions, *, images: int | None = None
) -> FitResult:
    """Learn a dense layer from whitened images: files, interruption and errors are those of :func:`fit`.

    The bias starts at the mean output, which a step of Adam at a time takes an epoch to reach.

    Args:
        sums: Sums over the training images.
        validation: uint8 [M, C, H, W].
        options: Settings, run folder and device; images are whitened on the CPU.
        images: Number of the summed images to learn from, the first; None for all.

    Returns:
        The layer for images as they are, in float64; its seconds include summing, whenever that was, and whitening.

    Raises:
        OnelayerError: As :func:`fit`, and if the images are too many to be held in memory whitened.
    """
    pipeline, settings = sums.pipeline, options.settings
    summed = sums.over(images)
    started = time.perf_counter()
    whitening = Whitening.of(summed)
    # As bytes: what brings batches of images in their order brings any rows of bytes.
    train, held_out = (
        whitened_rows(whitening, pipeline, part).view(np.uint8) for part in (sums.pixels[:images], validation)
    )
    layer = DenseLayer(pipeline.input_shape, pipeline.output_shape, torch.Generator().manual_seed(settings.seed))
    with torch.no_grad():
        layer.bias.copy_(torch.from_numpy(summed.mean_output))
    before = sums.seconds + time.perf_counter() - started
    module = WhitenedRegression(layer, pipeline, settings.lr)
    summary = _fit_module(module, train, held_out, options)
    summary = summary.model_copy(update={"seconds": summary.seconds + before})
    return FitResult(DenseLayer.from_operator(whitening.undone(layer), torch.float64), summary)


def _fit_module(
    module: Regression, train: NDArray[np.uint8], validation: NDArray[np.uint8], options: FitOptions
) -> TrainingSummary:
    """Learn a module's layer; arguments, files and errors are those of :func:`fit`.

    Returns:
        The course of learning. The module's layer is that of the best epoch, on the CPU, in evaluation mode.
    """
    layer, settings, folder = module.layer, options.settings, options.folder
    history = HistoryFile(folder.history)
    stopping = EarlyStopping(
        VALIDATION_MSE, min_delta=settings.min_delta, patience=settings.patience, check_on_train_epoch_end=True
    )
    last = folder.checkpoints / "last.ckpt"
    checkpoint = last if options.resume and last.is_file() else None
    # Lightning would learn one epoch more before it saw that patience had run out already.
    patience_ran_out = checkpoint is not None and _patience_ran_out(_read_fitting(checkpoint, layer), stopping)
    with _quiet_lightning():
        trainer = pl.Trainer(
            accelerator="gpu" if options.device == "cuda" else "cpu",
            devices=settings.devices,
            # Processes started from here, not the command run again per device: only one may write the run.
            strategy="auto" if settings.devices == 1 else "ddp_spawn",
            max_epochs=settings.epochs,
            callbacks=[
                # First, so that its clock stops before the others begin.
                history,
                *options.epoch_files,
                stopping,
                RunCheckpoint(folder.checkpoints, "best", VALIDATION_MSE),
                # After the best, so that it carries the best's score.
                RunCheckpoint(folder.checkpoints, "last", None),
                *([EpochBar()] if progress_is_visible() else []),
            ],
            enable_progress_bar=progress_is_visible(),
            logger=[CSVLogger(folder.logs, name="csv"), TensorBoardLogger(folder.logs, name="tensorboard")],
            plugins=[WholeCheckpoints()],
            default_root_dir=folder.path,
            num_sanity_val_steps=0,
            enable_model_summary=False,
            log_every_n_steps=1,  # everything is logged per epoch; a larger number only warns about short epochs
        )
        batches = ImageBatches(train, validation, settings.batch_size, settings.seed)
        interrupted = not patience_ran_out and _run(trainer, module, batches, checkpoint)
    # Only epochs that the checkpoints know count: a signal may fall between the history's row and the checkpoint, and
    # with several devices the callback that saw the epochs lived in another process.
    best_saved, last_saved = _read(folder.checkpoints / "best.ckpt"), _read(last)
    # A signal may also fall between the two checkpoints.
    checkpoints = [saved for saved in (best_saved, last_saved) if saved is not None]
    latest = max(checkpoints, key=lambda saved: len(history.saved_in(saved)), default=None)
    for file in (history, *options.epoch_files):
        file.go_back_to(latest)
    epochs = history.rows
    stop_reason = _stop_reason(
        epochs,
        interrupted=interrupted,
        patience_ran_out=last_saved is not None and _patience_ran_out(last_saved, stopping),
    )
    best = history.saved_in(best_saved)[-1] if best_saved is not None else None
    if best_saved is None or best is None or not best.finite:
        raise _nothing_kept(stop_reason, settings)
    layer.load_state_dict(_layer_state(best_saved))
    layer.cpu().eval()
    last_mse = epochs[-1].validation_mse
    return TrainingSummary(
        device=options.device,
        epochs_run=len(epochs),
        best_epoch=best.epoch,
        best_validation_mse=best.validation_mse,
        last_validation_mse=last_mse if math.isfinite(last_mse) else None,
        stop_reason=stop_reason,
        seconds=sum(epoch.seconds for epoch in epochs),
        parameters=sum(parameter.numel() for parameter in layer.parameters()),
    )


def _run(trainer: pl.Trainer, module: Regression, batches: ImageBatches, checkpoint: Path | None) -> bool:
    """Train, and return whether a signal interrupted it."""
    try:
        trainer.fit(module, datamodule=batches, ckpt_path=checkpoint, weights_only=True)
    except SystemExit:
        # Lightning turns Ctrl-C into SystemExit and SIGTERM into a subclass of it, after an orderly shutdown; but it
        # does not end the processes of several devices, which would go on writing checkpoints.
        for process in getattr(trainer.strategy.launcher, "procs", []):
            process.kill()  # its own handler of SIGTERM waits for the others; a checkpoint is never half written
            process.join()
        return True
    return False


def _patience_ran_out(saved: dict[str, Any], stopping: EarlyStopping) -> bool:
    return bool(saved["callbacks"][stopping.state_key]["wait_count"] >= stopping.patience)


def _stop_reason(epochs: list[Epoch], *, interrupted: bool, patience_ran_out: bool) -> StopReason:
    if interrupted:
        return "interrupted"
    if epochs and not epochs[-1].finite:
        return "not finite"
    return "early stopping" if patience_ran_out else "all epochs done"


def _nothing_kept(reason: StopReason, settings: TrainingSettings) -> Exception:
    if reason == "interrupted":
        return Interrupted("Learning stopped in its first epoch, before there was anything to keep.")
    return loss_not_finite(1, settings, kept="No layer was kept")


def _read(checkpoint: Path) -> dict[str, Any] | None:
    """Read a checkpoint onto the CPU; None where there is no such file."""
    if not checkpoint.is_file():
        return None
    # weights_only: tensors and plain containers, no code.
    saved: dict[str, Any] = torch.load(checkpoint, map_location="cpu", weights_only=True)
    return saved


def _layer_state(saved: dict[str, Any]) -> dict[str, torch.Tensor]:
    return {name.removeprefix("layer."): value for name, value in saved["state_dict"].items()}


def _read_fitting(checkpoint: Path, layer: nn.Module) -> dict[str, Any]:
    """Read a checkpoint to go on from, and check that it is of such a layer."""
    try:
        saved = _read(checkpoint) or {}
        found = {name: value.shape for name, value in _layer_state(saved).items()}
    except Exception as error:  # noqa: BLE001 - a broken file makes the reader fail in any way it likes
        problem = f"{checkpoint} cannot be read ({type(error).__name__})"
    else:
        if found == {name: value.shape for name, value in layer.state_dict().items()}:
            return saved
        problem = f"{checkpoint} is of another layer"
    raise OnelayerError(problem, hint="Start again with --overwrite.")


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Silence Lightning's advertisements, and warnings that do not apply here."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            # The images are in memory already: worker processes would only add copies.
            warnings.filterwarnings("ignore", message=r".*does not have many workers.*")
            # The folder holds the best and the last checkpoint on purpose when a run is resumed.
            warnings.filterwarnings("ignore", message=r"Checkpoint directory .* exists and is not empty.*")
            # Lightning's own use of PyTorch, nothing that a reader of this output could change.
            warnings.filterwarnings("ignore", message=r".*treespec, LeafSpec.*", category=FutureWarning)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
