"""Describe the outcome of learning, by whatever recipe."""

from __future__ import annotations

from dataclasses import dataclass

from onelayer.dense_layer import DenseLayer
from onelayer.errors import OnelayerError
from onelayer.reproduction.records import TrainingSettings, TrainingSummary


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
