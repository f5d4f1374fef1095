"""Everything that a run has saved so far, read once and checked to fit together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from onelayer.errors import OnelayerError
from onelayer.reproduction.history import Epoch, read_history
from onelayer.reproduction.records import (
    BenchmarkRecord,
    DirectionErrors,
    DirectionsRecord,
    MetricsRecord,
    OtherRecipesRecord,
    RunRecord,
)
from onelayer.reproduction.report.pictures import Pictures, read_pictures

if TYPE_CHECKING:
    from pathlib import Path

    from onelayer.reproduction.run_folder import RunFolder


@dataclass(frozen=True)
class Comparison:
    """metrics.json and the pictures that belong to it."""

    metrics: MetricsRecord
    pictures: Pictures


@dataclass(frozen=True)
class SavedRun:
    """The records of one run; a part that was not run is None (no epochs, for the history)."""

    name: str
    """The folder's own name, without those above it."""
    run: RunRecord
    history: list[Epoch]
    directions: DirectionsRecord | None
    others: OtherRecipesRecord | None
    comparison: Comparison | None
    benchmark: BenchmarkRecord | None


def read_saved(folder: RunFolder) -> SavedRun:
    """Read what there is.

    Raises:
        OnelayerError: If there is no run.json, or if any record that is there cannot be read or contradicts another.
    """
    run = RunRecord.read(folder.record)
    others = OtherRecipesRecord.read(folder.other_recipes) if folder.other_recipes.exists() else None
    return SavedRun(
        name=folder.path.resolve().name,
        run=run,
        history=read_history(folder.history) if folder.history.exists() else [],
        directions=_read_directions(folder.directions, others) if folder.directions.exists() else None,
        others=others,
        comparison=_read_comparison(folder, run) if folder.metrics.exists() else None,
        benchmark=_read_benchmark(folder.benchmark) if folder.benchmark.exists() else None,
    )


def _read_comparison(folder: RunFolder, run: RunRecord) -> Comparison:
    metrics = MetricsRecord.read(folder.metrics)
    if not metrics.layers:
        raise OnelayerError(f"{folder.metrics} compares no layer", hint=f"Run `onelayer compare {folder.path}` again.")
    return Comparison(metrics, read_pictures(folder.examples, run.pipeline, metrics))


def _read_directions(path: Path, others: OtherRecipesRecord | None) -> DirectionsRecord | None:
    record = DirectionsRecord.read(path)
    groups = len(record.sizes)
    every = [epoch.errors for epoch in record.epochs]
    every += [layer.directions for layer in (others.layers if others else ()) if layer.directions is not None]
    if not groups or len(record.eigenvalues) != groups or not all(_fits(errors, groups) for errors in every):
        raise OnelayerError(
            f"{path} and the records beside it are not of the same directions, or hold impossible errors",
            expected=f"{groups} groups of directions, with errors of at least 0",
            hint=f"Run `onelayer reproduce --overwrite --out {path.parent}`.",
        )
    return record if record.epochs else None


def _fits(errors: DirectionErrors, groups: int) -> bool:
    values = (*errors.squared, *errors.left, errors.offset)
    return len(errors.squared) == len(errors.left) == groups and min(values) >= 0


def _read_benchmark(path: Path) -> BenchmarkRecord:
    record = BenchmarkRecord.read(path)
    keys = {way.key for way in record.ways}
    for row in record.rows:
        at = f"the row of {row.device}, batch size {row.batch_size}, in {path}"
        hint = f"Run `onelayer bench {path.parent}` again."
        if row.batch_size < 1:
            raise OnelayerError(f"{at} cannot be", expected="a batch size of at least 1", hint=hint)
        if unknown := row.timings.keys() - keys:
            raise OnelayerError(
                f"{at} times {', '.join(sorted(unknown))}", expected=f"only {', '.join(sorted(keys))}", hint=hint
            )
        if not all(0 < time.first_quartile <= time.third_quartile and time.median > 0 for time in row.timings.values()):
            raise OnelayerError(f"{at} holds impossible times", expected="positive quartiles in order", hint=hint)
    return record
