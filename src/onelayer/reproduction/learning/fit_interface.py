"""Describe how a layer is fitted in a run folder, and the outcome, by whatever recipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from onelayer.dense_layer import DenseLayer
from onelayer.errors import OnelayerError
from onelayer.reproduction.records import Device, TrainingSettings, TrainingSummary
from onelayer.reproduction.run_folder import RunFolder

if TYPE_CHECKING:
    from onelayer.reproduction.learning.callbacks import EpochFile  # which imports Lightning


@dataclass(frozen=True)
class FitOptions:
    """How and where to fit a layer.

    Attributes:
        settings: Options of learning.
        folder: Run folder; it must exist.
        device: Device to learn on.
        resume: Whether to go on from the last checkpoint of the folder, if there is one.
        epoch_files: Further files with a row per epoch. The time that they take is no part of the epoch's.
    """

    settings: TrainingSettings
    folder: RunFolder
    device: Device
    resume: bool = False
    epoch_files: Sequence[EpochFile[Any]] = ()


@dataclass(frozen=True)
class FitResult:
    """A learned layer.

    Attributes:
        layer: Layer of the best epoch, on the CPU, in evaluation mode.
        summary: Course of learning.
    """

    layer: DenseLayer
    summary: TrainingSummary


def loss_not_finite(epoch: int, settings: TrainingSettings, *, kept: str) -> OnelayerError:
    """Make the error for a loss that became infinite or NaN.

    Args:
        epoch: Epoch of that loss, counted from 1.
        settings: Options of learning.
        kept: What is left, and where, as a sentence without a full stop.
    """
    return OnelayerError(
        f"the loss became infinite or NaN in epoch {epoch}",
        hint=f"{kept}. Try a smaller learning rate, say --lr {settings.lr / 10:g}.",
    )
