"""Training recipes as published code has them: random transforms from a PIL image to a normalised tensor.

Sources: ``references/classification/presets.py`` of torchvision; the tutorials and papers of CIFAR; SimCLR
(arXiv 2002.05709); ``main_pretrain.py`` of MAE; ``main_dino.py`` and ``utils.py`` of DINO;
``transform.py`` of open_clip; and timm's own ``create_transform``, with options of its training scripts.
"""

from __future__ import annotations

import copy
import importlib.util
import random
from collections.abc import Callable
from typing import Any

import PIL.ImageFilter
import PIL.ImageOps
import torch
from PIL.Image import Image
from torchvision import transforms as v1
from torchvision.transforms import v2

_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_OF_CLIP = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_BICUBIC = v1.InterpolationMode.BICUBIC


class GaussianBlur:
    """Blur PIL images now and then, as DINO does.

    Args:
        p: Probability.
    """

    def __init__(self, p: float) -> None:
        self.p = p

    def __call__(self, image: Image) -> Image:
        """Blur an image, or return it."""
        if random.random() > self.p:  # noqa: S311 - as DINO draws
            return image
        return image.filter(PIL.ImageFilter.GaussianBlur(random.uniform(0.1, 2.0)))  # noqa: S311


class Solarization:
    """Solarize PIL images now and then, as DINO does.

    Args:
        p: Probability.
    """

    def __init__(self, p: float) -> None:
        self.p = p

    def __call__(self, image: Image) -> Image:
        """Solarize an image, or return it."""
        return PIL.ImageOps.solarize(image) if random.random() < self.p else image  # noqa: S311


def _normalised(statistics: tuple[tuple[float, ...], tuple[float, ...]] = _IMAGENET) -> list[Any]:
    return [v1.ToTensor(), v1.Normalize(*statistics)]


def _classification(policy: Callable[[], Any] | None = None, erasing: float = 0.0) -> Callable[[int], Any]:
    def make(side: int) -> v1.Compose:
        steps = [v1.RandomResizedCrop(side, antialias=True), v1.RandomHorizontalFlip()]
        steps += [] if policy is None else [policy()]
        steps += [v1.PILToTensor(), v1.ConvertImageDtype(torch.float), v1.Normalize(*_IMAGENET)]
        return v1.Compose([*steps, v1.RandomErasing(erasing)] if erasing else steps)

    return make


def _second_version(side: int) -> v2.Compose:
    floats = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(*map(list, _IMAGENET))]
    return v2.Compose([v2.RandomResizedCrop(side), v2.RandomHorizontalFlip(), *floats])


def _cifar(side: int) -> v1.Compose:
    return v1.Compose([v1.RandomCrop(side, padding=4), v1.RandomHorizontalFlip(), *_normalised()])


def _simclr(side: int, blur: bool = True) -> v1.Compose:
    jitter = v1.RandomApply([v1.ColorJitter(0.8, 0.8, 0.8, 0.2)], p=0.8)
    steps = [v1.RandomResizedCrop(side), v1.RandomHorizontalFlip(), jitter, v1.RandomGrayscale(0.2)]
    steps += [v1.RandomApply([v1.GaussianBlur(side // 10 // 2 * 2 + 1)], p=0.5)] if blur else []
    return v1.Compose([*steps, v1.ToTensor()])


def _mae(side: int) -> v1.Compose:
    # 3 is bicubic.
    crop = v1.RandomResizedCrop(side, scale=(0.2, 1.0), interpolation=3)
    return v1.Compose([crop, v1.RandomHorizontalFlip(), *_normalised()])


def _clip(side: int) -> v1.Compose:
    crop = v1.RandomResizedCrop(side, scale=(0.9, 1.0), interpolation=_BICUBIC)
    return v1.Compose([crop, *_normalised(_OF_CLIP)])


def _view(side: int, scale: tuple[float, float], blur: float, solarize: float = 0.0) -> v1.Compose:
    jitter = v1.RandomApply([v1.ColorJitter(0.4, 0.4, 0.2, 0.1)], p=0.8)
    colors = v1.Compose([v1.RandomHorizontalFlip(p=0.5), jitter, v1.RandomGrayscale(p=0.2)])
    crop = v1.RandomResizedCrop(side, scale=scale, interpolation=_BICUBIC)
    last = [Solarization(solarize)] if solarize else []
    return v1.Compose([crop, colors, GaussianBlur(blur), *last, v1.Compose(_normalised())])


def _of_timm(**options: Any) -> Callable[[int], Any]:
    def make(side: int) -> Any:
        from timm.data import create_transform

        return create_transform((3, side, side), is_training=True, **options)

    return make


class MultiCrop:
    """Ten views of an image, as DINO makes them: two of 224 pixels a side and eight of 96.

    Args:
        side: Side of the larger views.
    """

    def __init__(self, side: int = 224) -> None:
        self.first = _view(side, (0.4, 1.0), 1.0)
        self.second = _view(side, (0.4, 1.0), 0.1, 0.2)
        self.small = _view(side * 96 // 224, (0.05, 0.4), 0.5)
        self.small_views = 8

    def __call__(self, image: Image) -> list[torch.Tensor]:
        """Make the views."""
        return [self.first(image), self.second(image), *(self.small(image) for _ in range(self.small_views))]

    def compiled(self, compile_view: Callable[[Any], Any]) -> MultiCrop:
        """Return the same with views that a function, such as ``onelayer.compile``, has compiled."""
        views = copy.copy(self)
        views.first, views.second, views.small = map(compile_view, (self.first, self.second, self.small))
        return views


RECIPES: dict[str, Callable[[int], Any]] = {
    "ImageNet": _classification(),
    "ImageNet, v2": _second_version,
    "ImageNet, RandAugment": _classification(v1.RandAugment),
    "ImageNet, TrivialAugment": _classification(v1.TrivialAugmentWide, 0.1),
    "ImageNet, AutoAugment": _classification(v1.AutoAugment),
    "CIFAR": _cifar,
    "SimCLR": _simclr,
    "SimCLR without its blur": lambda side: _simclr(side, blur=False),
    "MAE": _mae,
    "CLIP": _clip,
    "DINO, large view": lambda side: _view(side, (0.4, 1.0), 0.1, 0.2),
    "DINO, small view": lambda side: _view(side, (0.05, 0.4), 0.5),
}
"""Name of each recipe → how to make it, by the side of its crops."""

RECIPES_OF_TIMM: dict[str, Callable[[int], Any]] = {
    "timm, RandAugment": _of_timm(auto_augment="rand-m9-mstd0.5-inc1", re_prob=0.25, color_jitter=0.4),
    "timm, AutoAugment": _of_timm(auto_augment="original", interpolation="bicubic"),
    "timm, AugMix": _of_timm(auto_augment="augmix-m5-w4-d2"),
    "timm, 3-Augment": _of_timm(auto_augment="3a", color_jitter=0.3),
}
"""The same for recipes that timm makes, which has to be installed."""


def installed_recipes() -> dict[str, Callable[[int], Any]]:
    """Return all recipes whose libraries are installed."""
    return RECIPES | (RECIPES_OF_TIMM if importlib.util.find_spec("timm") is not None else {})
