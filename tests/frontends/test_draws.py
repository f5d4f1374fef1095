"""Random numbers that the original draws though nothing depends on them: the layer draws them too, in order."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from torchvision import transforms as v1
from torchvision import tv_tensors
from torchvision.transforms import v2

import onelayer
from onelayer.selfcheck.checking import difference_of

BYTES = np.random.default_rng(0).integers(0, 256, (37, 29, 3), dtype=np.uint8)
PICTURE = PIL.Image.fromarray(BYTES)
TENSOR = torch.from_numpy(BYTES).movedim(-1, 0).contiguous()
BOTH: dict[str, Callable[[Any], Any]] = {
    **{
        f"{name} of {p}": lambda library, name=name, p=p: getattr(library, name)(p=p)
        for name in ("RandomHorizontalFlip", "RandomVerticalFlip", "RandomGrayscale", "RandomInvert")
        for p in (0, 1)
    },
    **{
        f"{name} of 0": lambda library, name=name: getattr(library, name)(p=0)
        for name in ("RandomErasing", "RandomPerspective", "RandomAutocontrast", "RandomEqualize")
    },
    "solarize": lambda library: library.RandomSolarize(100, p=1),
    "posterize": lambda library: library.RandomPosterize(3, p=1.0),
    "sharpness of 0": lambda library: library.RandomAdjustSharpness(2, p=0),
    "jitter without ranges": lambda library: library.ColorJitter(),
    "rotation": lambda library: library.RandomRotation((90, 90)),
    "affine": lambda library: library.RandomAffine((0, 0)),
    "affine of all": lambda library: library.RandomAffine((0, 0), translate=(0, 0), scale=(1, 1), shear=(0, 0, 0, 0)),
    "affine of one shear": lambda library: library.RandomAffine((0, 0), shear=(0, 0)),
    "always": lambda library: library.RandomApply([library.Resize(20), library.RandomHorizontalFlip(1)], p=1),
    "always what is random": lambda library: library.RandomApply(torch.nn.ModuleList([library.RandomCrop(15)]), p=1.0),
    "never": lambda library: library.RandomApply([library.Resize(20)], p=0),
    "always, twice": lambda library: library.RandomApply([library.RandomApply([library.Pad(2)], p=1)], p=1),
}
COMPILED = [name for name in BOTH if name not in ("always what is random", "never")]
"""Those without a break. One is random in itself, and v1 acts at a probability of 0 where the number is exactly 0."""


def states() -> tuple[Any, ...]:
    return torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002


def assert_same_stream(transform: Any, image: Any) -> None:
    layer = onelayer.compile(transform)
    torch.manual_seed(11)
    theirs = transform(image)
    expected = states()
    # The second call is the one of an image that everything is made for.
    for _ in range(2):
        torch.manual_seed(11)
        assert difference_of(layer(image), theirs) is None
        assert states() == expected


@pytest.mark.parametrize("library", [v1, v2])
def test_what_follows_is_drawn_as_in_the_original(library: Any) -> None:
    for name, make in BOTH.items():
        for image in (PICTURE, TENSOR, tv_tensors.Image(TENSOR)):
            if "Autocontrast" in name and library is v1 and image is not PICTURE:
                continue
            assert_same_stream(library.Compose([make(library), library.RandomCrop(12)]), image)


def test_nothing_follows() -> None:
    for library in (v1, v2):
        for name in COMPILED:
            transform = BOTH[name](library)
            assert_same_stream(transform, PICTURE)
            onelayer.compile(transform, fullgraph=True)(PICTURE)


def test_in_a_batch_and_through_the_program() -> None:
    transform = v2.Compose([v2.RandomHorizontalFlip(1), v2.Resize(16), v2.RandomVerticalFlip(0)])
    layer = onelayer.compile(transform, fullgraph=True)
    torch.manual_seed(1)
    theirs = [transform(TENSOR) for _ in range(3)]
    state = torch.get_rng_state()
    torch.manual_seed(1)
    for ours, expected in zip(layer.batch([TENSOR] * 3), theirs, strict=True):
        assert torch.equal(ours, expected)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(1)
    for _ in theirs:
        layer.apply_program(TENSOR)
    assert torch.equal(torch.get_rng_state(), state)


def test_of_crops() -> None:
    crops = v2.Compose([v2.ToImage(), v2.RandomHorizontalFlip(1), v2.FiveCrop(8), v2.RandomVerticalFlip(1)])
    layer = onelayer.compile(crops, fullgraph=True)
    torch.manual_seed(2)
    theirs = crops(PICTURE)
    state = torch.get_rng_state()
    torch.manual_seed(2)
    for ours, expected in zip(layer(PICTURE), theirs, strict=True):
        assert torch.equal(ours, expected)
    assert torch.equal(torch.get_rng_state(), state)


def test_numbers_of_another_default_dtype() -> None:
    transform = v2.Compose([v2.RandomHorizontalFlip(1), v2.RandomCrop(12)])
    try:
        torch.set_default_dtype(torch.float64)
        assert_same_stream(transform, TENSOR)
    finally:
        torch.set_default_dtype(torch.float32)
