"""What is kept of every epoch."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from onelayer.history import Epoch, write_history
from onelayer.learning.regression import TRAIN_MSE, VALIDATION_MSE


class HistoryFile(pl.Callback):
    """Keeps ``history.csv`` up to date, one row per epoch.

    The rows travel in the checkpoint, so a resumed run continues the table of the checkpoint that it resumes from.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.epochs: list[Epoch] = []
        self._started = 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Starts the clock of the epoch."""
        self._started = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Adds the row: validation has run by now, checkpoints are written after this."""
        metrics = trainer.callback_metrics
        epoch = Epoch(
            trainer.current_epoch + 1,
            float(metrics[TRAIN_MSE]),
            float(metrics[VALIDATION_MSE]),
            time.perf_counter() - self._started,
        )
        self.epochs.append(epoch)
        if trainer.is_global_zero:
            write_history(self.path, self.epochs)

    def state_dict(self) -> dict[str, Any]:
        """The rows, as plain numbers."""
        return {"epochs": [[row.epoch, row.train_mse, row.validation_mse, row.seconds] for row in self.epochs]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The rows of the checkpoint."""
        self.epochs = [Epoch(*row) for row in state_dict["epochs"]]
