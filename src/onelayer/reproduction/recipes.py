"""Learn a dense layer in place of a function, by one of several recipes."""

from __future__ import annotations

import math
import shutil
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from onelayer import serialize as layer_files
from onelayer.algebra import Dense
from onelayer.console import visible_progress
from onelayer.data import float_images
from onelayer.dense_layer import DenseLayer
from onelayer.errors import Interrupted, OnelayerError, require
from onelayer.formats import duration, grey_levels_at_most, mse_with_psnr
from onelayer.formats import shape as shape_text
from onelayer.frontends.base import name_of
from onelayer.pipelines import Pipeline
from onelayer.records import PipelineSummary, Shape
from onelayer.reproduction.learning.directions import COVARIANCE_IMAGES, Directions
from onelayer.reproduction.learning.fit_interface import FitOptions, FitResult
from onelayer.reproduction.learning.least_squares import ImageSums, fit_least_squares
from onelayer.reproduction.learning.whitening import max_whitened_images
from onelayer.reproduction.records import (
    Device,
    Epoch,
    OtherRecipeLayer,
    OtherRecipesRecord,
    Recipe,
    TrainingSettings,
    read_history,
)
from onelayer.reproduction.run_folder import RunFolder
from onelayer.verification import verify
from onelayer.verification.certificate import Certificate

# Lightning, an optional dependency, is imported only where gradient descent begins.

WHITENED_SETTINGS = TrainingSettings(epochs=5, patience=5)
"""Default options of ``adam-whitened``: all of a few epochs, as its learning rate falls over them."""

FEW_IMAGES = COVARIANCE_IMAGES
"""Images from which least squares finds the layer already; the directions are theirs, so that sums go on from there."""

_VALIDATION_DIVISOR = 10
"""Inverse of the share of images that is kept for validation, where none are given."""


@dataclass(frozen=True, eq=False, repr=False)
class LearnedLayer:
    """The result of a recipe.

    Attributes:
        recipe: Recipe of learning.
        operator: Layer, in float64.
        history: Training and validation error by epoch; a single one for least squares.
        images: Number of images learned from.
        seconds: Time of learning, the function's own included.
        certificate: Errors against the function on the validation images and on adversarial ones, and over all images
            where that can be proved.
    """

    recipe: Recipe
    operator: Dense
    history: tuple[Epoch, ...]
    images: int
    seconds: float
    certificate: Certificate

    def layer(self) -> DenseLayer:
        """Convert the layer to float32, for :func:`onelayer.save`."""
        return DenseLayer.from_operator(self.operator, torch.float32)

    def __repr__(self) -> str:
        best = min(epoch.validation_mse for epoch in self.history)
        bound = self.certificate.record.bound_grey_levels
        proved = (
            "no proved bound" if bound is None else f"proved error at most {grey_levels_at_most(bound)} grey levels"
        )
        return (
            f"LearnedLayer({shape_text(self.operator.in_shape)} → {shape_text(self.operator.out_shape)}, "
            f"{self.recipe}, {self.images:,} images, {duration(self.seconds)}, "
            f"validation MSE {mse_with_psnr(best)}, {proved})"
        )


def learn(
    transform: Callable[[torch.Tensor], torch.Tensor],
    images: Any,
    *,
    recipe: Recipe = "least-squares",
    validation: Any = None,
    settings: TrainingSettings | None = None,
    progress: bool = False,
) -> LearnedLayer:
    """Learn one dense layer in place of a function of images.

    * ``least-squares``: the layer of least mean squared error over these images, in one pass, in float64.
    * ``adam-whitened``: gradient descent on whitened images.
    * ``report``: the report's, gradient descent on images as they are, with early stopping.

    Gradient descent needs the packages of ``onelayer[reproduce]``.

    Args:
        transform: Function of float32 images [N, C, H, W] in [0, 1] that gives float32 [N, C', H', W'], or a
            :class:`onelayer.Pipeline`. It is always called with batches.
        images: uint8 [N, C, H, W], array or tensor.
        recipe: Recipe of learning.
        validation: uint8 [M, C, H, W]; None for a tenth of the images, drawn at random.
        settings: Options of gradient descent, and the seed; None for the recipe's default.
        progress: Whether to show progress on standard error.

    Raises:
        OnelayerError: For images of another kind, too few of them, an unknown recipe, a missing package, or a function
            that fails.

    Warns:
        UserWarning: If there are no more images than input values, which do not determine the layer.
    """
    if recipe not in get_args(Recipe):
        raise OnelayerError(f"recipe {recipe!r} was asked for", expected=f"one of {', '.join(get_args(Recipe))}")
    settings = settings or (WHITENED_SETTINGS if recipe == "adam-whitened" else TrainingSettings())
    train, held_out = _train_and_validation(images, validation, settings.seed)
    pipeline = _pipeline_of(transform, (train.shape[1], train.shape[2], train.shape[3]))
    if (problem := too_few_images(len(train), pipeline)) is not None:
        warnings.warn(problem, stacklevel=2)
    with visible_progress(progress), tempfile.TemporaryDirectory() as folder:
        run = RunFolder(Path(folder))
        fitted = fit_by(recipe, pipeline, train, held_out, FitOptions(settings, run, "cpu"))
        history = read_history(run.history)
        operator = fitted.layer.to_operator()
        certificate = verify(fitted.layer.float(), pipeline, float_images(held_out))
    return LearnedLayer(recipe, operator, tuple(history), len(train), fitted.summary.seconds, certificate)


def fit_by(
    recipe: Recipe,
    pipeline: Pipeline,
    train: NDArray[np.uint8],
    validation: NDArray[np.uint8],
    options: FitOptions,
) -> FitResult:
    """Learn in a run folder by a recipe.

    Arguments, files and errors are those of :func:`onelayer.reproduction.learning.gradient_descent.fit`. Only the
    report's recipe writes ``options.epoch_files``, and least squares takes the folder alone.

    Returns:
        The layer, of float32 for the report's recipe and of float64 for the others, and the course of learning.
    """
    if recipe == "least-squares":
        return fit_least_squares(ImageSums(pipeline, train), validation, options.folder)
    require_gradient_descent()
    from onelayer.reproduction.learning.gradient_descent import fit, fit_whitened

    if recipe == "report":
        return fit(pipeline, train, validation, options)
    return fit_whitened(ImageSums(pipeline, train), validation, options)


def require_gradient_descent() -> None:
    """Make sure that the packages of gradient descent are installed.

    Raises:
        OnelayerError: If one is not.
    """
    for module in ("lightning.pytorch", "tensorboard"):
        require(module, extra="reproduce", purpose="Learning by gradient descent")


def too_few_images(count: int, pipeline: Pipeline) -> str | None:
    """Describe what is wrong with learning from so few images; None where they are enough."""
    values = math.prod(pipeline.input_shape)
    if count > values:
        return None
    return (
        f"{count:,} images to learn from, but {values:,} values in each: so few images do not determine the layer, "
        f"which may be far off on others; learn from more than {values:,}"
    )


def check_batches(pipeline: Pipeline) -> None:
    """Try a pipeline on a batch of two black images.

    Raises:
        OnelayerError: If it fails, or gives anything but float32 [2, C', H', W'].
    """
    batch = torch.zeros(2, *pipeline.input_shape)
    try:
        output: object = pipeline.transform(batch)
    except OnelayerError:
        raise
    except Exception as error:  # anybody's code may raise anything
        raise OnelayerError(
            f"{pipeline.name} failed on a batch of images: {type(error).__name__}: {error}",
            expected="a function of float32 images [N, C, H, W] in [0, 1]",
            shape=tuple(batch.shape),
            dtype="float32",
        ) from error
    if not isinstance(output, torch.Tensor) or output.dtype != torch.float32 or output.dim() != 4 or len(output) != 2:
        found = (
            f"{str(output.dtype).removeprefix('torch.')} {tuple(output.shape)}"
            if isinstance(output, torch.Tensor)
            else type(output).__name__
        )
        raise OnelayerError(
            f"{pipeline.name} gave {found} for a batch of two images", expected="float32 [2, C', H', W']"
        )


@dataclass(frozen=True)
class OtherRecipe:
    """A recipe to compare with a run's own.

    Attributes:
        name: Name of its layer in records, and of its folder.
        recipe: Recipe of learning.
        images: Number of the run's training images to learn from, the first.
    """

    name: str
    recipe: Recipe
    images: int


def other_recipes(own: Recipe, pipeline: Pipeline | PipelineSummary, train: int) -> tuple[OtherRecipe, ...]:
    """List the recipes to compare with a run's own, from the fewest images to the most.

    Least squares from few images and from all, and Adam on whitened images, from as many as memory holds; without the
    run's own recipe, and without the few where there are no more.

    Args:
        own: Recipe of the run.
        pipeline: Ground truth.
        train: Number of training images.
    """
    few = [OtherRecipe(f"least-squares-{FEW_IMAGES}", "least-squares", FEW_IMAGES)] if train > FEW_IMAGES else []
    every: list[OtherRecipe] = [
        OtherRecipe("least-squares", "least-squares", train),
        OtherRecipe("adam-whitened", "adam-whitened", min(train, max_whitened_images(pipeline))),
    ]
    return tuple(sorted([*few, *(other for other in every if other.recipe != own)], key=lambda other: other.images))


def learn_other_recipes(
    others: Sequence[OtherRecipe],
    sums: ImageSums,
    directions: Directions | None,
    validation: NDArray[np.uint8],
    whitened: TrainingSettings,
    folder: RunFolder,
    device: Device,
) -> None:
    """Learn the layers of other recipes, as far as the run has not done so yet.

    Each is saved and recorded before the next begins; one that was interrupted goes on from its last epoch. Sums over
    the images are shared.

    Args:
        others: Recipes, from the fewest images to the most.
        sums: Sums over the training images, no more than the fewest so far.
        directions: Directions to measure the errors of the layers in; None where they are not known.
        validation: uint8 [M, C, H, W].
        whitened: Options of Adam on whitened images.
        folder: Run folder.
        device: Device of Adam.

    Raises:
        OnelayerError: If a loss became infinite or NaN in the first epoch, or a package is missing.
        Interrupted: If a signal came while Adam was learning.
    """
    done = OtherRecipesRecord.read(folder.other_recipes).layers if folder.other_recipes.exists() else ()
    missing = [other for other in others if other.name not in {layer.name for layer in done}]
    for other in missing:
        own = folder.other_recipe_folder(other.name)
        own.path.mkdir(parents=True, exist_ok=True)
        fitted = _fit_other(other, sums, validation, FitOptions(whitened, own, device, resume=True))
        if fitted.summary.stop_reason == "interrupted":
            raise Interrupted(f"Learning by {other.recipe} stopped after {fitted.summary.epochs_run} whole epochs.")
        layer_files.save(fitted.layer, own.layer, pipeline=sums.pipeline.name)
        found = OtherRecipeLayer(
            name=other.name,
            recipe=other.recipe,
            images=other.images,
            epochs=fitted.summary.epochs_run,
            seconds=fitted.summary.seconds,
            device=fitted.summary.device,
            directions=directions.errors(fitted.layer) if directions is not None else None,
        )
        done = (*done, found)
        OtherRecipesRecord(layers=done).write(folder.other_recipes)
        for unneeded in (own.checkpoints, own.logs):
            shutil.rmtree(unneeded, ignore_errors=True)


def _fit_other(other: OtherRecipe, sums: ImageSums, validation: NDArray[np.uint8], options: FitOptions) -> FitResult:
    if other.recipe == "least-squares":
        return fit_least_squares(sums, validation, options.folder, images=other.images)
    require_gradient_descent()
    from onelayer.reproduction.learning.gradient_descent import fit_whitened

    held_out = validation[: max_whitened_images(sums.pipeline)]
    return fit_whitened(sums, held_out, options, images=other.images)


def _pipeline_of(transform: Callable[[torch.Tensor], torch.Tensor], shape: Shape) -> Pipeline:
    if not callable(transform):
        raise OnelayerError(f"{type(transform).__name__} was given as a function", expected="something to call")
    pipeline = transform if isinstance(transform, Pipeline) else Pipeline(name_of(transform), transform, shape)
    if pipeline.input_shape != shape:
        raise OnelayerError(
            f"images of {shape} were given for pipeline {pipeline.name!r}",
            expected=f"images of {pipeline.input_shape}",
        )
    check_batches(pipeline)
    return pipeline


def _train_and_validation(images: Any, validation: Any, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    pixels = _pixels(images, "images")
    if validation is not None:
        held_out = _pixels(validation, "validation images")
        if held_out.shape[1:] != pixels.shape[1:] or not len(pixels) or not len(held_out):
            raise OnelayerError(
                f"images {pixels.shape} and validation images {held_out.shape} were given",
                expected="at least one of each, of one size",
            )
        return pixels, held_out
    if len(pixels) < 2:
        raise OnelayerError(f"{len(pixels)} images were given", expected="at least 2: one to learn, one to validate")
    order = np.random.default_rng(seed).permutation(len(pixels))
    count = max(1, len(pixels) // _VALIDATION_DIVISOR)
    return pixels[order[count:]], pixels[order[:count]]


def _pixels(images: Any, name: str) -> NDArray[np.uint8]:
    array = images.numpy() if isinstance(images, torch.Tensor) else np.asarray(images)
    if array.dtype != np.uint8 or array.ndim != 4:
        raise OnelayerError(
            f"{name} of {array.dtype} and shape {array.shape} were given", expected="uint8 [N, C, H, W]"
        )
    return array
