"""Keep the results of every epoch: checkpoints, and files with a row per epoch."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any, Generic, TypeVar

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar
from lightning.pytorch.plugins.io import TorchCheckpointIO

from onelayer.atomic_write import write_whole
from onelayer.reproduction.learning.directions import Directions
from onelayer.reproduction.learning.regression import TRAIN_MSE, VALIDATION_MSE
from onelayer.reproduction.records import DirectionsEpoch, Epoch, Recipe, write_history

Row = TypeVar("Row")


class WholeCheckpoints(TorchCheckpointIO):
    """Checkpoints that replace the old ones in one step.

    Lightning's own go through the system's folder for temporary files, and are then copied over the old ones if that
    lies on another file system: a process that is killed in between leaves neither.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:  # noqa: ARG002
        """Write all of the checkpoint, or nothing."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        content = io.BytesIO()
        torch.save(checkpoint, content)
        write_whole(path, content.getvalue())


class EpochBar(RichProgressBar):
    """Lightning's progress bar, with epochs counted from 1 and the error in scientific notation."""

    def __init__(self) -> None:
        super().__init__(refresh_rate=10, leave=False, console_kwargs={"stderr": True})

    def _get_train_description(self, current_epoch: int) -> str:
        return f"Epoch {current_epoch + 1}/{self.trainer.max_epochs}"

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:  # noqa: ARG002
        """Return the validation MSE of the last epoch."""
        mse = trainer.callback_metrics.get(VALIDATION_MSE)
        return {} if mse is None else {"MSE": f"{float(mse):.2e}"}


class RunCheckpoint(ModelCheckpoint):
    """A single checkpoint under a fixed name, also in a run folder that was moved or copied.

    Lightning writes absolute paths into its checkpoints, and where they no longer hold it forgets which epoch was the
    best: the first epoch after resuming would then take the place of a better one.

    Args:
        folder: Folder of the checkpoint.
        name: Name of the file, without its ending.
        monitor: Quantity that is smallest at the epoch to keep; None for the last epoch. (Lightning's own ``save_last``
            writes only when the best does, so that resuming would start from the best epoch.)
    """

    def __init__(self, folder: Path, name: str, monitor: str | None) -> None:
        super().__init__(
            folder, filename=name, monitor=monitor, save_on_train_epoch_end=True, enable_version_counter=False
        )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the scores of a checkpoint, for the files in the present folder."""

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


class EpochFile(pl.Callback, Generic[Row]):
    """A file with a row for every epoch.

    The rows travel in the checkpoint, so a resumed run continues the file of the checkpoint that it resumes from.

    Args:
        path: Path of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[Row] = []

    def write(self) -> None:
        """Write all rows, replacing the file."""
        raise NotImplementedError

    def to_plain(self, row: Row) -> Any:
        """Convert a row to numbers in plain containers."""
        raise NotImplementedError

    def from_plain(self, plain: Any) -> Row:
        """Convert the result of :meth:`to_plain` back to a row."""
        raise NotImplementedError

    def add(self, trainer: pl.Trainer, row: Row) -> None:
        """Add a row, and write; of several processes only the first writes."""
        self.rows.append(row)
        if trainer.is_global_zero:
            self.write()

    def state_dict(self) -> dict[str, Any]:
        """Convert the rows to plain numbers."""
        return {"epochs": [self.to_plain(row) for row in self.rows]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the rows of a checkpoint."""
        self.rows = [self.from_plain(plain) for plain in state_dict["epochs"]]

    def go_back_to(self, checkpoint: dict[str, Any] | None) -> None:
        """Write only the rows that a checkpoint carries; none where there is no checkpoint."""
        self.rows = [] if checkpoint is None else self.saved_in(checkpoint)
        self.write()

    def saved_in(self, checkpoint: dict[str, Any]) -> list[Row]:
        """Return the rows that a checkpoint carries."""
        state = checkpoint["callbacks"].get(self.state_key, {"epochs": []})
        return [self.from_plain(plain) for plain in state["epochs"]]


class HistoryFile(EpochFile[Epoch]):
    """The file ``history.csv``, up to date after every epoch."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._started = 0.0

    def write(self) -> None:
        """Write all epochs."""
        write_history(self.path, self.rows)

    def to_plain(self, row: Epoch) -> Any:
        """List the numbers of a row."""
        return [row.epoch, row.train_mse, row.validation_mse, row.seconds]

    def from_plain(self, plain: Any) -> Epoch:
        """Make a row of such a list."""
        return Epoch(*plain)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Start the clock of the epoch."""
        self._started = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Add the row: validation has run by now, checkpoints are written after this."""
        metrics = trainer.callback_metrics
        seconds = time.perf_counter() - self._started
        errors = float(metrics[TRAIN_MSE]), float(metrics[VALIDATION_MSE])
        self.add(trainer, Epoch(trainer.current_epoch + 1, *errors, seconds))


class DirectionsFile(EpochFile[DirectionsEpoch]):
    """The file ``directions.json``: the errors by direction before the first epoch, and after each.

    Epochs after which they are no finite numbers are left out.

    Args:
        path: Path of the file.
        directions: Directions of the training images.
        recipe: Recipe of learning; its layer takes images as they are.
    """

    def __init__(self, path: Path, directions: Directions, recipe: Recipe) -> None:
        super().__init__(path)
        self.directions = directions
        self.recipe = recipe

    def write(self) -> None:
        """Write the record."""
        self.directions.record(self.recipe, self.rows).write(self.path)

    def to_plain(self, row: DirectionsEpoch) -> Any:
        """Convert a row to a dictionary of its numbers."""
        return row.model_dump()

    def from_plain(self, plain: Any) -> DirectionsEpoch:
        """Make a row of such a dictionary."""
        return DirectionsEpoch.model_validate(plain)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add the initial layer's errors, unless the run goes on from a checkpoint."""
        if trainer.current_epoch == 0:
            self._measure(trainer, pl_module, 0)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add the epoch; checkpoints are written after this."""
        self._measure(trainer, pl_module, trainer.current_epoch + 1)

    def _measure(self, trainer: pl.Trainer, pl_module: pl.LightningModule, epoch: int) -> None:
        if not trainer.is_global_zero:
            return
        errors = self.directions.errors(pl_module.layer)  # type: ignore[arg-type]  # the layer of a Regression
        if errors is not None:
            self.add(trainer, DirectionsEpoch(epoch=epoch, errors=errors))
