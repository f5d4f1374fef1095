"""Pipelines whose exported files are compared with the originals, and images for that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torchvision import transforms as v1
from torchvision.models import ResNet50_Weights
from torchvision.transforms import InterpolationMode, v2

import onelayer

NORMALIZE = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


def to_floats() -> list[Any]:
    return [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(**NORMALIZE)]


@dataclass(frozen=True)
class Case:
    """A pipeline and the containers that it takes."""

    make: Callable[[], Any]
    containers: tuple[str, ...] = ("pil", "tensor")


CASES = {
    "ImageNet evaluation of v2": Case(lambda: v2.Compose([v2.Resize(40), v2.CenterCrop(32), *to_floats()])),
    "ImageNet evaluation of v1": Case(
        lambda: v1.Compose([v1.Resize(40), v1.CenterCrop(32), v1.ToTensor(), v1.Normalize(**NORMALIZE)]), ("pil",)
    ),
    "a preset": Case(ResNet50_Weights.IMAGENET1K_V2.transforms, ("pil",)),
    "bicubic, squashed": Case(
        lambda: v2.Compose([v2.Resize((24, 36), interpolation=InterpolationMode.BICUBIC), *to_floats()])
    ),
    "lanczos": Case(lambda: v2.Resize((19, 23), interpolation=InterpolationMode.LANCZOS), ("pil",)),
    "box, and a long side": Case(lambda: v2.Resize(None, max_size=31, interpolation=InterpolationMode.BOX), ("pil",)),
    "without antialiasing": Case(lambda: v2.Resize((21, 34), antialias=False), ("tensor", "numpy")),
    "nearest": Case(lambda: v2.Resize((9, 40), interpolation=InterpolationMode.NEAREST)),
    "grayscale": Case(lambda: v2.Compose([v2.Resize(20), v2.Grayscale(), *to_floats()[:2]])),
    "grayscale of three channels, v1": Case(lambda: v1.Grayscale(3)),
    "crop beyond the image, filled pad, flips": Case(
        lambda: v2.Compose(
            [
                v2.CenterCrop((60, 9)),
                v2.RandomHorizontalFlip(1.0),
                v2.Pad((3, 0, 2, 5), fill=(10, 200, 30)),
                v2.RandomVerticalFlip(1.0),
            ]
        )
    ),
    "resize behind a table, pad of floats": Case(
        lambda: v2.Compose([v2.RandomPosterize(3, 1.0), v2.Resize(18), *to_floats(), v2.Pad(2, fill=0.5)])
    ),
    "reflection": Case(lambda: v2.Compose([v2.Resize((12, 15)), v2.Pad(4, padding_mode="reflect")])),
    "nearest rotation": Case(lambda: v2.RandomRotation((30, 30))),
    "a right angle": Case(lambda: v2.Compose([v2.RandomRotation((90, 90), expand=True), v2.Resize((8, 8))])),
}


def images(shape: tuple[int, int, int], container: str, seed: int = 0) -> list[Any]:
    """Make noise, black and white noise, and stripes: the last two overshoot."""
    generator = np.random.default_rng(seed)
    noise = generator.integers(0, 256, shape, dtype=np.uint8)
    extremes = generator.integers(0, 2, shape, dtype=np.uint8) * np.uint8(255)
    stripes = np.broadcast_to((np.arange(shape[2]) // 2 % 2 * 255).astype(np.uint8), shape)
    spec = onelayer.ImageSpec(shape, "uint8", container)  # type: ignore[arg-type]
    from onelayer.images.containers import image_of

    return [image_of(torch.from_numpy(pixels.copy()), spec) for pixels in (noise, extremes, stripes)]
