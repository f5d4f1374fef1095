"""Bit for bit: what a transform is with the rounding of the library that it is from."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import PIL.Image
import torch
from torchvision import tv_tensors
from torchvision.transforms import functional as f1

from onelayer.algebra import Lookup, Separable, SpatialSparse, Stage
from onelayer.algebra.operator import FloatArray
from onelayer.errors import OnelayerError
from onelayer.frontends.base import Handler, handler_for
from onelayer.image_spec import ImageSpec

EXACT: dict[Handler, Handler] = {}
"""What the handlers of real arithmetic are bit for bit. A handler that only copies values needs no other form."""

NOT_EXACT = "Use rounding='fused' for real arithmetic, or fullgraph=False to leave this transform to its library."


def exactly(*handlers: Handler) -> Callable[[Handler], Handler]:
    """Decorate what some handlers are bit for bit."""

    def keep(exact: Handler) -> Handler:
        EXACT.update(dict.fromkeys(handlers, exact))
        return exact

    return keep


def exact_stages(transform: Any, given: ImageSpec) -> tuple[list[Stage], ImageSpec]:
    """A transform's stages with every rounding that it does, and what leaves it.

    Raises:
        OnelayerError: If it cannot be had bit for bit, or not at all.
    """
    handler = handler_for(transform)
    exact = EXACT.get(getattr(handler, "__wrapped__", handler))
    if exact is not None and not hasattr(handler, "__wrapped__"):
        return exact(transform, given)
    stages, after = handler(transform, given)
    if exact is not None and stages:
        return exact(transform, given)
    if not all(_copies(stage, given) for stage in stages):
        raise OnelayerError(
            "its rounding is not known, so its result cannot be had bit for bit",
            expected="a transform whose every rounding is known, which is the default for uint8 images",
            hint=NOT_EXACT,
        )
    return stages, after


def _copies(stage: Stage, given: ImageSpec) -> bool:
    """Whether every output value is an input value or a constant that needs no rounding."""
    match stage:
        case Separable():
            matrices = [stage.channel, stage.rows.weights, stage.cols.weights]
        case SpatialSparse():
            matrices = [stage.channel, stage.matrix.data[:, None]]
            if stage.matrix.nnz and int(np.diff(stage.matrix.indptr).max()) > 1:
                return False
        case _:
            return False
    one_each = all(
        bool(((matrix == 0.0) | (matrix == 1.0)).all() and (np.count_nonzero(matrix, axis=1) <= 1).all())
        for matrix in matrices
    )
    return one_each and (given.is_float or bool((stage.bias == np.rint(stage.bias)).all()))


def tabulated(transform: Any, given: ImageSpec, after: ImageSpec) -> list[Stage]:
    """A transform that acts on every byte alone, as a table of what it makes of each.

    Args:
        transform: It is called with an image in which every value comes up in every channel.
        given: What arrives at it, uint8.
        after: What leaves it.
    """
    channels = given.shape[0]
    # A transform with a probability of 1 draws a number nevertheless.
    quietly = torch.random.fork_rng(devices=[]) if hasattr(transform, "p") else nullcontext()
    with quietly:
        table = _values_of(transform(_every_value(given, after)), channels)
    lookup = Lookup(table[0] if bool((table == table[0]).all()) else table)
    return [] if lookup.is_identity and not after.is_float else [lookup]


def _every_value(given: ImageSpec, after: ImageSpec) -> Any:
    values = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16).repeat(given.shape[0], 1, 1)
    if given.container == "pil":
        return f1.to_pil_image(values)
    if given.container == "image":
        return tv_tensors.Image(values)
    # An array is a tensor here, but for what makes a tensor of it.
    is_read = given.container == "numpy" and after.container == "tensor"
    return values.movedim(0, -1).numpy() if is_read else values


def _values_of(image: Any, channels: int) -> FloatArray:
    if isinstance(image, PIL.Image.Image):
        values = np.moveaxis(np.atleast_3d(np.asarray(image)), -1, 0)
    else:
        values = image.to(torch.float64).numpy()
    return np.asarray(values, dtype=np.float64).reshape(channels, 256)
