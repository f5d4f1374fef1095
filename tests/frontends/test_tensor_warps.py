"""Warps of tensors of bytes through a kernel: torchvision's bits, random numbers and strides."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from original_results import assert_same_for_seed
from torchvision import transforms as v1
from torchvision import tv_tensors
from torchvision.transforms import functional as f1
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as f2

import onelayer
from onelayer.frontends.base import quicker_function
from onelayer.frontends.torchvision import tensor_warps
from onelayer.images.containers import spec_of

BILINEAR, NEAREST = v2.InterpolationMode.BILINEAR, v2.InterpolationMode.NEAREST
MODES = (NEAREST, BILINEAR)


@pytest.fixture(autouse=True, scope="module")
def small_images_too() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tensor_warps, "SMALL", 0)
        patch.setattr(tensor_warps, "SMALL_WITHOUT_FILL", 0)
        yield


def planes(height: int, width: int, channels: int = 3) -> torch.Tensor:
    rng = np.random.default_rng((height, width))
    return torch.from_numpy(rng.integers(0, 256, (channels, height, width), dtype=np.uint8))


def transforms_of(library: Any, functional: Any, mode: Any) -> list[Any]:
    """Random transforms, and functions with their arguments, of v1 or v2."""
    warp = partial(functional.affine, angle=11.0, translate=[3, -2], scale=0.8, shear=[7.0, -4.0], interpolation=mode)
    corners = {"startpoints": [[0, 0], [30, 0], [30, 20], [0, 20]], "endpoints": [[3, 1], [28, 2], [33, 19], [-2, 15]]}
    return [
        library.RandomRotation(90, mode),
        library.RandomRotation((-200, 200), mode, expand=True, fill=(7, 8.5, 255)),
        library.RandomRotation((90, 90), mode, center=(3, 4)),
        library.RandomAffine(40, (0.3, 0.4), (0.3, 2.5), (-20, 20, -30, 30), mode, fill=9),
        library.RandomAffine(0, (0.5, 0.5), interpolation=mode),
        library.RandomPerspective(0.6, 0.7, mode, fill=3.5),
        *(partial(functional.rotate, angle=angle, interpolation=mode) for angle in (0.0, 90.0, 180.0, 270.0, 30.0)),
        warp,
        partial(warp, fill=[1.0, 2.0, 3.0], center=[0, 0]),
        partial(functional.perspective, interpolation=mode, fill=None, **corners),
        partial(functional.perspective, interpolation=mode, fill=[200.0], **corners),
    ]


CASES = {
    f"{version}, {mode.value}": (library, functional, mode)
    for version, library, functional in (("v1", v1, f1), ("v2", v2, f2))
    for mode in MODES
}


def assert_same(original: Any, image: Any, seed: int) -> None:
    """Compare results, their strides, and the state of the generator afterwards."""
    function = quicker_function(original, spec_of(image), lambda parts: pytest.fail(f"{parts}"))
    assert function is not None, original
    before = image.clone()
    assert_same_for_seed(original, function, image, seed)
    assert torch.equal(image, before), (original, seed)


def images(is_v2: bool) -> list[Any]:
    """Tensors of awkward sizes, in planes and in pixels, parts, batches, and without gaps or with."""
    image = planes(41, 67)
    found: list[Any] = [
        image,
        planes(67, 41).permute(0, 2, 1),
        planes(9, 31 * 3, 1).reshape(9, 31, 3).permute(2, 0, 1),
        planes(50, 80)[:, 3:37, 5:60],
        image[:, ::2, ::3],
        image[:1].expand(3, -1, -1),
        torch.stack([image, image.flip(-1), image.flip(-2)]),
        torch.stack([image, image.flip(-1)]).contiguous(memory_format=torch.channels_last),
        *(planes(*size) for size in ((1, 1), (1, 9), (9, 1), (17, 11), (2, 2), (3, 130))),
    ]
    return [*found, tv_tensors.Image(image), tv_tensors.Image(found[6])] if is_v2 else found


@pytest.mark.parametrize("name", CASES)
def test_warps(name: str) -> None:
    library, functional, mode = CASES[name]
    for transform in transforms_of(library, functional, mode):
        for number, image in enumerate(images(library is v2)):
            for seed in range(2 if number else 6):
                assert_same(transform, image, seed)


@given(
    name=st.sampled_from(list(CASES)),
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    seed=st.integers(0, 2**31),
    fill=st.none() | st.floats(0, 255, width=32),
)
def test_any_size_and_seed(name: str, height: int, width: int, seed: int, fill: float | None) -> None:
    library, functional, mode = CASES[name]
    image, rng = planes(height, width), np.random.default_rng(seed)
    assert_same(library.RandomAffine(180, (0.5, 0.5), (0.1, 6), (-40, 40, -40, 40), mode, fill=fill or 0), image, seed)
    assert_same(library.RandomPerspective(0.9, 1.0, mode, fill=fill or 0), image, seed)
    matrix = {"angle": float(rng.normal() * 90), "translate": [int(each) for each in rng.integers(-9, 10, 2)]}
    rest = {"scale": float(np.exp(rng.normal())), "shear": [float(each) for each in rng.normal(size=2) * 30]}
    assert_same(partial(functional.affine, **matrix, **rest, interpolation=mode, fill=fill), image, seed)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", CASES)
def test_many_photographs(name: str) -> None:
    library, functional, mode = CASES[name]
    rng = np.random.default_rng(0)
    for seed in range(40):
        image = planes(*(int(each) for each in rng.integers(1, 500, 2)))
        for transform in transforms_of(library, functional, mode):
            assert_same(transform, image, seed)


def test_photograph_size() -> None:
    for library, functional, mode in CASES.values():
        for transform in transforms_of(library, functional, mode)[::4]:
            assert_same(transform, planes(224, 224), 1)


def test_points_that_are_no_numbers() -> None:
    """A perspective that divides by zero has points at infinity, which PyTorch makes something of."""
    for mode in MODES:
        for coefficients in ([1.0, 0, 0, 0, 1, 0, -1 / 4.5, 0], [0.0, 0, 0, 0, 0, 0, -1 / 4.5, 0]):
            keywords = {"startpoints": None, "endpoints": None, "coefficients": coefficients, "interpolation": mode}
            for fill in (None, 7):
                assert_same(partial(f2.perspective, **keywords, fill=fill), planes(9, 9), 0)


def test_what_is_left_to_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    image, rotation = planes(9, 12), v2.RandomRotation((30, 30), BILINEAR)
    assert quicker_function(rotation, spec_of(image.float()), lambda _: None) is None
    by_type = v2.RandomRotation(30, fill={tv_tensors.Image: 3, "others": 4})
    assert quicker_function(by_type, spec_of(image), lambda _: None) is None
    monkeypatch.setattr(tensor_warps, "_sampled", lambda *_: pytest.fail("it was sampled here"))
    # A fill that is no byte, empty batches, more dimensions, and errors.
    for transform, each in (
        (v2.RandomRotation((30, 30), fill=-1), image),
        (v2.RandomRotation((30, 30), fill=256), image),
        (rotation, image.expand(0, 3, 9, 12)),
        (rotation, image.expand(2, 2, 3, 9, 12)),
        (v1.RandomRotation((30, 30), fill=(1, 2)), image),
        (v1.RandomRotation((30, 30), v1.InterpolationMode.BICUBIC), image),
        (v1.RandomRotation((30, 30), BILINEAR), tv_tensors.Image(image)),
    ):
        assert_same(transform, each, 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tensor_warps, "_is_compiled_as_known", lambda: False)
        assert_same(rotation, image, 0)
    monkeypatch.setattr(tensor_warps, "SMALL", 9 * 12 + 1)
    assert_same(rotation, image, 0)


def test_another_end_than_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """A torchvision that ends in another way draws its numbers once more, and computes."""
    monkeypatch.setattr(tensor_warps, "_LAST", ())
    for transform in (v2.RandomRotation(40), v2.RandomPerspective(p=0.5), v1.RandomAffine(30)):
        for seed in range(4):
            assert_same(transform, planes(14, 9), seed)


def test_in_a_layer() -> None:
    pipeline = v2.Compose(
        [v2.RandomResizedCrop(24), v2.RandomRotation(30, BILINEAR), v2.ToDtype(torch.float32, scale=True)]
    )
    layer = onelayer.compile(pipeline)
    for seed in range(4):
        torch.manual_seed(seed)
        theirs = pipeline(planes(41, 67))
        torch.manual_seed(seed)
        assert torch.equal(layer(planes(41, 67)), theirs)
    with torch.inference_mode():
        assert_same(v2.RandomRotation(30), planes(9, 12), 0)
