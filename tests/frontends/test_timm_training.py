"""Training pipelines of timm against timm: the same pixels, and all generators afterwards."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from torchvision import transforms as v1
from torchvision.transforms import functional as f1

import onelayer
from onelayer.any_size import AnySizePipeline, ChoosingPipeline
from onelayer.breaks import PiecewisePipeline
from onelayer.selfcheck.checking import difference_of

pytest.importorskip("timm")

from timm.data import create_transform, naflex_transforms
from timm.data import transforms as of_timm

CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "two interpolations": {"interpolation": "random", "color_jitter": None},
    "bicubic": {"interpolation": "bicubic", "color_jitter": None, "vflip": 0.5},
    "prefetcher": {"interpolation": "random", "color_jitter": None, "use_prefetcher": True},
    "erased": {"color_jitter": None, "re_prob": 0.6, "re_mode": "pixel", "re_count": 2},
    "colors": {"color_jitter": 0.4, "grayscale_prob": 0.2},
    "random ratio": {"train_crop_mode": "rkrr", "color_jitter": None},
    "random ratio, center": {"train_crop_mode": "rkrc", "color_jitter": None, "interpolation": "bilinear"},
    "rand-augment": {"auto_augment": "rand-m9-mstd0.5-inc1"},
    "auto-augment": {"auto_augment": "original", "interpolation": "bicubic"},
    "augmix": {"auto_augment": "augmix-m5-w4-d2"},
}
WHOLE = ("two interpolations", "bicubic", "prefetcher")
"""Configurations of which nothing is left to timm."""

OTHERS: dict[str, list[Any]] = {
    "scale and aspect": [
        of_timm.ResizeKeepRatio(40, 0.3, "bilinear", random_scale_prob=0.5, random_aspect_prob=0.5), v1.CenterCrop(36),
    ],
    "scale, area, two interpolations": [
        of_timm.ResizeKeepRatio((30, 44), 1.0, "random", random_scale_prob=1.0, random_scale_area=True),
        of_timm.CenterCropOrPad(36, fill=9), v1.RandomHorizontalFlip(),
    ],
    "crop or pad": [of_timm.RandomCropOrPad((40, 60), fill=(1, 2, 3)), v1.RandomHorizontalFlip(), v1.ToTensor()],
    "a sequence": [naflex_transforms.ResizeToSequence(8, 30, interpolation="random"), v1.RandomHorizontalFlip()],
    "tall boxes": [of_timm.RandomResizedCropAndInterpolation(20, (0.5, 2), (0.05, 0.3), "random"), v1.ToTensor()],
    "boxes of nothing": [of_timm.RandomResizedCropAndInterpolation(9, (1e-5, 1e-3), (0.3, 3), "bilinear")],
}  # fmt: skip

SIZES = [(75, 50), (48, 48), (33, 210), (17, 9)]


def picture(height: int, width: int) -> PIL.Image.Image:
    levels = np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return PIL.Image.fromarray(levels)


def outcome(call: Callable[[Any], Any], image: Any, seed: int) -> tuple[Any, list[Any]]:
    """What a call returns or raises with a seed, and the states of all generators after it."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - timm draws from it
    try:
        result = call(image)
    except (ValueError, TypeError, RuntimeError, SystemError) as error:
        result = type(error)
    of_numpy = np.random.get_state()  # noqa: NPY002
    return result, [torch.get_rng_state().tolist(), random.getstate(), [*map(str, of_numpy[1]), *of_numpy[2:]]]


def assert_same(original: Any, layer: Any, image: Any, seed: int, where: object) -> None:
    (theirs, states), (ours, our_states) = outcome(original, image, seed), outcome(layer, image, seed)
    assert our_states == states, (where, "generators")
    if isinstance(theirs, type):
        assert ours is theirs, where
        return
    assert type(ours) is type(theirs), where
    assert difference_of(ours, theirs) is None, where


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_recipes(name: str) -> None:
    original = create_transform(**{"input_size": (3, 44, 44), "is_training": True, **CONFIGURATIONS[name]})
    layer = onelayer.compile(original)
    for size in SIZES:
        image = picture(*size)
        for seed in range(8):
            assert_same(original, layer, image, seed, (name, size, seed))
    pipeline = layer._of_any_size(picture(40, 40))
    assert isinstance(pipeline, AnySizePipeline if name in WHOLE else PiecewisePipeline)
    assert (type(pipeline) is ChoosingPipeline) == (name in ("two interpolations", "prefetcher"))


@pytest.mark.parametrize("name", OTHERS)
def test_transforms(name: str) -> None:
    original = v1.Compose(OTHERS[name])
    layer = onelayer.compile(original)
    is_pil_only = "ToTensor" in str(original) or "crop or pad" in name
    for size in SIZES:
        for image in [picture(*size), *([] if is_pil_only else [f1.pil_to_tensor(picture(*size))])]:
            for seed in range(12):
                assert_same(original, layer, image, seed, (name, size, seed, type(image)))
    assert isinstance(layer._of_any_size(picture(40, 40)), AnySizePipeline)


def test_a_batch_and_an_explanation() -> None:
    original = create_transform((3, 44, 44), is_training=True, color_jitter=None)
    layer = onelayer.compile(original)
    # A box of nothing in one of them puts the generators back for all.
    images = [picture(60 + n, 50) for n in range(9)]
    results = [outcome(call, images, 3) for call in (lambda each: [*map(original, each)], layer.batch)]
    assert results[0][1] == results[1][1]
    assert all(map(torch.equal, results[0][0], results[1][0]))
    shown = str(onelayer.explain(layer, images[0]))
    assert "RandomResizedCropAndInterpo" in shown
    with_floats = onelayer.compile(v1.Compose([of_timm.RandomResizedCropAndInterpolation(9, interpolation="random")]))
    floats = torch.rand(3, 30, 40)
    assert_same(with_floats.transform, with_floats, floats, 1, "an interpolation of floats is not chosen in a layer")
