"""Erase a rectangle of a tensor now and then, as torchvision does, with its numbers drawn in fewer calls.

Most of the original's time goes into calls of PyTorch for single numbers. The rectangle is written by torchvision's own
function. Sources: ``forward``, ``get_params`` and ``make_params`` of ``RandomErasing``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torchvision import transforms as v1
from torchvision.transforms import functional as f1
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as f2

from onelayer.frontends.base import CompileParts, Function, register_function
from onelayer.frontends.drawn_moves import TRIES
from onelayer.frontends.torchvision.drawn_numbers import (
    in_default_precision,
    number_between,
    place_below,
    sides_of_window,
)
from onelayer.image_spec import ImageSpec


@register_function(v1.RandomErasing)
def erasing_v1(transform: Any, spec: ImageSpec, compile_parts: CompileParts) -> Function | None:  # noqa: ARG001
    """Make a quicker erasing of v1."""
    value = transform.value
    values = [value] if isinstance(value, int | float) else None if isinstance(value, str) else list(value)
    if spec.container != "tensor" or not _fits(values, spec):
        return None
    return partial(_erased_v1, transform, values)


@register_function(v2.RandomErasing)
def erasing_v2(transform: Any, spec: ImageSpec, compile_parts: CompileParts) -> Function | None:  # noqa: ARG001
    """Make a quicker erasing of v2."""
    if spec.container not in ("tensor", "image") or not _fits(transform.value, spec):
        return None
    return partial(_erased_v2, transform)


def _fits(values: Sequence[float] | None, spec: ImageSpec) -> bool:
    return values is None or len(values) in (1, spec.shape[0])


def _happens(transform: Any) -> bool:
    """Draw whether a transform with a probability does anything."""
    return number_between() < in_default_precision(transform.p)


def _erased_v1(transform: Any, values: Sequence[float] | None, image: torch.Tensor) -> torch.Tensor:
    if not _happens(transform):
        return image
    log_ratio = torch.log(torch.tensor(transform.ratio)).tolist()
    window = _drawn(transform.scale, log_ratio, values, image)
    # Where it draws no window that fits, v1 writes the image into a copy of it.
    erased: torch.Tensor = f1.erase(image, *(window or (0, 0, *image.shape[-2:], image)), transform.inplace)
    return erased


def _erased_v2(transform: Any, image: torch.Tensor) -> torch.Tensor:
    if not _happens(transform):
        return image
    window = _drawn(transform.scale, transform._log_ratio.tolist(), transform.value, image)
    erased: torch.Tensor = image if window is None else f2.erase(image, *window, transform.inplace)
    return erased


def _drawn(
    scale: Sequence[float], log_ratio: Sequence[float], values: Sequence[float] | None, image: torch.Tensor
) -> tuple[int, int, int, int, torch.Tensor] | None:
    """Draw a window and what is written there; None where none fits.

    Args:
        scale: Smallest and largest part of the image.
        log_ratio: Smallest and largest logarithm of the quotient of the sides.
        values: Values of the window, one for all channels or one for each; None for noise.
        image: The image, [..., C, H, W].

    Returns:
        Top, left, height and width of the window, and its values.
    """
    channels, height, width = image.shape[-3:]
    for _ in range(TRIES):
        rows, cols = sides_of_window(height * width, scale, log_ratio)
        if rows < height and cols < width:
            if values is None:
                written = torch.empty([channels, rows, cols], dtype=torch.float32).normal_()
            else:
                written = torch.tensor([float(value) for value in values])[:, None, None]
            top = place_below(height - rows + 1)
            return top, place_below(width - cols + 1), rows, cols, written
    return None
