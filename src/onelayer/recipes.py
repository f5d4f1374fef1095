"""Learning a dense layer in place of a function, by one of several recipes."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track

from onelayer.certificate import Certificate
from onelayer.console import console
from onelayer.errors import OnelayerError
from onelayer.history import Epoch, read_history, write_history
from onelayer.learning.dense_layer import DenseLayer
from onelayer.learning.fit import Device, Learned, fit, fit_module
from onelayer.learning.least_squares import LeastSquares
from onelayer.learning.regression import DecayingRegression, unit_range
from onelayer.learning.whitening import WhitenedLayer
from onelayer.operators import Dense
from onelayer.operators.contract import FloatArray
from onelayer.pipelines import Pipeline
from onelayer.records import Recipe, Shape, TrainingSettings, TrainingSummary
from onelayer.run_folder import RunFolder
from onelayer.verification import verify

WHITENED = TrainingSettings(epochs=5, patience=5)
"""Of ``adam-whitened``, if nothing else is said: all of a few epochs, as its learning rate falls over them."""

_AT_ONCE = 2048
"""Images that the function is given at a time."""

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
        return _layer_of(self.operator, torch.float32)


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
) -> Learned:
    """Learn in a run folder: arguments, files and errors are those of :func:`onelayer.learning.fit.fit`.

    Returns:
        How it went, and the layer: of float32 for the report's recipe, of float64 for the others.
    """
    match recipe:
        case "report":
            return fit(pipeline, train, validation, settings, folder, device, resume=resume)
        case "adam-whitened":
            return _by_whitened_adam(pipeline, train, validation, settings, folder, device, resume=resume)
        case "least-squares":
            return _by_least_squares(pipeline, train, validation, folder)


def operator_of(layer: DenseLayer) -> Dense:
    """A layer as an operator in float64."""
    weight, bias = (parameter.detach().double().numpy() for parameter in (layer.weight, layer.bias))
    return Dense(weight, bias, layer.input_shape, layer.output_shape)


def _layer_of(operator: Dense, dtype: torch.dtype) -> DenseLayer:
    layer = DenseLayer(operator.in_shape, operator.out_shape).to(dtype)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(operator.weight.copy()))
        layer.bias.copy_(torch.from_numpy(operator.bias.copy()))
    return layer.eval()


def summed(pipeline: Pipeline, pixels: NDArray[np.uint8]) -> LeastSquares:
    """The sums that least squares takes, over images and what becomes of them."""
    sums = LeastSquares(pipeline.input_shape, pipeline.output_shape)
    begins = range(0, len(pixels), _AT_ONCE)
    for begin in track(begins, "Summing", console=console, transient=True, disable=len(begins) < 3):
        images = unit_range(torch.from_numpy(np.array(pixels[begin : begin + _AT_ONCE])))
        sums.partial_fit(images.numpy(), pipeline(images).numpy())
    return sums


def _by_least_squares(
    pipeline: Pipeline, train: NDArray[np.uint8], validation: NDArray[np.uint8], folder: RunFolder
) -> Learned:
    begin = time.perf_counter()
    operator, _ = summed(pipeline, train).solve()
    seconds = time.perf_counter() - begin
    here, there = (_mse(operator, pipeline, part[: len(validation)]) for part in (train, validation))
    write_history(folder.history, [Epoch(1, here, there, seconds)])
    summary = TrainingSummary(
        device="cpu",
        epochs_run=1,
        best_epoch=1,
        best_validation_mse=there,
        last_validation_mse=there,
        stop_reason="all epochs done",
        seconds=seconds,
        parameters=operator.weight.size + operator.bias.size,
    )
    return Learned(_layer_of(operator, torch.float64), summary)


def _by_whitened_adam(
    pipeline: Pipeline,
    train: NDArray[np.uint8],
    validation: NDArray[np.uint8],
    settings: TrainingSettings,
    folder: RunFolder,
    device: Device,
    *,
    resume: bool,
) -> Learned:
    begin = time.perf_counter()
    sums = summed(pipeline, train)
    generator = torch.Generator().manual_seed(settings.seed)
    shapes = pipeline.input_shape, pipeline.output_shape
    whitened = WhitenedLayer(*shapes, sums.mean, sums.factor(), sums.mean_output, generator)
    before = time.perf_counter() - begin
    module = DecayingRegression(whitened, pipeline, settings.lr)
    summary = fit_module(module, train, validation, settings, folder, device, resume=resume)
    summary = summary.model_copy(update={"seconds": summary.seconds + before})
    return Learned(_layer_of(whitened.unwhitened(), torch.float64), summary)


def _mse(operator: Dense, pipeline: Pipeline, pixels: NDArray[np.uint8]) -> float:
    images = unit_range(torch.from_numpy(np.array(pixels)))
    error: FloatArray = operator.apply(images.numpy()) - pipeline(images).numpy()
    return float(np.mean(error**2))


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
