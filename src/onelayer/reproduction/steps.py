"""Run the steps of a run: learn, learn by the other recipes, compare, benchmark. Each reads the records before it."""

from __future__ import annotations

import math
import os
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import nn

from onelayer import pipelines
from onelayer import serialize as layer_files
from onelayer.console import console
from onelayer.data import ImageSplits, load_images
from onelayer.dense_layer import DenseLayer
from onelayer.environment import current_environment
from onelayer.errors import Interrupted, OnelayerError
from onelayer.frontends import ImageSpec, UnsupportedTransformError, derive
from onelayer.layer import compile as compile_transforms
from onelayer.pipelines import Pipeline
from onelayer.records import Shape
from onelayer.reproduction.benchmark import REPEATS, benchmark_run
from onelayer.reproduction.comparison import compare
from onelayer.reproduction.learn_request import DeviceChoice, LearnRequest
from onelayer.reproduction.learning.directions import SharedImageStatistics
from onelayer.reproduction.learning.fit_interface import FitOptions, loss_not_finite
from onelayer.reproduction.recipes import (
    WHITENED_SETTINGS,
    check_batches,
    fit_by,
    learn_other_recipes,
    other_recipes,
    require_gradient_descent,
    too_few_images,
)
from onelayer.reproduction.records import (
    Device,
    MetricsRecord,
    OtherRecipesRecord,
    Recipe,
    RunRecord,
    TrainingSettings,
    settings_of,
)
from onelayer.reproduction.run_folder import RunFolder

QUICK_EPOCHS = 3
_QUICK_WHITENED_EPOCHS = 10
"""More than with all images, because they are short: with fewer steps the rate falls before anything is learned."""
_QUICK_IMAGES = {"train": 4000, "validation": 1000, "test": 1024}


def resolve_device(device: DeviceChoice) -> Device:
    """Choose the device to work on.

    Raises:
        OnelayerError: If CUDA is asked for and there is none.
    """
    if device is DeviceChoice.cuda and not torch.cuda.is_available():
        raise OnelayerError(
            "--device cuda was given, but PyTorch sees no CUDA device here",
            hint="Use --device auto or cpu, or install a PyTorch with CUDA and a driver.",
        )
    return "cuda" if device is not DeviceChoice.cpu and torch.cuda.is_available() else "cpu"


def learn_step(request: LearnRequest, statistics: SharedImageStatistics | None = None) -> RunRecord:
    """Learn the layer of a run, or go on learning it; nothing to do is no error.

    Args:
        request: The user's request.
        statistics: Statistics of the training images, to be shared with other steps. If given, the error in each
            direction of the images is recorded after every epoch of the report's recipe, where it is defined.

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
        record, pipeline, images = _resumed(folder, request)
        _check_devices(record.settings, device)
        if _finished(record):
            return record
    else:
        record, pipeline, images = _started(folder, request, device)
    record.write(folder.record)
    if folder.remove_results():
        console.print("What was measured on the layer so far is removed: another layer takes its place.")
    if (problem := too_few_images(len(images.train), pipeline)) is not None:
        console.print(f"[yellow]Warning:[/yellow] {problem}.", highlight=False, soft_wrap=True)
    return _learn(folder, record, pipeline, images, device, resume=request.resume, statistics=statistics)


def _check_devices(settings: TrainingSettings, device: Device) -> None:
    available = torch.cuda.device_count() if device == "cuda" else os.cpu_count() or 1
    if settings.devices > available:
        raise OnelayerError(
            f"--devices {settings.devices} was given, but there are {available} here",
            expected=f"at most {available} {'CUDA devices' if device == 'cuda' else 'processes, one per core'}",
        )


def _started(folder: RunFolder, request: LearnRequest, device: Device) -> tuple[RunRecord, Pipeline, ImageSplits]:
    pipeline = pipelines.named("report") if request.pipeline is None else request.pipeline
    recipe: Recipe = request.recipe.value if request.recipe is not None else "report"
    if recipe != "least-squares":
        require_gradient_descent()
    base = WHITENED_SETTINGS if recipe == "adam-whitened" else TrainingSettings()
    base = base.model_copy(update={"epochs": QUICK_EPOCHS}) if request.quick else base
    settings = settings_of(request.options, base)
    _check_devices(settings, device)
    check_batches(pipeline)
    shapes = pipeline.input_shape, pipeline.output_shape
    with torch.device("meta"):  # a layer that no memory holds is refused before the disk is asked for room
        DenseLayer(*shapes)
    folder.check_free(overwrite=request.overwrite, room=_room(pipeline))
    images = _images(
        "sample" if request.data is None else request.data,
        pipeline.input_shape,
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
        environment=current_environment(),
        recipe=recipe,
    )
    # Only now, when nothing about the input can fail any more, does an old run go.
    folder.clear()
    return record, pipeline, images


def _resumed(folder: RunFolder, request: LearnRequest) -> tuple[RunRecord, Pipeline, ImageSplits]:
    record = RunRecord.read(folder.record)
    pipeline = pipeline_of(record, request.pipeline)
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
    return record.model_copy(update=update), pipeline, images_of(record, request.data)


def _finished(record: RunRecord) -> bool:
    return record.training is not None and record.training.stop_reason != "interrupted"


def _learn(
    folder: RunFolder,
    record: RunRecord,
    pipeline: Pipeline,
    images: ImageSplits,
    device: Device,
    *,
    resume: bool,
    statistics: SharedImageStatistics | None,
) -> RunRecord:
    epoch_files = []
    if statistics is not None and record.recipe == "report":
        require_gradient_descent()
        from onelayer.reproduction.learning.callbacks import DirectionsFile

        _, directions = statistics.of(pipeline, images.train)
        if directions is not None:
            epoch_files.append(DirectionsFile(folder.directions, directions, record.recipe))
    fitted = fit_by(
        record.recipe,
        pipeline,
        images.train,
        images.validation,
        FitOptions(record.settings, folder, device, resume, epoch_files),
    )
    layer_files.save(fitted.layer, folder.layer, pipeline=pipeline.name)
    record = record.model_copy(update={"training": fitted.summary})
    record.write(folder.record)
    summary = fitted.summary
    best = f"epoch {summary.best_epoch} (validation MSE {summary.best_validation_mse:.3g})"
    kept = f"The layer of {best} is kept in {folder.layer}"
    if summary.stop_reason == "not finite":
        raise loss_not_finite(summary.epochs_run, record.settings, kept=kept)
    if summary.stop_reason == "interrupted":
        epochs = "1 whole epoch" if summary.epochs_run == 1 else f"{summary.epochs_run} whole epochs"
        raise Interrupted(f"Learning stopped after {epochs}. {kept}.")
    return record


def pipeline_of(record: RunRecord, own: Pipeline | None = None) -> Pipeline:
    """Find the pipeline of a run.

    Nothing is imported or run because a record names it: a pipeline that is not built in has to be handed over.

    Args:
        record: Record of the run.
        own: Pipeline that the user names; None for a built-in one.

    Raises:
        OnelayerError: If the run's pipeline is not built in and ``own`` is None, or ``own`` is another pipeline.
    """
    name = record.pipeline.name
    if own is None:
        if name not in pipelines.names():
            raise OnelayerError(
                f"the run is one of {name}, which is no built-in pipeline",
                expected="that pipeline as well",
                hint=f"Name it behind the command: {name}",
            )
        return pipelines.named(name)
    if own.name != name or own.input_shape != record.pipeline.input_shape:
        raise OnelayerError(
            f"the pipeline {own.name} for images of {own.input_shape} is not the run's",
            expected=f"{name} for images of {record.pipeline.input_shape}",
            hint="Start a new run for it, with another --out.",
        )
    check_batches(own)
    if own.output_shape != record.pipeline.output_shape:
        raise OnelayerError(
            f"the pipeline {name} gives images of {own.output_shape}",
            expected=f"{record.pipeline.output_shape}, as when the run was started",
            hint="Was it changed? Start a new run, with --overwrite or another --out.",
        )
    return own


def images_of(record: RunRecord, data: str | None = None) -> ImageSplits:
    """Load the images of a run again.

    Args:
        record: Record of the run.
        data: Present place of the images, if they have moved.

    Raises:
        OnelayerError: If they are not to be found, or are not the same images.
    """
    source = record.data.source if data is None else data
    images = _images(
        source,
        record.pipeline.input_shape,
        record.settings.seed,
        quick=record.quick,
        skip_bad=record.data.skipped > 0,
    )
    if images.summary.key != record.data.key:
        raise OnelayerError(
            f"the images in {source} are not those of the run",
            expected=f"images with the key {record.data.key}, found {images.summary.key}",
            hint="Start a new run on them, or name with --data where the run's images are.",
        )
    return images


def _images(source: str, shape: Shape, seed: int, *, quick: bool, skip_bad: bool) -> ImageSplits:
    images = load_images(source, shape=shape, seed=seed, skip_bad=skip_bad)
    if images.summary.skipped:
        console.print(f"{images.summary.skipped} images could not be used and are left out.")
    return images.thinned(**_QUICK_IMAGES) if quick else images


def _room(pipeline: Pipeline) -> int:
    """Estimate the bytes of two checkpoints (weights and Adam's two moments), one being written, layer and the rest."""
    weights = 4 * math.prod(pipeline.input_shape) * math.prod(pipeline.output_shape)
    return 3 * 3 * weights + weights + 50 * 2**20


def other_recipes_step(
    folder: RunFolder,
    device: Device,
    statistics: SharedImageStatistics,
    data: str | None = None,
    pipeline: Pipeline | None = None,
) -> None:
    """Learn the layers of the other recipes from a run's images, as far as the run has not done so yet.

    Writes ``recipes.json`` and the layers, in ``recipes/``. Arguments are those of :func:`compare_step`.

    Raises:
        OnelayerError: If the images or the pipeline are not to be found.
        Interrupted: If a signal ended it early.
    """
    record = RunRecord.read(folder.record)
    original, images = pipeline_of(record, pipeline), images_of(record, data)
    epochs = _QUICK_WHITENED_EPOCHS if record.quick else WHITENED_SETTINGS.epochs
    whitened = WHITENED_SETTINGS.model_copy(update={"epochs": epochs, "seed": record.settings.seed})
    sums, directions = statistics.of(original, images.train)
    others = other_recipes(record.recipe, record.pipeline, record.data.train)
    learn_other_recipes(others, sums, directions, images.validation, whitened, folder, device)


def other_recipes_missing(folder: RunFolder) -> bool:
    """Check whether there is anything to do for :func:`other_recipes_step`."""
    record = RunRecord.read(folder.record)
    wanted = {other.name for other in other_recipes(record.recipe, record.pipeline, record.data.train)}
    return not wanted <= _names_of_other_recipes(folder)


def _names_of_other_recipes(folder: RunFolder) -> set[str]:
    record = OtherRecipesRecord.read(folder.other_recipes) if folder.other_recipes.exists() else None
    return {layer.name for layer in record.layers} if record is not None else set()


def compare_step(folder: RunFolder, data: str | None = None, pipeline: Pipeline | None = None) -> None:
    """Compare a run's layer, those of other recipes, and the derived one with its pipeline on the test images.

    Writes ``metrics.json`` and its pictures. Where the pipeline cannot be derived, there is no derived layer.

    Args:
        folder: Run folder.
        data: Present place of the images, if they have moved.
        pipeline: Pipeline of the run, where it is not built in; see :func:`pipeline_of`.
    """
    record, original, layer = _learned(folder, pipeline)
    layers: dict[str, nn.Module] = {"learned": layer}
    if folder.other_recipes.exists():
        for other in OtherRecipesRecord.read(folder.other_recipes).layers:
            layers[other.name] = _layer_in(folder.other_recipe_folder(other.name).layer, original)
    compare(original, layers | _derived(original), images_of(record, data).test).write(folder)


def comparison_missing(folder: RunFolder) -> bool:
    """Check whether there is no comparison yet, or one from before other recipes were learned."""
    if not folder.metrics.exists():
        return True
    return not _names_of_other_recipes(folder) <= {layer.layer for layer in MetricsRecord.read(folder.metrics).layers}


def bench_step(
    folder: RunFolder,
    device: Device,
    data: str | None = None,
    pipeline: Pipeline | None = None,
    *,
    repeats: int | None = None,
) -> None:
    """Time a run's layer, and the derived one, against its transforms on the test images; write ``benchmark.json``.

    Arguments are those of :func:`compare_step`, the device, and the number of rounds that count.
    """
    record, original, layer = _learned(folder, pipeline)
    benchmark_run(
        original,
        layer,
        images_of(record, data).test,
        ("cpu", "cuda") if device == "cuda" else ("cpu",),
        repeats=repeats or REPEATS,
        quick=record.quick,
    ).write(folder.benchmark)


def _learned(folder: RunFolder, own: Pipeline | None) -> tuple[RunRecord, Pipeline, DenseLayer]:
    record = RunRecord.read(folder.record)
    pipeline = pipeline_of(record, own)
    return record, pipeline, _layer_in(folder.layer, pipeline)


def _derived(pipeline: Pipeline) -> dict[str, nn.Module]:
    """Derive the layer of a pipeline, by the name that it has in records; nothing where that is not possible."""
    try:
        derive(pipeline.transform, ImageSpec(pipeline.input_shape, "float32", "tensor"))
    except UnsupportedTransformError:
        return {}
    return {"derived": compile_transforms(pipeline.transform, fullgraph=True)}


def _layer_in(path: Path, pipeline: Pipeline) -> DenseLayer:
    """Load a layer that was learned for a pipeline, in float32."""
    layer = layer_files.load_dense(path).float()
    found, expected = (layer.input_shape, layer.output_shape), (pipeline.input_shape, pipeline.output_shape)
    if found != expected:
        raise OnelayerError(
            f"the layer in {path} maps {found[0]} to {found[1]}",
            expected=f"{expected[0]} to {expected[1]}, as pipeline {pipeline.name!r} does",
            hint="Learn it again with --overwrite.",
        )
    return layer
