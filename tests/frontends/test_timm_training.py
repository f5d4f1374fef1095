"""Training pipelines of timm against timm: the same pixels, and all generators afterwards."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest
import torch
from original_results import same
from torchvision import transforms as v1
from torchvision.transforms import functional as f1

import onelayer
from onelayer.any_size import AnySizePipeline, ChoosingPipeline
from onelayer.breaks import PiecewisePipeline
from onelayer.frontends.base import quicker_function
from onelayer.images.containers import spec_of
from onelayer.selfcheck.checking import difference_of

pytest.importorskip("timm")

from timm.data import auto_augment, create_transform, naflex_transforms
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
    "everything": {
        "auto_augment": "3a", "re_prob": 0.5, "re_mode": "rand", "re_count": 2, "color_jitter": 0.4,
    },
}  # fmt: skip
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
    except (ValueError, TypeError, RuntimeError, SystemError, OSError) as error:
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


def policy(configuration: str, **parameters: Any) -> Any:
    """Make a policy as ``create_transform`` does."""
    numbers = {"translate_const": 20, "img_mean": (124, 116, 104), **parameters}
    if configuration.startswith("rand"):
        return auto_augment.rand_augment_transform(configuration, numbers)
    if configuration.startswith("augmix"):
        return auto_augment.augment_and_mix_transform(configuration, numbers)
    return auto_augment.auto_augment_transform(configuration, numbers)


POLICIES = (
    "rand-m9-mstd0.5-inc1", "rand-m9-n4-mstd101", "rand-m15-mmax20-n3-p0.9", "rand-n3-tweights", "rand-n3-t3aw",
    "rand-t3a-inc1", "original-mstd0.5", "originalr", "v0", "v0r", "3a", "augmix-m5-w4-d2", "augmix-m3-w2-mstd1-b1",
)  # fmt: skip


def assert_same_picture(original: Any, image: PIL.Image.Image, seed: int, where: object, quicker: Any = None) -> None:
    """Compare what a transform and a quicker function of it make of a PIL image, and all generators after it."""
    function = quicker or quicker_function(original, spec_of(image), _without_parts)
    assert function is not None, where
    (theirs, states), (ours, our_states) = outcome(original, image, seed), outcome(function, image, seed)
    assert our_states == states, (where, seed, "generators")
    assert ours is theirs if isinstance(theirs, type) else same(ours, theirs), (where, seed)
    assert (ours is image) == (theirs is image), (where, seed)


def _without_parts(transforms: Any) -> Any:
    raise AssertionError(f"nothing has parts: {transforms}")


def of_mode(mode: str, height: int, width: int) -> PIL.Image.Image:
    image = picture(height, width).convert(mode)
    image.info = {"comment": "kept"}
    return image


@pytest.mark.parametrize("configuration", POLICIES)
def test_policies_of_timm(configuration: str) -> None:
    for parameters in ({}, {"interpolation": PIL.Image.Resampling.BICUBIC}):
        transform = policy(configuration, **parameters)
        for height, width in ((44, 44), (17, 11), (1, 1), (9, 120), (1, 9)):
            image = of_mode("RGB", height, width)
            for seed in range(12):
                assert_same_picture(transform, image, seed, (configuration, height, width))
    gray = policy(configuration, img_mean=7)
    for seed in range(12):
        assert_same_picture(gray, of_mode("L", 23, 31), seed, configuration)


@pytest.mark.exhaustive
def test_policies_of_timm_with_many_seeds() -> None:
    for configuration in POLICIES:
        transform = policy(configuration)
        for side in (40, 224):
            image = of_mode("RGB", side, side + 9)
            for seed in range(60):
                assert_same_picture(transform, image, seed, (configuration, side))


@pytest.mark.parametrize("name", auto_augment.NAME_TO_OP)
def test_operations_of_timm(name: str) -> None:
    images = [of_mode("RGB", 23, 31), of_mode("RGB", 1, 1), of_mode("L", 30, 16), of_mode("CMYK", 9, 9)]
    for magnitude in (0, 0.5, 3, 7.7, 10):
        for image in images:
            fill = (5, 6, 7)[: len(image.mode)] if image.mode == "RGB" else 5
            numbers = {"translate_const": 9, "img_mean": fill}
            operation = auto_augment.AugmentOp(name, prob=0.9, magnitude=magnitude, hparams=numbers)
            quicker = None if image.mode != "CMYK" else quicker_function(operation, spec_of(images[0]), _without_parts)
            for seed in range(3):
                assert_same_picture(operation, image, seed, (name, magnitude, image), quicker)


class Unknown(auto_augment.AugmentOp):  # type: ignore[misc]  # timm has no types
    """An operation that does something else than timm's."""

    def __call__(self, image: PIL.Image.Image) -> PIL.Image.Image:
        return image.rotate(90) if random.random() < self.prob else image


def test_policies_that_are_changed() -> None:
    """Attributes are read when a policy is applied, and functions that are not timm's are called as they are."""
    transform, image = policy("rand-m9-n4"), of_mode("RGB", 30, 40)
    function = quicker_function(transform, spec_of(image), _without_parts)

    def posterize(image: PIL.Image.Image, bits: int, **_: Any) -> PIL.Image.Image:
        return PIL.ImageOps.posterize(image, 3 + bits % 2)

    def assert_follows(what: str) -> None:
        for seed in range(30):
            assert_same_picture(transform, image, seed, what, function)

    assert_follows("as it was")
    transform.num_layers = 7
    assert_follows("more layers")
    for each in transform.ops:
        each.prob, each.magnitude = 1.0, 4
    assert_follows("other magnitudes")
    for each in transform.ops:
        each.aug_fn = posterize if each.name == "Posterize" else each.aug_fn
    assert_follows("a function that is not timm's")
    transform.ops.append(Unknown("Rotate", prob=0.5))
    assert_follows("an operation that is not timm's")
    transform.ops = transform.ops[-4:]
    assert_follows("another list")
    learned = policy("v0")
    function = quicker_function(learned, spec_of(image), _without_parts)
    learned.policy[0][0] = Unknown("Rotate")
    del learned.policy[5:]
    transform = learned
    assert_follows("other sub-policies")


def test_policies_that_are_left_to_timm() -> None:
    class Other(auto_augment.RandAugment):  # type: ignore[misc]
        def __call__(self, image: Any) -> Any:
            return image

    image = of_mode("RGB", 20, 30)
    for transform, each in (
        (Other([]), image),
        (Unknown("Rotate"), image),
        (policy("v0"), f1.pil_to_tensor(image)),
        (policy("rand-m9"), np.asarray(image)),
        (auto_augment.AugmentOp("Invert"), f1.pil_to_tensor(image)),
    ):
        assert quicker_function(transform, spec_of(each), _without_parts) is None, transform


def test_policies_are_kernels_between_pieces() -> None:
    recipe = create_transform((3, 44, 44), is_training=True, auto_augment="rand-m9", re_prob=0.5)
    shown = str(onelayer.explain(onelayer.compile(recipe), picture(50, 60)))
    augment = next(line for line in shown.splitlines() if "RandAugment" in line)
    erasing = next(line for line in shown.splitlines() if "RandomErasing" in line)
    assert "kernel" in augment
    assert "kernel" not in erasing
