"""Random images: noise, and the extremes that roundings and saturations show on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image
from torchvision import tv_tensors

Bytes = NDArray[np.uint8]
Size = tuple[int, int]
"""Height and width."""


def _noise(rng: Generator, shape: tuple[int, ...]) -> Bytes:
    return rng.integers(0, 256, shape, dtype=np.uint8)


def _extremes(rng: Generator, shape: tuple[int, ...]) -> Bytes:
    # Filters with negative weights overshoot most where black meets white.
    return rng.choice(np.array([0, 255], np.uint8), shape)


def _stripes(rng: Generator, shape: tuple[int, ...]) -> Bytes:
    period, place = int(rng.integers(1, 5)), np.arange(shape[-1]) + np.arange(shape[-2])[:, None] * int(rng.integers(2))
    return np.broadcast_to((place // period % 2 * 255).astype(np.uint8), shape).copy()


def _one_value(rng: Generator, shape: tuple[int, ...]) -> Bytes:
    return np.full(shape, rng.integers(0, 256), np.uint8)


def _impulses(rng: Generator, shape: tuple[int, ...]) -> Bytes:
    return np.where(rng.random(shape) < 0.05, _noise(rng, shape), rng.choice([0, 255])).astype(np.uint8)


def _slopes(rng: Generator, shape: tuple[int, ...]) -> Bytes:
    # Neighbours alike, as in photographs: sums lie near the halves that rounding decides.
    steps = rng.integers(-3, 4, shape)
    return np.clip(128 + np.cumsum(steps, axis=-1) + np.cumsum(steps, axis=-2), 0, 255).astype(np.uint8)


_CONTENTS: tuple[Callable[[Generator, tuple[int, ...]], Bytes], ...] = (
    _noise,
    _extremes,
    _stripes,
    _one_value,
    _impulses,
    _slopes,
)


def pixels(rng: Generator, channels: int, size: Size) -> Bytes:
    """Draw bytes [channels, height, width] of a random kind."""
    return _CONTENTS[rng.integers(len(_CONTENTS))](rng, (channels, *size))


def length(rng: Generator, longest: int) -> int:
    """Draw a length from 1 on; short ones are as likely as long ones."""
    return max(1, int(longest ** rng.random()))


def size(rng: Generator, longest: int) -> Size:
    """Draw height and width; sometimes of a very tall image, of which Pillow resizes the height first."""
    if rng.random() < 0.02:
        return int(rng.integers(201, 700)), int(rng.integers(1, 4))
    return length(rng, longest), length(rng, longest)


def as_tensor(rng: Generator, image: Bytes) -> torch.Tensor:
    """Make a tensor or a ``tv_tensors.Image``; channels first or last in memory; alone or in a batch."""
    tensor = torch.from_numpy(image)
    if rng.random() < 0.4:
        tensor = tensor.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    if rng.random() < 0.2:
        tensor = torch.stack([tensor, tensor.flip(-1)])
    return tv_tensors.Image(tensor) if rng.random() < 0.2 else tensor


def as_pil(image: Bytes) -> Image.Image:
    """Make a PIL image of mode L or RGB."""
    return Image.fromarray(image[0] if len(image) == 1 else np.ascontiguousarray(np.moveaxis(image, 0, -1)))
