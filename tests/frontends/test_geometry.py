"""Crops, flips, padding, blurs and sharpening, against torchvision's own result."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from pairwise import pairwise
from PIL import Image
from torchvision import transforms as v1
from torchvision.transforms import functional as f1
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as f2

from onelayer.algebra import Clamp, Program, Range, SpatialSparse, simplify
from onelayer.frontends import ImageSpec, derive

FLOATS = ImageSpec((3, 17, 11), "float32", "tensor")
BYTES = replace(FLOATS, dtype="uint8")
PICTURE = replace(BYTES, container="pil")
ROOMY = [(3, 17, 11), (3, 40, 23), (1, 17, 11)]


def sharpened(factor: float, functions: Any = f2) -> Any:
    return partial(functions.adjust_sharpness, sharpness_factor=factor)


def test_float_tensors(assert_floats: Any) -> None:
    for transform in (
        v2.CenterCrop(12),
        v2.CenterCrop((9, 30)),
        v1.CenterCrop([8]),
        v2.Pad(3),
        v2.Pad((1, 2), fill=0.5),
        v2.Pad((1, 0, 2, 4), padding_mode="edge"),
        v1.Pad((1, 2, 0, 4), fill=-1.5),
        v1.Pad(1, padding_mode="symmetric"),
        v2.Pad([2], fill=None),
        v1.RandomHorizontalFlip(p=1.0),
        v2.RandomVerticalFlip(p=1),
        v2.RandomHorizontalFlip(p=0),
        v2.GaussianBlur(1, sigma=0.7),
        partial(f2.center_crop, output_size=[4]),
        partial(f1.crop, top=-2, left=0, height=5, width=40),
        partial(f2.pad, padding=[1], fill=0.25),
        f1.hflip,
        f2.vertical_flip,
    ):
        for shape in (*ROOMY, (3, 1, 1)):
            assert_floats(transform, shape)


def test_float_tensors_with_room(assert_floats: Any) -> None:
    for transform in (
        v2.Pad((3, 7, 10, 5), padding_mode="reflect"),
        v2.Pad((11, 7, 10, 17), padding_mode="symmetric"),
        v2.Pad((-2, -3, 4, -1), fill=0.5),
        v2.GaussianBlur(5, sigma=0.7),
        v1.GaussianBlur((3, 9), sigma=(1.3, 1.3)),
        partial(f2.gaussian_blur, kernel_size=[5, 3]),
        partial(f1.gaussian_blur, kernel_size=[3, 7], sigma=[0.5, 2.0]),
    ):
        for shape in ROOMY:
            assert_floats(transform, shape)


def test_fills_per_channel(assert_floats: Any) -> None:
    # They go through float32 in torch, whatever the image is; these survive that.
    assert_floats(v2.Pad((1, 2, 0, 4), fill=(0.125, 0.75, -3.0)), (3, 17, 11))
    # The bias image of the zero padding is then flipped, blurred and scaled with the picture.
    assert_floats(v2.Compose([v2.Pad(4, fill=(9, 0, 1)), v2.GaussianBlur(3, 1.0), v2.Resize(7)]), (3, 17, 11))


def test_bytes(assert_bytes: Any) -> None:
    for transform, levels in (
        (v2.CenterCrop((9, 30)), 0),
        (v2.Pad((1, 2), fill=77), 0),
        (v2.Pad((1, 0, 2, 4), padding_mode="edge"), 0),
        (v1.Pad((3, 2, 4, 1), padding_mode="reflect"), 0),
        (v2.Pad((11, 7, 10, 17), padding_mode="symmetric"), 0),
        (v2.RandomHorizontalFlip(p=1), 0),
        (v1.RandomVerticalFlip(p=1), 0),
        (v2.GaussianBlur(5, sigma=0.7), 1),
    ):
        for shape in ROOMY:
            for container in ("tensor", "pil"):
                assert_bytes(transform, ImageSpec(shape, "uint8", container), levels)


SHARPENED = (
    [0, 0.3, 1, 2.0, 5.5],
    [f1, f2],
    [(3, 17, 11), (1, 40, 23), (3, 3, 3), (1, 3, 8), (3, 1, 1), (1, 2, 9), (3, 9, 2)],
    ["floats", "tensor", "pil"],
)


@pytest.mark.parametrize(
    "cases", [pairwise(*SHARPENED), pytest.param(product(*SHARPENED), marks=pytest.mark.exhaustive)], ids=["few", "all"]
)
def test_sharpness(assert_floats: Any, assert_bytes: Any, cases: Any) -> None:
    for factor, functions, shape, kind in cases:
        if kind == "floats":
            assert_floats(sharpened(factor, functions), shape)
        else:
            # The smoothed image is rounded before it is weighed, and fractions of the result are cut off, not rounded.
            levels = np.floor(0.5 * abs(1.0 - factor) + 1.0)
            assert_bytes(sharpened(factor, functions), ImageSpec(shape, "uint8", kind), levels)
    # Pillow takes negative factors.
    assert_bytes(sharpened(-1.0), PICTURE, 2)


def test_the_class_of_a_probability(assert_floats: Any, assert_refused: Any) -> None:
    for kind in (v1.RandomAdjustSharpness, v2.RandomAdjustSharpness):
        assert_floats(kind(3.0, p=1), (3, 17, 11))
        assert derive(kind(3.0, p=0), FLOATS).program.stages == ()
        assert_refused(kind(3.0), FLOATS, "acts with probability 0.5")


def test_a_clamp_stays_where_it_can_act() -> None:
    for spec, white in ((FLOATS, 1.0), (BYTES, 255.0)):
        for factor, acts in ((0.5, False), (1.5, True)):
            operator, clamp = derive(sharpened(factor), spec).program.stages[:2]
            assert isinstance(operator, SpatialSparse)
            assert clamp == Clamp(0.0, white)
            # Neighbours of the inside: nine taps; the border is copied.
            assert operator.matrix.nnz == 9 * 15 * 9 + (17 * 11 - 15 * 9)
            # Without the rounding of bytes, which clamps too.
            program = Program((3, 17, 11), (operator, clamp))
            assert (clamp in simplify(program, Range.of(3, 0.0, white)).program.stages) is acts


def test_sharpening_clamps_values_beyond_white() -> None:
    image = np.random.default_rng(0).normal(0.5, 2.0, (1, 9, 8))
    expected = sharpened(1.0)(torch.from_numpy(image)).numpy()
    assert expected.min() == 0.0
    assert expected.max() == 1.0
    derived = derive(sharpened(1.0), ImageSpec((1, 9, 8), "float64", "tensor"))
    np.testing.assert_allclose(derived.program.apply(image), expected, rtol=0, atol=1e-13)


def test_small_images_are_not_sharpened_even_beyond_white() -> None:
    for side in ((2, 9), (9, 1)):
        assert derive(sharpened(2.0), ImageSpec((3, *side), "float32", "tensor")).program.stages == ()
        image = torch.full((3, *side), 7.0)
        assert torch.equal(sharpened(2.0)(image), image)


def test_pillow_smooths_with_the_same_kernel() -> None:
    # One bright pixel shows the kernel, thirteenths of 255, in whole levels.
    image = np.zeros((5, 5), dtype=np.uint8)
    image[2, 2] = 255
    derived = derive(sharpened(0.0), ImageSpec((1, 5, 5), "uint8", "pil"))
    smoothed = f2.adjust_sharpness(Image.fromarray(image), 0.0)
    np.testing.assert_array_equal(derived.program.apply(image[None])[0], np.asarray(smoothed))
    assert np.asarray(smoothed)[2].tolist() == [0, 20, 98, 20, 0]


def test_refusals(assert_refused: Any) -> None:
    for transform, spec, text in (
        (v2.CenterCrop(0), FLOATS, "a crop to 0 samples"),
        (v2.Pad(11, padding_mode="reflect"), FLOATS, "reflect padding of 11"),
        (v2.Pad(12, padding_mode="symmetric"), FLOATS, "longer than the image"),
        (v2.Pad(-1, padding_mode="edge"), FLOATS, "negative padding"),
        (v2.Pad(-1), PICTURE, "negative padding of a PIL image"),
        (v1.Pad(1, fill=(1, 2, 3)), FLOATS, "v1 Pad of tensors"),
        (v2.Pad(1, fill=(1, 2)), FLOATS, "a fill of 2 numbers"),
        (v2.Pad(1, fill=(1, 2, 3), padding_mode="edge"), FLOATS, "a fill of 3 numbers with mode 'edge'"),
        (v2.Pad(1, fill=256), BYTES, "the fill 256 for a uint8 image"),
        (v2.Pad(1, fill={"others": 3}), BYTES, "a dictionary of types"),
        (partial(f1.pad, padding=[1, 2, 3]), BYTES, "padding [1, 2, 3]"),
        (partial(f2.crop, top=17, left=0, height=3, width=3), BYTES, "beside the image"),
        (v2.GaussianBlur(35, 1.0), FLOATS, "reflect padding"),
        (v2.GaussianBlur(3), FLOATS, "it is random: its sigma is drawn from 0.1 … 2.0"),
        (v1.GaussianBlur(3, (1.0, 1.5)), FLOATS, "it is random"),
        (partial(f2.gaussian_blur, kernel_size=[3], sigma=1.0), FLOATS, "two numbers of each"),
        (sharpened(-0.1), FLOATS, "sharpness_factor -0.1 for 3 channels"),
        (sharpened(float("nan")), FLOATS, "sharpness_factor nan"),
        (sharpened(2.0), replace(FLOATS, shape=(4, 17, 11)), "sharpness_factor 2.0 for 4 channels"),
        (sharpened(2.0), replace(FLOATS, shape=(3, 3000, 4000)), "108,000,000 taps"),
    ):
        assert "Register" not in assert_refused(transform, spec, text).hint
    for transform, spec in ((v2.GaussianBlur(3, 1.0), BYTES), (sharpened(2.0), PICTURE)):
        assert_refused(transform, spec, "cannot be reproduced bit for bit", "exact")
