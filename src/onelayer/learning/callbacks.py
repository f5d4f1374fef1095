"""What is kept of every epoch."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ModelCheckpoint

from onelayer.history import Epoch, write_history
from onelayer.learning.regression import TRAIN_MSE, VALIDATION_MSE


class RunCheckpoint(ModelCheckpoint):
    """Keeps one checkpoint under one name, also in a run folder that was moved or copied.

    Lightning writes absolute paths into its checkpoints, and where they no longer hold it forgets which epoch was the
    best: the first epoch after resuming would then take the place of a better one.

    Args:
        folder: Where the checkpoint lies.
        name: Of the file, without its ending.
        monitor: Keep the epoch at which this is smallest; None keeps the last epoch. (Lightning's own ``save_last``
            writes only when the best does, so that resuming would start from the best epoch.)
    """

    def __init__(self, folder: Path, name: str, monitor: str | None) -> None:
        super().__init__(
            folder, filename=name, monitor=monitor, save_on_train_epoch_end=True, enable_version_counter=False
        )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The scores of the checkpoint, for the files that lie here now."""

        def here(path: str) -> str:
            return str(Path(str(self.dirpath)) / Path(path).name) if path else path

        moved = {
            "dirpath": self.dirpath,
            "best_model_path": here(state_dict["best_model_path"]),
            "kth_best_model_path": here(state_dict["kth_best_model_path"]),
            "last_model_path": here(state_dict["last_model_path"]),
            "best_k_models": {here(path): score for path, score in state_dict["best_k_models"].items()},
        }
        super().load_state_dict(state_dict | moved)


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

    def saved_in(self, checkpoint: dict[str, Any]) -> list[Epoch]:
        """The rows that a checkpoint carries."""
        return [Epoch(*row) for row in checkpoint["callbacks"][self.state_key]["epochs"]]
