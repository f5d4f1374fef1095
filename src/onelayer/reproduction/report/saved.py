"""Read everything that a run has saved so far, and check that it fits together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open

from onelayer.bench.record import BenchmarkRecord
from onelayer.errors import OnelayerError
from onelayer.reproduction.records import (
    DirectionErrors,
    DirectionsRecord,
    Epoch,
    MetricsRecord,
    OtherRecipesRecord,
    RunRecord,
    read_history,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from onelayer.records import PipelineSummary
    from onelayer.reproduction.run_folder import RunFolder

    FloatImages = NDArray[np.float32]

_LAYER_PREFIX = "layer."
_WEIGHTS_PREFIX = "weights."


@dataclass(frozen=True)
class Pictures:
    """Some test images, float32: the examples, then the worst image of the first layer.

    Attributes:
        inputs: [K, C, H, W] in [0, 1].
        truth: Outputs of the transforms, [K, C', H', W'].
        layers: Outputs of each layer, [K, C', H', W'], by the names and in the order of metrics.json.
        weights: Weights of one output value in each layer, [C, H, W]; empty where they were not saved.
    """

    inputs: FloatImages
    truth: FloatImages
    layers: dict[str, FloatImages]
    weights: dict[str, FloatImages] = field(default_factory=dict)


@dataclass(frozen=True)
class SavedComparison:
    """The record metrics.json and its pictures."""

    metrics: MetricsRecord
    pictures: Pictures


@dataclass(frozen=True)
class SavedRun:
    """The records of a run; a part that was not run is None (no epochs, for the history).

    Attributes:
        name: Name of the folder, without those above it.
        run: Content of run.json.
        history: Rows of history.csv.
        directions: Content of directions.json.
        other_recipes: Content of recipes.json.
        comparison: Content of metrics.json, with its pictures.
        benchmark: Content of benchmark.json.
    """

    name: str
    run: RunRecord
    history: list[Epoch]
    directions: DirectionsRecord | None
    other_recipes: OtherRecipesRecord | None
    comparison: SavedComparison | None
    benchmark: BenchmarkRecord | None


def read_saved(folder: RunFolder) -> SavedRun:
    """Read the records of a run, as far as it has any.

    Raises:
        OnelayerError: If there is no run.json, or if an existing record cannot be read or contradicts another.
    """
    run = RunRecord.read(folder.record)
    others = OtherRecipesRecord.read(folder.other_recipes) if folder.other_recipes.exists() else None
    return SavedRun(
        name=folder.path.resolve().name,
        run=run,
        history=read_history(folder.history) if folder.history.exists() else [],
        directions=_read_directions(folder.directions, others) if folder.directions.exists() else None,
        other_recipes=others,
        comparison=_read_comparison(folder, run) if folder.metrics.exists() else None,
        benchmark=_read_benchmark(folder.benchmark) if folder.benchmark.exists() else None,
    )


def _read_comparison(folder: RunFolder, run: RunRecord) -> SavedComparison:
    metrics = MetricsRecord.read(folder.metrics)
    if not metrics.layers:
        raise OnelayerError(f"{folder.metrics} compares no layer", hint=f"Run `onelayer compare {folder.path}` again.")
    return SavedComparison(metrics, read_pictures(folder.examples, run.pipeline, metrics))


def read_pictures(path: Path, pipeline: PipelineSummary, metrics: MetricsRecord) -> Pictures:
    """Read comparison.safetensors.

    Args:
        path: Path of the file.
        pipeline: Pipeline of the run, for the shapes of inputs and outputs.
        metrics: Record beside the file, for the number of images and the names of layers.

    Raises:
        OnelayerError: If the file is missing, cannot be read, does not belong to these records, or holds numbers
            that are not finite.
    """
    hint = f"Run `onelayer compare {path.parent}` again."
    count = len(metrics.examples) + 1
    inputs, outputs = (count, *pipeline.input_shape), (count, *pipeline.output_shape)
    names = {layer.layer: _LAYER_PREFIX + layer.layer for layer in metrics.layers}
    weights = {name: _WEIGHTS_PREFIX + name for name in names} if metrics.weight_pixel is not None else {}
    expected: dict[str, tuple[int, ...]] = {"inputs": inputs, "truth": outputs}
    expected |= dict.fromkeys(names.values(), outputs)
    expected |= dict.fromkeys(weights.values(), pipeline.input_shape)
    try:
        with safe_open(path, framework="numpy") as file:
            # The header is checked first, so that nothing large or strange is loaded at all.
            _check_header(path, file, expected, hint)
            tensors = {key: file.get_tensor(key) for key in expected}
    except FileNotFoundError:
        raise OnelayerError(f"there is no {path.name} in {path.parent} beside its metrics.json", hint=hint) from None
    except (SafetensorError, OSError) as error:
        raise OnelayerError(f"{path} cannot be read: {error}", expected="a file of safetensors", hint=hint) from None
    for key, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise OnelayerError(f"{key} in {path} holds numbers that are not finite", hint=hint)
    return Pictures(
        inputs=tensors["inputs"],
        truth=tensors["truth"],
        layers={name: tensors[key] for name, key in names.items()},
        weights={name: tensors[key] for name, key in weights.items()},
    )


def _check_header(path: Path, file: Any, expected: Mapping[str, tuple[int, ...]], hint: str) -> None:
    # safetensors types its file object as Any.
    found = sorted(file.keys())
    if found != sorted(expected):
        raise OnelayerError(
            f"{path} holds the tensors {', '.join(found) or '(none)'}", expected=", ".join(sorted(expected)), hint=hint
        )
    for key, shape in expected.items():
        header = file.get_slice(key)
        if tuple(header.get_shape()) != shape or header.get_dtype() != "F32":
            raise OnelayerError(
                f"{key} in {path} does not fit the records beside it",
                expected=f"F32 of shape {shape}",
                hint=hint,
                shape=tuple(header.get_shape()),
                dtype=header.get_dtype(),
            )


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
    names = {peer.name for peer in record.peers}
    for case in record.cases:
        at = f"the row of {case.device}, batch size {case.batch_size}, in {path}"
        hint = f"Run `onelayer bench {path.parent}` again."
        if case.batch_size is None or case.batch_size < 1:
            raise OnelayerError(f"{at} cannot be", expected="a batch size of at least 1", hint=hint)
        if unknown := case.timings.keys() - names:
            raise OnelayerError(
                f"{at} times {', '.join(sorted(unknown))}", expected=f"only {', '.join(sorted(names))}", hint=hint
            )
        times = case.timings.values()
        if not all(0 < time.first_quartile <= time.third_quartile and time.median > 0 for time in times):
            raise OnelayerError(f"{at} holds impossible times", expected="positive quartiles in order", hint=hint)
    return record
