"""The steps of a run: learn, learn by other recipes, compare, benchmark. Each reads what those before it wrote."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import torch
from pydantic import ValidationError
from torch import nn

from onelayer import pipelines
from onelayer import serialize as layer_files
from onelayer.console import console
from onelayer.data import ImageParts, load_images
from onelayer.dense_layer import DenseLayer
from onelayer.environment import measured_here
from onelayer.errors import Interrupted, OnelayerError
from onelayer.layer import compile as compile_transforms
from onelayer.pipelines import Pipeline
from onelayer.reproduction.benchmark import REPEATS, run_report_table
from onelayer.reproduction.comparison import compare
from onelayer.reproduction.learn_request import DeviceChoice, LearnRequest
from onelayer.reproduction.learning.directions import DirectionsFile
from onelayer.reproduction.learning.fit import not_finite
from onelayer.reproduction.learning.image_statistics import ImageStatistics
from onelayer.reproduction.recipes import WHITENED, Other, learn_by, learn_others, others_beside
from onelayer.reproduction.records import MetricsRecord, OtherRecipesRecord, Recipe, RunRecord, TrainingSettings
from onelayer.reproduction.run_folder import RunFolder

Device = Literal["cpu", "cuda"]

QUICK_EPOCHS = 3
_QUICK_WHITENED_EPOCHS = 10
"""More than with all images, because they are short: with fewer steps the rate falls before anything is learned."""
_QUICK_IMAGES = {"train": 4000, "validation": 1000, "test": 1024}


def resolve_device(device: DeviceChoice) -> Device:
    """The device to work on.

    Raises:
        OnelayerError: If CUDA is asked for and there is none.
    """
    if device is DeviceChoice.cuda and not torch.cuda.is_available():
        raise OnelayerError(
            "--device cuda was given, but PyTorch sees no CUDA device here",
            hint="Use --device auto or cpu, or install a PyTorch with CUDA and a driver.",
        )
    return "cuda" if device is not DeviceChoice.cpu and torch.cuda.is_available() else "cpu"


def settings_of(options: Mapping[str, float | None], base: TrainingSettings) -> TrainingSettings:
    """``base`` with the options that were given.

    Raises:
        OnelayerError: If one is out of range.
    """
    given = {name: value for name, value in options.items() if value is not None}
    try:
        return TrainingSettings.model_validate(base.model_dump() | given)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        raise OnelayerError(
            f"--{name.replace('_', '-')} {given.get(name)} is out of range",
            expected=first["msg"].removeprefix("Input should be "),
        ) from None


def learn_step(request: LearnRequest, study: ImageStatistics | None = None) -> RunRecord:
    """Learn the layer of a run, or go on learning it; nothing to do is no error.

    Args:
        request: What to learn, on what, and where.
        study: Of the training images. If given, the error in each direction of the images is kept as well after every
            epoch of the report's recipe, where that can be told.

    Returns:
        The run's record, with its training summary.

    Raises:
        OnelayerError: If the request cannot be met, or the loss became infinite or NaN.
        Interrupted: If a signal ended learning early.
    """
    if request.resume and request.overwrite:
        raise OnelayerError("both --resume and --overwrite were given", expected="one of them, or neither")
    folder = RunFolder(request.out)
    device = resolve_device(request.device)
    if request.resume:
        record, images = _resumed(folder, request)
        _check_devices(record.settings, device)
        if _finished(record):
            return record
    else:
        record, images = _started(folder, request, device)
    record.write(folder.record)
    if folder.remove_results():
        console.print("What was measured on the layer so far is removed: another layer takes its place.")
    return _learn(folder, record, images, device, resume=request.resume, study=study)


def _check_devices(settings: TrainingSettings, device: Device) -> None:
    there = torch.cuda.device_count() if device == "cuda" else os.cpu_count() or 1
    if settings.devices > there:
        raise OnelayerError(
            f"--devices {settings.devices} was given, but there are {there} here",
            expected=f"at most {there} {'CUDA devices' if device == 'cuda' else 'processes, one per core'}",
        )


def _started(folder: RunFolder, request: LearnRequest, device: Device) -> tuple[RunRecord, ImageParts]:
    pipeline = pipelines.named("report")
    recipe: Recipe = request.recipe.value if request.recipe is not None else "report"
    base = WHITENED if recipe == "adam-whitened" else TrainingSettings()
    base = base.model_copy(update={"epochs": QUICK_EPOCHS}) if request.quick else base
    settings = settings_of(request.options, base)
    _check_devices(settings, device)
    folder.check_free(overwrite=request.overwrite, room=_room(pipeline))
    images = _images(
        "sample" if request.data is None else request.data,
        pipeline,
        settings.seed,
        quick=request.quick,
        skip_bad=request.skip_bad,
    )
    record = RunRecord(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        quick=request.quick,
        data=images.summary,
        pipeline=pipeline.summary(),
        settings=settings,
        environment=measured_here(),
        recipe=recipe,
    )
    # Only now, when nothing about the input can fail any more, does an old run go.
    folder.clear()
    return record, images


def _resumed(folder: RunFolder, request: LearnRequest) -> tuple[RunRecord, ImageParts]:
    record = RunRecord.read(folder.record)
    settings = settings_of(request.options, record.settings)
    changed = [
        f"--{name.replace('_', '-')}"
        for name, value in settings.model_dump().items()
        if name != "epochs" and value != getattr(record.settings, name)
    ]
    if request.quick and not record.quick:
        changed.append("--quick")
    if request.recipe is not None and request.recipe.value != record.recipe:
        changed.append("--recipe")
    if changed:
        raise OnelayerError(
            f"the run in {folder.path} was started with other values of {', '.join(changed)}",
            expected=", ".join(f"{name} {value:g}" for name, value in record.settings.model_dump().items()),
            hint="Leave them out (only --epochs may grow), or start anew with --overwrite or another --out.",
        )
    if settings.epochs < record.settings.epochs:
        raise OnelayerError(
            f"--epochs {settings.epochs} given with --resume", expected=f"at least the run's {record.settings.epochs}"
        )
    if record.training is not None and record.training.stop_reason == "not finite":
        raise OnelayerError(
            f"the loss of the run in {folder.path} became infinite or NaN, so it cannot go on",
            hint="Start anew with a smaller --lr and --overwrite.",
        )
    training = record.training
    if settings.epochs > record.settings.epochs and training is not None and training.stop_reason == "all epochs done":
        training = None
    update = {"settings": settings, "training": training}
    return record.model_copy(update=update), images_of(record, request.data)


def _finished(record: RunRecord) -> bool:
    return record.training is not None and record.training.stop_reason != "interrupted"


def _learn(
    folder: RunFolder,
    record: RunRecord,
    images: ImageParts,
    device: Device,
    *,
    resume: bool,
    study: ImageStatistics | None,
) -> RunRecord:
    pipeline, parts = pipelines.named(record.pipeline.name), (images.train, images.validation)
    directions = None
    if study is not None and record.recipe == "report":
        _, directions = study.of(pipeline, images.train)
    beside = [DirectionsFile(folder.directions, directions, record.recipe)] if directions is not None else []
    learned = learn_by(record.recipe, pipeline, *parts, record.settings, folder, device, resume=resume, beside=beside)
    layer_files.save(learned.layer, folder.layer, pipeline=pipeline.name)
    record = record.model_copy(update={"training": learned.summary})
    record.write(folder.record)
    summary = learned.summary
    best = f"epoch {summary.best_epoch} (validation MSE {summary.best_validation_mse:.3g})"
    kept = f"The layer of {best} is kept in {folder.layer}"
    if summary.stop_reason == "not finite":
        raise not_finite(summary.epochs_run, record.settings, kept=kept)
    if summary.stop_reason == "interrupted":
        epochs = "1 whole epoch" if summary.epochs_run == 1 else f"{summary.epochs_run} whole epochs"
        raise Interrupted(f"Learning stopped after {epochs}. {kept}.")
    return record


def images_of(record: RunRecord, data: str | None = None) -> ImageParts:
    """The images of a run, loaded again.

    Args:
        record: The run.
        data: Where they are now, if they have moved.

    Raises:
        OnelayerError: If they are not to be found, or are not the same images.
    """
    images = _images(
        record.data.source if data is None else data,
        pipelines.named(record.pipeline.name),
        record.settings.seed,
        quick=record.quick,
        skip_bad=record.data.skipped > 0,
    )
    if images.summary.key != record.data.key:
        raise OnelayerError(
            f"the images in {record.data.source if data is None else data} are not those of the run",
            expected=f"images with the key {record.data.key}, found {images.summary.key}",
            hint="Start a new run on them, or name with --data where the run's images are.",
        )
    return images


def _images(source: str, pipeline: Pipeline, seed: int, *, quick: bool, skip_bad: bool) -> ImageParts:
    images = load_images(source, shape=pipeline.input_shape, seed=seed, skip_bad=skip_bad)
    if images.summary.skipped:
        console.print(f"{images.summary.skipped} images could not be used and are left out.")
    return images.thinned(**_QUICK_IMAGES) if quick else images


def _room(pipeline: Pipeline) -> int:
    """Bytes: two checkpoints (weights and Adam's two moments), one being written, the layer, and the rest."""
    weights = 4 * math.prod(pipeline.input_shape) * math.prod(pipeline.output_shape)
    return 3 * 3 * weights + weights + 50 * 2**20


def other_recipes_step(folder: RunFolder, device: Device, study: ImageStatistics, data: str | None = None) -> None:
    """Learn what the other recipes find in a run's images, as far as that was not learned yet.

    Writes ``recipes.json`` and the layers, in ``recipes/``.

    Raises:
        OnelayerError: If the images are not to be found.
        Interrupted: If a signal ended it early.
    """
    record = RunRecord.read(folder.record)
    images, pipeline = images_of(record, data), pipelines.named(record.pipeline.name)
    epochs = _QUICK_WHITENED_EPOCHS if record.quick else WHITENED.epochs
    whitened = WHITENED.model_copy(update={"epochs": epochs, "seed": record.settings.seed})
    sums, directions = study.of(pipeline, images.train)
    learn_others(_others(record), sums, directions, images.validation, whitened, folder, device)


def other_recipes_missing(folder: RunFolder) -> bool:
    """Whether there is anything to do for :func:`other_recipes_step`."""
    return not {other.name for other in _others(RunRecord.read(folder.record))} <= _names_of_others(folder)


def _others(record: RunRecord) -> tuple[Other, ...]:
    return others_beside(record.recipe, pipelines.named(record.pipeline.name), record.data.train)


def _names_of_others(folder: RunFolder) -> set[str]:
    record = OtherRecipesRecord.read(folder.other_recipes) if folder.other_recipes.exists() else None
    return {layer.name for layer in record.layers} if record is not None else set()


def compare_step(folder: RunFolder, data: str | None = None) -> None:
    """Compare a run's layer, those of other recipes, and the derived one with its pipeline on the test images.

    Writes ``metrics.json`` and the pictures of it.
    """
    record, pipeline, layer = _learned(folder)
    layers: dict[str, nn.Module] = {"learned": layer}
    if folder.other_recipes.exists():
        for other in OtherRecipesRecord.read(folder.other_recipes).layers:
            layers[other.name] = _layer_in(folder.other_layer(other.name).layer, pipeline)
    layers["derived"] = compile_transforms(pipeline.transform)
    compare(pipeline, layers, images_of(record, data).test).write(folder)


def comparison_missing(folder: RunFolder) -> bool:
    """Whether there is no comparison yet, or one from before other recipes were learned."""
    if not folder.metrics.exists():
        return True
    return not _names_of_others(folder) <= {layer.layer for layer in MetricsRecord.read(folder.metrics).layers}


def bench_step(folder: RunFolder, device: Device, data: str | None = None, *, repeats: int | None = None) -> None:
    """Time a run's layer, and the derived one, against its transforms on the test images; writes ``benchmark.json``."""
    record, pipeline, layer = _learned(folder)
    run_report_table(
        pipeline,
        {"layer": layer, "derived": compile_transforms(pipeline.transform)},
        images_of(record, data).test,
        ("cpu", "cuda") if device == "cuda" else ("cpu",),
        repeats=repeats or REPEATS,
        quick=record.quick,
    ).write(folder.benchmark)


def _learned(folder: RunFolder) -> tuple[RunRecord, Pipeline, DenseLayer]:
    record = RunRecord.read(folder.record)
    pipeline = pipelines.named(record.pipeline.name)
    return record, pipeline, _layer_in(folder.layer, pipeline)


def _layer_in(path: Path, pipeline: Pipeline) -> DenseLayer:
    """A layer that was learned for a pipeline, in float32."""
    layer = layer_files.load_dense(path).float()
    found, expected = (layer.input_shape, layer.output_shape), (pipeline.input_shape, pipeline.output_shape)
    if found != expected:
        raise OnelayerError(
            f"the layer in {path} maps {found[0]} to {found[1]}",
            expected=f"{expected[0]} to {expected[1]}, as pipeline {pipeline.name!r} does",
            hint="Learn it again with --overwrite.",
        )
    return layer
