"""Random cases with steps that run as they are, samples, any dtype, under any state; and all families of cases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from numpy.random import Generator
from torchvision import transforms as v1
from torchvision import tv_tensors
from torchvision.transforms import v2

from onelayer.selfcheck import families
from onelayer.selfcheck.contents import length
from onelayer.selfcheck.families import Case, Family


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def _deterministic() -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


STATES: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "usual": nullcontext,
    "float64 by default": partial(_default_dtype, torch.float64),
    "inference": torch.inference_mode,
    "no gradients": torch.no_grad,
    "deterministic algorithms": _deterministic,
    "the CPU by default": partial(torch.device, "cpu"),
}
"""States of PyTorch under which results are compared."""


def in_pieces(rng: Generator) -> Case:
    """Draw a pipeline with steps that run as they are, on images of any dtype, in samples, under any state."""
    case = families.pipeline(rng) if rng.random() < 0.8 else families.preset(rng)
    steps = list(getattr(case.transform, "transforms", [case.transform]))
    for _ in range(int(rng.integers(0, 3))):
        steps.insert(int(rng.integers(len(steps) + 1)), _step_of_its_own(rng))
    image = _of_any_type(rng, case.image)
    height, width = v2.functional.get_size(image)
    mask = tv_tensors.Mask(torch.arange(height * width).reshape(height, width) % 7)
    boxes = tv_tensors.BoundingBoxes([[0, 1, 2, 3]], format="XYXY", canvas_size=(height, width))
    others = [
        (),
        (3,),
        ({"label": torch.arange(2)},),
        (tv_tensors.Mask(torch.zeros(1, 5, 4)),),
        (image,),
        (mask,),
        ({"boxes": boxes, "label": torch.arange(2)}, mask),
    ]
    drawn = others[int(rng.integers(len(others)))] if rng.random() < 0.5 else ()
    return Case(v2.Compose(steps), image, others=drawn, state=str(rng.choice(list(STATES))), is_whole=False)


def _step_of_its_own(rng: Generator) -> Any:
    drawn: list[Callable[[], Any]] = [
        lambda: v2.Lambda(_itself),
        lambda: _itself,
        lambda: v2.GaussianBlur(3),
        lambda: v2.RandomHorizontalFlip(float(rng.choice([0, 0.5, 1]))),
        lambda: v1.RandomVerticalFlip(float(rng.choice([0, 0.5, 1]))),
        lambda: v2.RandomResizedCrop([length(rng, 30) + 1, length(rng, 30) + 1]),
        lambda: v2.RandomCrop(3, pad_if_needed=True),
        lambda: v2.ColorJitter(0.2),
        lambda: v2.RandomErasing(float(rng.choice([0, 0.5]))),
        lambda: v2.RandomApply([v2.Resize([7, 9])], p=float(rng.choice([0, 0.5, 1]))),
        lambda: v2.ToDtype(torch.float32, scale=True),
        lambda: v2.ToDtype(torch.uint8, scale=True),
    ]
    return drawn[rng.integers(len(drawn))]()


def _itself(image: Any) -> Any:
    return image


def _of_any_type(rng: Generator, image: Any) -> Any:
    if rng.random() < 0.6:
        return image
    if isinstance(image, torch.Tensor):
        dtype = (torch.int32, torch.float16, torch.int64, torch.uint16)[rng.integers(4)]
        return image.to(dtype)
    return image.convert(str(rng.choice(["RGBA", "L", "P", "1", "CMYK", "I", "F"])))


FAMILIES: dict[str, tuple[Family, int]] = {
    "PyTorch's resize of bytes": (families.torch_resize_of_bytes, 3),
    "PyTorch's resize in float32": (families.torch_resize_in_float32, 2),
    "Pillow's resize": (families.pillow_resize, 3),
    "luma": (families.luma, 1),
    "conversion to floating point": (families.conversion, 1),
    "functions of single values": (families.function_of_values, 1),
    "copies: crop, flip, pad, nearest": (families.copying, 1),
    "presets of torchvision's weights": (families.preset, 2),
    "whole pipelines": (families.pipeline, 6),
    "floating point, up to rounding": (families.float_pipeline, 3),
    "thresholds of Pillow's sums": (families.pillow_threshold, 1),
    "thresholds of PyTorch's sums of bytes": (families.torch_threshold, 1),
    "weights of PyTorch's sums in float32": (families.float32_weights, 1),
    "random crops, flips, resizes and borders": (families.augmentation, 4),
    "training recipes": (families.recipe, 4),
    "color jitter and other random colors": (families.random_colors, 3),
    "policies, rotations and erasing": (families.policy, 4),
    "pieces, samples, dtypes, states": (in_pieces, 4),
}
"""Name of each family → how to draw a case, and its share of the cases."""
