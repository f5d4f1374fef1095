"""history.csv: one row per epoch of learning."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from onelayer.atomic_write import write_whole
from onelayer.errors import OnelayerError


@dataclass(frozen=True)
class Epoch:
    """One pass over the training part. Epochs are counted from 1; errors are in units of the [0, 1] range, squared."""

    epoch: int
    train_mse: float
    """Mean over the epoch's batches, each taken before its own step."""
    validation_mse: float
    """Over the whole validation part, after the epoch."""
    seconds: float

    @property
    def finite(self) -> bool:
        """Whether both errors are finite numbers."""
        return math.isfinite(self.train_mse) and math.isfinite(self.validation_mse)


_COLUMNS = [field.name for field in fields(Epoch)]


def write_history(path: Path, epochs: list[Epoch]) -> None:
    """Write all epochs, replacing the file in one step."""
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow(_COLUMNS)
    writer.writerows(astuple(epoch) for epoch in epochs)
    write_whole(path, table.getvalue().encode("utf-8"))


def read_history(path: Path) -> list[Epoch]:
    """Read the epochs back.

    Raises:
        OnelayerError: If the file is missing or is not such a table.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            table = csv.DictReader(file)
            if table.fieldnames != _COLUMNS:
                raise ValueError(f"its columns are {table.fieldnames}")
            return [
                Epoch(int(row["epoch"]), float(row["train_mse"]), float(row["validation_mse"]), float(row["seconds"]))
                for row in table
            ]
    except FileNotFoundError:
        raise OnelayerError(
            f"there is no {path.name} in {path.parent}", hint="Name the folder of a run, as given to --out."
        ) from None
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise OnelayerError(
            f"{path} cannot be read: {error}", expected=f"a table with the columns {', '.join(_COLUMNS)}"
        ) from None
