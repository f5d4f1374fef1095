"""Name the files of a run, and make sure that a folder may become one."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from onelayer.errors import OnelayerError


class RunFolder:
    """The folder of a run: the path of every file in it.

    Args:
        path: Path of the folder, the value of ``--out``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.record = path / "run.json"
        self.history = path / "history.csv"
        self.train_figure = path / "train.png"
        self.directions = path / "directions.json"
        self.directions_figure = path / "directions.png"
        self.other_recipes = path / "recipes.json"
        self.other_layers = path / "recipes"
        self.metrics = path / "metrics.json"
        self.examples = path / "comparison.safetensors"
        self.comparison_figure = path / "comparison.png"
        self.predictions_figure = path / "predictions.png"
        self.weights_figure = path / "weights.png"
        self.benchmark = path / "benchmark.json"
        self.benchmark_figure = path / "benchmark.png"
        self.page = path / "report.html"
        self.layer = path / "layer"
        self.checkpoints = path / "checkpoints"
        self.logs = path / "logs"

    @property
    def holds_run(self) -> bool:
        """Whether a run was started here."""
        return self.record.exists()

    def check_free(self, *, overwrite: bool, room: int) -> None:
        """Make sure that a new run may start here, and make the folder. Existing files are not touched.

        Args:
            overwrite: Whether an existing run may be replaced.
            room: Number of bytes that the run will need.

        Raises:
            OnelayerError: If the folder holds a run and ``overwrite`` is false, holds something else, cannot be
                written, or lies where there is not enough room.
        """
        if self.holds_run and not overwrite:
            raise OnelayerError(
                f"{self.path} already holds a run",
                hint="Go on with it (--resume), replace it (--overwrite), or name another folder (--out).",
            )
        try:
            if not self.holds_run and self.path.exists() and any(self._foreign()):
                raise OnelayerError(
                    f"{self.path} is not empty and holds no run of onelayer", hint="Name another folder (--out)."
                )
            self.path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path):
                pass
            free = shutil.disk_usage(self.path).free
        except OSError as error:
            raise OnelayerError(
                f"{self.path} cannot be written: {error.strerror}", hint="Name another folder (--out)."
            ) from None
        if free < room:
            raise OnelayerError(
                f"there is room for {free / 2**20:,.0f} MiB in {self.path}",
                expected=f"{room / 2**20:,.0f} MiB for the checkpoints of this run",
                hint="Make room, or name another folder (--out).",
            )

    def _foreign(self) -> Iterator[Path]:
        # A run that was killed while it wrote its very first file leaves that file's beginning.
        return (path for path in self.path.iterdir() if path.name != self.record.name + ".partial")

    def clear(self) -> None:
        """Remove the files of a run, and only these; its record stays, to be replaced by that of the next run.

        A run that is killed in between thus leaves a folder that still is a run's, and can be overwritten.
        """
        for path in vars(self).values():
            if path in (self.path, self.record):
                continue
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def other_recipe_folder(self, name: str) -> RunFolder:
        """Name the files of a layer that another recipe learns: those of a run, as far as they are kept."""
        return RunFolder(self.other_layers / name)

    def remove_results(self) -> bool:
        """Remove all results of the learned layer, because another layer takes its place.

        Layers of other recipes stay: they do not depend on it.

        Returns:
            Whether there were any results.
        """
        results = (
            self.directions_figure,
            self.metrics,
            self.examples,
            self.comparison_figure,
            self.predictions_figure,
            self.weights_figure,
            self.benchmark,
            self.benchmark_figure,
            self.page,
        )
        there = [path for path in results if path.exists()]
        for path in there:
            path.unlink()
        return bool(there)
