"""Sharpening and smoothing, against torchvision's own result."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms as v1
from torchvision.transforms import functional as f1
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as f2

from onelayer.algebra import Clamp, Program, Range, SpatialSparse, simplify
from onelayer.frontends import ImageSpec, UnsupportedTransformError, derive

SHAPES = [(3, 17, 11), (1, 40, 23), (3, 3, 3), (1, 3, 8), (3, 1, 1), (1, 2, 9), (3, 9, 2)]
FACTORS = [0, 0.3, 1, 2.0, 5.5]
FUNCTIONS = [f1.adjust_sharpness, f2.adjust_sharpness]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("function", FUNCTIONS, ids=["v1", "v2"])
def test_floats(assert_floats: Callable[..., None], function: Any, factor: float, shape: Any) -> None:
    assert_floats(partial(function, sharpness_factor=factor), shape)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("function", FUNCTIONS, ids=["v1", "v2"])
@pytest.mark.parametrize("container", ["tensor", "pil"])
def test_bytes(assert_bytes: Callable[..., None], container: Any, function: Any, factor: float, shape: Any) -> None:
    # The smoothed image is rounded before it is weighed, and fractions of the result are cut off instead of rounded.
    levels = np.floor(0.5 * abs(1.0 - factor) + 1.0)
    assert_bytes(partial(function, sharpness_factor=factor), ImageSpec(shape, "uint8", container), levels)


@pytest.mark.parametrize("kind", [v1.RandomAdjustSharpness, v2.RandomAdjustSharpness])
def test_the_class_of_a_probability(assert_floats: Callable[..., None], kind: Any) -> None:
    assert_floats(kind(3.0, p=1), (3, 17, 11))
    given = ImageSpec((3, 17, 11), "float32", "tensor")
    assert derive(kind(3.0, p=0), given).program.stages == ()
    with pytest.raises(UnsupportedTransformError, match=r"acts with probability 0.5"):
        derive(kind(3.0), given)


@pytest.mark.parametrize(("dtype", "white"), [("float32", 1.0), ("uint8", 255.0)])
def test_a_clamp_stays_where_it_can_act(dtype: Any, white: float) -> None:
    for factor, acts in ((0.5, False), (1.5, True)):
        derived = derive(partial(f2.adjust_sharpness, sharpness_factor=factor), ImageSpec((3, 17, 11), dtype, "tensor"))
        operator, clamp = derived.program.stages[:2]
        assert isinstance(operator, SpatialSparse)
        assert clamp == Clamp(0.0, white)
        # Neighbours of the inside: nine taps; the border is copied.
        assert operator.matrix.nnz == 9 * 15 * 9 + (17 * 11 - 15 * 9)
        # Without the rounding of bytes, which clamps too.
        program = Program((3, 17, 11), (operator, clamp))
        assert (clamp in simplify(program, Range.of(3, 0.0, white)).program.stages) is acts


def test_values_beyond_white_are_clamped() -> None:
    image = np.random.default_rng(0).normal(0.5, 2.0, (1, 9, 8))
    transform = partial(f2.adjust_sharpness, sharpness_factor=1.0)
    expected = transform(torch.from_numpy(image)).numpy()
    assert expected.min() == 0.0
    assert expected.max() == 1.0
    derived = derive(transform, ImageSpec((1, 9, 8), "float64", "tensor"))
    np.testing.assert_allclose(derived.program.apply(image), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("side", [(2, 9), (9, 1)])
def test_small_images_are_left_alone_even_beyond_white(side: tuple[int, int]) -> None:
    transform = partial(f2.adjust_sharpness, sharpness_factor=2.0)
    assert derive(transform, ImageSpec((3, *side), "float32", "tensor")).program.stages == ()
    image = torch.full((3, *side), 7.0)
    assert torch.equal(transform(image), image)


def test_pillow_takes_negative_factors(assert_bytes: Callable[..., None]) -> None:
    assert_bytes(partial(f2.adjust_sharpness, sharpness_factor=-1.0), ImageSpec((3, 17, 11), "uint8", "pil"), 2)


@pytest.mark.parametrize(
    ("shape", "factor", "said"),
    [
        ((3, 17, 11), -0.1, "sharpness_factor -0.1 for 3 channels"),
        ((3, 17, 11), float("nan"), "sharpness_factor nan"),
        ((4, 17, 11), 2.0, "sharpness_factor 2.0 for 4 channels"),
        ((3, 3000, 4000), 2.0, "108,000,000 taps"),
    ],
    ids=str,
)
def test_refusals(shape: Any, factor: float, said: str) -> None:
    with pytest.raises(UnsupportedTransformError, match=said):
        derive(partial(f2.adjust_sharpness, sharpness_factor=factor), ImageSpec(shape, "float32", "tensor"))


def test_pillow_smooths_with_the_same_kernel() -> None:
    # One bright pixel shows the kernel, thirteenths of 255, in whole levels.
    image = np.zeros((5, 5), dtype=np.uint8)
    image[2, 2] = 255
    derived = derive(partial(f2.adjust_sharpness, sharpness_factor=0.0), ImageSpec((1, 5, 5), "uint8", "pil"))
    smoothed = f2.adjust_sharpness(Image.fromarray(image), 0.0)
    np.testing.assert_array_equal(derived.program.apply(image[None])[0], np.asarray(smoothed))
    assert np.asarray(smoothed)[2].tolist() == [0, 20, 98, 20, 0]
