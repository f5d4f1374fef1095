"""Random transforms of colors in a layer: torchvision's pixels for the same seed, and its generators afterwards."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from torchvision import transforms as v1
from torchvision import tv_tensors
from torchvision.transforms import functional as f1
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as f2

import onelayer
from onelayer.frontends import ImageSpec
from onelayer.frontends.base import quicker_function
from onelayer.frontends.torchvision import color_functions
from onelayer.selfcheck.checking import difference_of

SIZES = (24, 32), (17, 11), (1, 1), (64, 64)


def recipes(library: Any) -> dict[str, list[Any]]:
    """Pipelines of v1 or v2."""
    floats = [library.ToTensor()] if library is v1 else [v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
    jitter = library.ColorJitter(0.4, 0.4, 0.4, 0.1)
    return {
        "jitter": [jitter],
        "without hue": [library.ColorJitter(0.4, 0.4, 0.4)],
        "one each": [library.ColorJitter(0.4), library.ColorJitter(hue=0.5), library.ColorJitter(saturation=(0, 3))],
        "nothing": [library.ColorJitter()],
        "now and then": [
            library.RandomInvert(0.4), library.RandomPosterize(3, 0.4), library.RandomSolarize(100, 0.4),
            library.RandomAutocontrast(0.4), library.RandomEqualize(0.4), library.RandomAdjustSharpness(1.7),
            library.RandomGrayscale(0.4),
        ],
        "always": [library.RandomAutocontrast(1), library.RandomEqualize(1), library.RandomAdjustSharpness(0.3, 1)],
        "never": [library.RandomEqualize(0), library.RandomAdjustSharpness(0.3, 0)],
        "a choice": [library.RandomChoice([jitter, library.RandomEqualize(), library.RandomGrayscale(0.5)])],
        "an order": [library.RandomOrder([jitter, library.RandomEqualize(), library.RandomAdjustSharpness(2)])],
        "a choice of crops": [
            library.RandomChoice([library.CenterCrop(5), library.Resize(7)], p=[0.3, 0.7]), library.ColorJitter(0.3),
        ],
        "crops now and then": [
            library.RandomApply([library.RandomCrop(9, pad_if_needed=True), library.Resize(7)]), jitter
        ],
        "SimCLR": [
            library.RandomResizedCrop(32), library.RandomHorizontalFlip(), library.RandomApply([jitter], p=0.8),
            library.RandomGrayscale(0.2), *floats, library.Normalize([0.5] * 3, [0.2] * 3),
        ],
    }  # fmt: skip


RECIPES = {f"{name}, v1": parts for name, parts in recipes(v1).items()}
RECIPES |= {f"{name}, v2": parts for name, parts in recipes(v2).items()}


def images(height: int, width: int) -> list[Any]:
    """One picture as PIL images and tensors."""
    generator = np.random.default_rng((height, width))
    pixels = np.clip(generator.normal(120, 50, (height, width, 3)), 0, 255).astype(np.uint8)
    planes = torch.from_numpy(pixels).permute(2, 0, 1)
    color = PIL.Image.fromarray(pixels)
    color.info = {"comment": "a"}
    return [
        color,
        color.convert("L"),
        planes.contiguous(),
        planes,
        tv_tensors.Image(planes.contiguous()),
        torch.stack([planes, planes.flip(-1)]),
        planes[:1],
        planes.int(),
        color.convert("RGBA"),
    ]


def outcome(call: Callable[[Any], Any], image: Any, seed: int) -> tuple[Any, Any]:
    """What a call returns or raises with a seed, and the states of the generators after it."""
    torch.manual_seed(seed)
    random.seed(seed)
    try:
        result = call(image)
    except Exception as error:  # noqa: BLE001 - whatever the original raises, the layer has to raise
        result = type(error)
    return result, (torch.get_rng_state().tolist(), random.getstate())


def assert_same(pipeline: Any, layer: Any, image: Any, seed: int, *where: Any) -> None:
    (their, their_states), (our, our_states) = (outcome(call, image, seed) for call in (pipeline, layer))
    assert our_states == their_states, (where, seed)
    if isinstance(their, type):
        assert our is their, (where, seed, our)
        return
    assert our is not image or their is image, (where, seed)
    assert type(our) is type(their), (where, seed)
    assert difference_of(our, their) is None, (where, seed)
    if isinstance(their, PIL.Image.Image):
        assert our.info == their.info, (where, seed)


@pytest.mark.parametrize("seeds", [range(3), pytest.param(range(3, 60), marks=pytest.mark.exhaustive)])
@pytest.mark.parametrize("name", RECIPES)
def test_same_pixels_for_the_same_seed(name: str, seeds: range) -> None:
    pipeline = v2.Compose(RECIPES[name]) if "v2" in name else v1.Compose(RECIPES[name])
    layer = onelayer.compile(pipeline)
    for seed in seeds:
        for place, image in enumerate(images(*SIZES[seed % len(SIZES)])):
            # v1 of no plain tensors: its functions make plain ones of them.
            if not ("v1" in name and type(image) is tv_tensors.Image):
                assert_same(pipeline, layer, image, seed, name, place)


def test_they_run_on_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not one pixel of a recipe goes through torchvision's own functions."""
    image = images(24, 32)[0]
    for library, functional in ((v1, f1), (v2, f2)):
        for name in ("jitter", "now and then", "always", "an order", "SimCLR"):
            layer = onelayer.compile(library.Compose(recipes(library)[name]))
            layer(image)
            with monkeypatch.context() as patch:
                for function in ("adjust_brightness", "adjust_contrast", "adjust_saturation", "adjust_hue", "invert"):
                    patch.setattr(functional, function, None)
                for kind in (library.ColorJitter, library.RandomEqualize, library.RandomAdjustSharpness):
                    patch.setattr(kind, "forward", None)
                for seed in range(5):
                    torch.manual_seed(seed)
                    layer(image)


def test_a_jitter_is_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = onelayer.compile(v2.ColorJitter(0.4, 0.4, 0.4, 0.1))
    image, calls = images(24, 32)[0], []
    adjusted = color_functions.adjusted

    def counted(*arguments: Any) -> Any:
        calls.append(len(arguments[1]))
        return adjusted(*arguments)

    monkeypatch.setattr("onelayer.frontends.torchvision.random_color.adjusted", counted)
    layer(image)
    assert calls == [4]


def test_changes_of_a_transform_count() -> None:
    """Probabilities and ranges are read when the image comes, as torchvision does."""
    sharper, jitter = v2.RandomAdjustSharpness(3, p=0.5), v1.ColorJitter(0.4, 0.4)
    layer = onelayer.compile(v1.Compose([sharper, jitter]))
    image = images(24, 32)[0]
    layer(image)
    sharper.p, sharper.sharpness_factor, jitter.brightness, jitter.contrast = 0.9, 0.1, None, (2.0, 3.0)
    for seed in range(3):
        assert_same(v1.Compose([sharper, jitter]), layer, image, seed)


def test_functions_with_fixed_numbers() -> None:
    for functional in (f1, f2):
        for function in (
            partial(functional.adjust_contrast, contrast_factor=1.4),
            partial(functional.adjust_saturation, saturation_factor=0.4),
            partial(functional.adjust_hue, hue_factor=0.2),
            partial(functional.adjust_sharpness, sharpness_factor=1.9),
            functional.autocontrast,
            functional.equalize,
        ):
            layer = onelayer.compile(function)
            for image in images(24, 32):
                if not (functional is f1 and type(image) is tv_tensors.Image):
                    assert_same(function, layer, image, 0, function)


def test_another_default_dtype_draws_other_numbers() -> None:
    pipeline = v2.Compose(recipes(v2)["SimCLR"])
    layer = onelayer.compile(pipeline)
    torch.set_default_dtype(torch.float64)
    try:
        for image in images(24, 32)[:3]:
            assert_same(pipeline, layer, image, 3)
    finally:
        torch.set_default_dtype(torch.float32)


def test_samples() -> None:
    """The image of a sample with a label; and one with boxes, of which the colors are none."""
    pipeline = v2.Compose([v2.ColorJitter(0.4, 0.4, 0.4, 0.1), v2.RandomGrayscale(0.5), v2.RandomEqualize()])
    layer = onelayer.compile(pipeline)
    image = images(24, 32)[0]
    boxes = tv_tensors.BoundingBoxes([[0, 1, 2, 3]], format="XYXY", canvas_size=(24, 32))
    for others in ((3,), ({"boxes": boxes},)):
        for seed in range(6):
            torch.manual_seed(seed)
            their, *_ = pipeline(image, *others)
            torch.manual_seed(seed)
            our, *rest = layer(image, *others)
            assert difference_of(our, their) is None
            assert type(rest[0]) is type(others[0])


class Other(v2.ColorJitter):
    """Does something else than its parent."""

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return inpt


def test_what_has_no_function() -> None:
    def function(transform: Any, spec: ImageSpec) -> Any:
        return quicker_function(transform, spec, lambda parts: onelayer.compile(v2.Compose(parts)))

    color = ImageSpec((3, 9, 9), "uint8", "pil")
    assert function(v2.ColorJitter(0.1), color) is not None
    assert function(Other(0.1), color) is None
    assert function(v2.ColorJitter(0.1), ImageSpec((3, 9, 9), "float32", "tensor")) is None
    assert function(v2.ColorJitter(0.1), ImageSpec((3, 9, 9), "uint8", "numpy")) is None
    assert function(v2.ColorJitter(0.1), ImageSpec((4, 9, 9), "uint8", "tensor")) is None
    # A layer's result may lie in memory in another way than the original's.
    crops = v2.RandomApply([v2.RandomCrop(5)])
    assert function(crops, color) is not None
    assert function(crops, ImageSpec((3, 9, 9), "uint8", "tensor")) is None
