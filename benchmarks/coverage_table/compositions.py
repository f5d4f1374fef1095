"""Draw random chains of torchvision's affine transforms."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from onelayer.frontends.torchvision.rounding_rules import tensors_have_lanczos

Shape = tuple[int, int, int]

_LARGEST = 600
"""Largest side in pixels."""

Maker = Callable[[random.Random, Shape], Any]
"""Draws a transform for images of a shape; None if there is none."""


def _length(chance: random.Random, most: int = 400) -> int:
    # From 5 on: torch resizes float images to a width of one pixel wrongly, which onelayer refuses.
    return chance.randint(5, most)


def _resize(chance: random.Random, shape: Shape) -> v2.Resize | None:
    interpolation, antialias = chance.choice(
        [
            (v2.InterpolationMode.BILINEAR, True),
            (v2.InterpolationMode.BILINEAR, False),
            (v2.InterpolationMode.BICUBIC, True),
            (v2.InterpolationMode.BICUBIC, False),
            *([(v2.InterpolationMode.LANCZOS, True)] if tensors_have_lanczos() else []),
            (v2.InterpolationMode.NEAREST, False),
            (v2.InterpolationMode.NEAREST_EXACT, False),
        ]
    )
    short = _length(chance, 200)
    size = [_length(chance), _length(chance)]
    long = short * max(shape[1:]) / min(shape[1:])
    return v2.Resize(
        short if chance.random() < 0.5 and long < _LARGEST else size, interpolation=interpolation, antialias=antialias
    )


def _crop(chance: random.Random, shape: Shape) -> Any:
    _, height, width = shape
    rows, cols = (chance.randint(min(5, n), n) for n in (height, width))
    top, left = chance.randint(0, height - rows), chance.randint(0, width - cols)
    return partial(F.crop, top=top, left=left, height=rows, width=cols)


def _pad(chance: random.Random, shape: Shape) -> v2.Pad:
    mode = chance.choice(["constant", "edge", "reflect", "symmetric"])
    most = min(30, min(shape[1:]) - 1)
    sides = [chance.randint(0, most) for _ in range(4)]
    fill = chance.choice([0, chance.random()]) if mode == "constant" else 0
    return v2.Pad(sides, fill=fill, padding_mode=mode)


def _normalise(chance: random.Random, shape: Shape) -> v2.Normalize:
    mean, std = ([round(chance.uniform(0.1, 0.6), 3) for _ in range(shape[0])] for _ in range(2))
    return v2.Normalize(mean, std)


def _blur(chance: random.Random, shape: Shape) -> v2.GaussianBlur:
    sizes = [2 * chance.randint(1, min(7, n - 1)) + 1 for n in (shape[2], shape[1])]
    return v2.GaussianBlur(sizes, round(chance.uniform(0.3, 4.0), 3))


def _grayscale(chance: random.Random, _shape: Shape) -> v2.Grayscale:
    return v2.Grayscale(chance.choice([1, 3]))


def _permute(chance: random.Random, shape: Shape) -> Any:
    return partial(F.permute_channels, permutation=chance.sample(range(shape[0]), shape[0]))


def _rotate(chance: random.Random, _shape: Shape) -> Any:
    return partial(F.rotate, angle=float(chance.choice([90, 180, 270])), expand=True)


_MAKERS: tuple[Maker, ...] = (
    _resize,
    _resize,
    lambda chance, _shape: v2.CenterCrop([_length(chance, 300), _length(chance, 300)]),
    _crop,
    _pad,
    lambda _chance, _shape: v2.RandomHorizontalFlip(p=1),
    lambda _chance, _shape: v2.RandomVerticalFlip(p=1),
    _grayscale,
    _normalise,
    _blur,
    lambda _chance, _shape: v2.RandomInvert(p=1),
    _permute,
    _rotate,
)


def random_composition(chance: random.Random, shape: Shape) -> v2.Compose:
    """Draw one to five transforms, each of which can be applied to the output of those before it.

    Args:
        chance: Source of the random choices.
        shape: Shape of the image that arrives.
    """
    steps: list[Any] = []
    image = torch.zeros(shape)
    for _ in range(chance.randint(1, 5)):
        step = chance.choice(_MAKERS)(chance, tuple(image.shape))  # type: ignore[arg-type]
        output = step(image)
        if max(output.shape[1:]) > _LARGEST or min(output.shape[1:]) < 2:
            continue
        steps.append(step)
        image = output
    return v2.Compose(steps or [v2.RandomHorizontalFlip(p=1)])
