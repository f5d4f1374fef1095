"""Learning a dense layer in place of a function, by one of several recipes."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from onelayer import serialize as layer_files
from onelayer.algebra import Dense
from onelayer.dense_layer import DenseLayer
from onelayer.errors import Interrupted, OnelayerError
from onelayer.pipelines import Pipeline
from onelayer.records import Shape
from onelayer.reproduction.history import Epoch, read_history
from onelayer.reproduction.learning.callbacks import EpochFile
from onelayer.reproduction.learning.conversion import layer_of, operator_of
from onelayer.reproduction.learning.directions import IMAGES, Directions
from onelayer.reproduction.learning.fit import Device, Learned, fit
from onelayer.reproduction.learning.image_sums import ImageSums
from onelayer.reproduction.learning.least_squares_fit import fit_least_squares
from onelayer.reproduction.learning.regression import unit_range
from onelayer.reproduction.learning.whitened_fit import fit_whitened
from onelayer.reproduction.learning.whitening import most_images
from onelayer.reproduction.records import OtherLayer, OtherRecipesRecord, Recipe, TrainingSettings
from onelayer.reproduction.run_folder import RunFolder
from onelayer.verification import verify
from onelayer.verification.certificate import Certificate

WHITENED = TrainingSettings(epochs=5, patience=5)
"""Of ``adam-whitened``, if nothing else is said: all of a few epochs, as its learning rate falls over them."""

FEW = IMAGES
"""Images that least squares finds the layer from already. Directions are told from no more: sums go on from there."""

_VALIDATION = 10
"""One image in so many is kept for validation, if none are given."""


@dataclass(frozen=True, eq=False)
class LearnedLayer:
    """What a recipe found.

    Attributes:
        recipe: Which.
        operator: The layer, in float64.
        history: Training and validation error by epoch; a single one for least squares.
        images: That it learned from.
        seconds: That learning took, the function's own time included.
        certificate: How far it is from the function on the validation images and on nasty ones, and over all images
            where that can be proved.
    """

    recipe: Recipe
    operator: Dense
    history: tuple[Epoch, ...]
    images: int
    seconds: float
    certificate: Certificate

    def layer(self) -> DenseLayer:
        """The layer in float32, which :func:`onelayer.save` takes."""
        return layer_of(self.operator, torch.float32)


def learn(
    transform: Callable[[torch.Tensor], torch.Tensor],
    images: Any,
    *,
    recipe: Recipe = "least-squares",
    validation: Any = None,
    settings: TrainingSettings | None = None,
) -> LearnedLayer:
    """Learn one dense layer in place of a function of images.

    * ``least-squares``: the best layer there is for these images, in one pass, in float64.
    * ``adam-whitened``: gradient descent on whitened images.
    * ``report``: the report's, gradient descent on images as they are, with early stopping.

    Args:
        transform: Takes float32 [N, C, H, W] in [0, 1], gives [N, C', H', W']; or a :class:`onelayer.Pipeline`.
        images: uint8 [N, C, H, W], array or tensor.
        recipe: One of the three.
        validation: uint8 [M, C, H, W]; None for a tenth of the images, drawn at random.
        settings: Of gradient descent, and the seed; None for the recipe's own.

    Raises:
        OnelayerError: For images of another kind, too few of them, an unknown recipe, or a function that fails.
    """
    if recipe not in get_args(Recipe):
        raise OnelayerError(f"recipe {recipe!r} was asked for", expected=f"one of {', '.join(get_args(Recipe))}")
    settings = settings or (WHITENED if recipe == "adam-whitened" else TrainingSettings())
    train, held_out = _parts(images, validation, settings.seed)
    pipeline = _pipeline(transform, (train.shape[1], train.shape[2], train.shape[3]))
    with tempfile.TemporaryDirectory() as folder:
        run = RunFolder(Path(folder))
        learned = learn_by(recipe, pipeline, train, held_out, settings, run, "cpu")
        history = read_history(run.history)
    operator = operator_of(learned.layer)
    certificate = verify(learned.layer.float(), pipeline, unit_range(torch.from_numpy(np.array(held_out))))
    return LearnedLayer(recipe, operator, tuple(history), len(train), learned.summary.seconds, certificate)


def learn_by(
    recipe: Recipe,
    pipeline: Pipeline,
    train: NDArray[np.uint8],
    validation: NDArray[np.uint8],
    settings: TrainingSettings,
    folder: RunFolder,
    device: Device,
    *,
    resume: bool = False,
    beside: Sequence[EpochFile[Any]] = (),
) -> Learned:
    """Learn in a run folder: arguments, files and errors are those of :func:`onelayer.reproduction.learning.fit.fit`.

    Returns:
        How it went, and the layer: of float32 for the report's recipe, of float64 for the others, of which nothing is
        kept beside.
    """
    match recipe:
        case "report":
            return fit(pipeline, train, validation, settings, folder, device, resume=resume, beside=beside)
        case "adam-whitened":
            return fit_whitened(ImageSums(pipeline, train), validation, settings, folder, device, resume=resume)
        case "least-squares":
            return fit_least_squares(ImageSums(pipeline, train), validation, folder)


@dataclass(frozen=True)
class Other:
    """A layer to learn beside a run's own.

    Attributes:
        name: What it is called in records, and its folder.
        recipe: How.
        images: From so many of the run's training images, the first.
    """

    name: str
    recipe: Recipe
    images: int


def others_beside(own: Recipe, pipeline: Pipeline, train: int) -> tuple[Other, ...]:
    """What is learned beside a run's own layer, from the fewest images to the most.

    Least squares from few images and from all, and Adam on whitened images, from as many as memory holds; without what
    the run's own recipe has found already, and without the few where there are no more.

    Args:
        own: The run's own recipe.
        pipeline: The ground truth.
        train: How many training images there are.
    """
    few = [Other(f"least-squares-{FEW}", "least-squares", FEW)] if train > FEW else []
    every: list[Other] = [
        Other("least-squares", "least-squares", train),
        Other("adam-whitened", "adam-whitened", min(train, most_images(pipeline))),
    ]
    return tuple(sorted([*few, *(other for other in every if other.recipe != own)], key=lambda other: other.images))


def learn_others(
    others: Sequence[Other],
    sums: ImageSums,
    directions: Directions | None,
    validation: NDArray[np.uint8],
    whitened: TrainingSettings,
    folder: RunFolder,
    device: Device,
) -> None:
    """Learn layers beside a run's own, as far as they are not there yet.

    Each is saved and recorded before the next begins; one that was interrupted goes on from its last epoch. Sums over
    the images are shared.

    Args:
        others: From the fewest images to the most.
        sums: Of the training images, over no more than the fewest yet.
        directions: In which the errors of the layers are told as well; None where they are not known.
        validation: uint8 [M, C, H, W].
        whitened: The options of Adam on whitened images.
        folder: The run folder.
        device: Where Adam works.

    Raises:
        OnelayerError: If a loss became infinite or NaN in the first epoch.
        Interrupted: If a signal came while Adam was learning.
    """
    done = OtherRecipesRecord.read(folder.other_recipes).layers if folder.other_recipes.exists() else ()
    missing = [other for other in others if other.name not in {layer.name for layer in done}]
    if not missing:
        return
    most = most_images(sums.pipeline)
    for other in missing:
        own = folder.other_layer(other.name)
        own.path.mkdir(parents=True, exist_ok=True)
        if other.recipe == "least-squares":
            learned = fit_least_squares(sums, validation, own, images=other.images)
        else:
            learned = fit_whitened(sums, validation[:most], whitened, own, device, images=other.images, resume=True)
        if learned.summary.stop_reason == "interrupted":
            raise Interrupted(f"Learning by {other.recipe} stopped after {learned.summary.epochs_run} whole epochs.")
        layer_files.save(learned.layer, own.layer, pipeline=sums.pipeline.name)
        found = OtherLayer(
            name=other.name,
            recipe=other.recipe,
            images=other.images,
            epochs=learned.summary.epochs_run,
            seconds=learned.summary.seconds,
            device=learned.summary.device,
            directions=directions.errors(learned.layer) if directions is not None else None,
        )
        done = (*done, found)
        OtherRecipesRecord(layers=done).write(folder.other_recipes)
        for unneeded in (own.checkpoints, own.logs):
            shutil.rmtree(unneeded, ignore_errors=True)


def _pipeline(transform: Callable[[torch.Tensor], torch.Tensor], shape: Shape) -> Pipeline:
    if not isinstance(transform, Pipeline):
        return Pipeline(getattr(transform, "__name__", type(transform).__name__), transform, shape)
    if transform.input_shape != shape:
        raise OnelayerError(
            f"images of {shape} were given for pipeline {transform.name!r}",
            expected=f"images of {transform.input_shape}",
        )
    return transform


def _parts(images: Any, validation: Any, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
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
    count = max(1, len(pixels) // _VALIDATION)
    return pixels[order[count:]], pixels[order[:count]]


def _pixels(images: Any, name: str) -> NDArray[np.uint8]:
    array = images.numpy() if isinstance(images, torch.Tensor) else np.asarray(images)
    if array.dtype != np.uint8 or array.ndim != 4:
        raise OnelayerError(
            f"{name} of {array.dtype} and shape {array.shape} were given", expected="uint8 [N, C, H, W]"
        )
    return array
