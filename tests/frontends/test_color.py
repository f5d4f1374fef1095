"""Transforms of channels and of single values, against torchvision's own result."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torchvision import transforms as v1
from torchvision.transforms import functional as f1
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as f2

from onelayer.algebra import Lookup
from onelayer.frontends import ImageSpec, derive

FLOATS = ImageSpec((3, 17, 11), "float32", "tensor")
BYTES = replace(FLOATS, dtype="uint8")
ROOMY = [(3, 17, 11), (3, 40, 23), (1, 17, 11)]


def test_float_tensors(assert_floats: Any) -> None:
    for transform in (
        v2.Grayscale(),
        v2.Grayscale(3),
        v1.Grayscale(3),
        v1.RandomGrayscale(p=1),
        v2.RandomGrayscale(p=1),
        v2.RGB(),
        v2.Normalize([0.4], [0.2]),
        partial(f2.normalize, mean=[0.5], std=[0.25]),
        v2.RandomInvert(p=1),
        v1.RandomInvert(p=1),
        f1.invert,
        partial(f2.adjust_brightness, brightness_factor=1.7),
        partial(f1.adjust_brightness, brightness_factor=0.3),
        partial(f2.adjust_saturation, saturation_factor=2.5),
        partial(f1.adjust_saturation, saturation_factor=0.0),
        partial(f2.adjust_gamma, gamma=0.45),
        partial(f2.adjust_gamma, gamma=2.2, gain=1.5),
        partial(f1.adjust_gamma, gamma=2.0),
    ):
        for shape in (*ROOMY, (3, 1, 1)):
            assert_floats(transform, shape)


def test_numbers_per_channel(assert_floats: Any) -> None:
    assert_floats(v1.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), (3, 17, 11))
    assert_floats(v2.Normalize([0.5, 0.0], [0.2, -3.0]), (2, 17, 11))


def test_permuted_channels(assert_floats: Any, assert_bytes: Any) -> None:
    transform = partial(f2.permute_channels, permutation=[2, 0, 1])
    assert_floats(transform, (3, 5, 4))
    assert_bytes(transform, ImageSpec((3, 5, 4), "uint8", "pil"), 0)


def test_linear_transformation(assert_floats: Any) -> None:
    for library in (v1, v2):
        draws = torch.Generator().manual_seed(1)
        matrix = torch.rand(30, 30, generator=draws, dtype=torch.float64)
        transform = library.LinearTransformation(matrix.float(), torch.rand(30, generator=draws))
        assert_floats(transform, (2, 5, 3), exact=None)


def test_bytes(assert_bytes: Any) -> None:
    for transform, levels in (
        # Tensors truncate, PIL images round.
        (v2.Grayscale(), 1),
        (v1.Grayscale(3), 1),
        (v2.RGB(), 0),
        (v2.RandomInvert(p=1), 0),
        (v1.RandomSolarize(100, p=1), 0),
        (v2.RandomSolarize(100, p=1), 0),
        (v2.RandomPosterize(3, p=1), 0),
        (v1.RandomPosterize(1, p=1), 0),
        (v2.Compose([v2.CenterCrop(20), v2.RandomInvert(p=1), v2.RandomPosterize(5, p=1), v2.Resize(9)]), 2),
        (partial(f2.solarize, threshold=9), 0),
        (partial(f1.posterize, bits=8), 0),
        (partial(f2.adjust_brightness, brightness_factor=1.7), 1),
        # What rounds is the luma, and up to 1.5 times that is taken off.
        (partial(f2.adjust_saturation, saturation_factor=2.5), 2.5),
        (partial(f2.adjust_gamma, gamma=0.45, gain=1.1), 0),
        (partial(f1.adjust_gamma, gamma=2.2), 0),
    ):
        for shape in ROOMY:
            for container in ("tensor", "pil"):
                assert_bytes(transform, ImageSpec(shape, "uint8", container), levels)


def test_look_ups_stand_before_new_values() -> None:
    derived = derive(v2.RandomPosterize(2, p=1), ImageSpec((3, 2, 2), "uint8", "tensor"))
    assert isinstance(derived.program.stages[0], Lookup)
    image = np.array([[[0, 63], [64, 255]]] * 3)
    np.testing.assert_array_equal(derived.program.apply(image)[0], [[0, 0], [64, 192]])


def test_tables_draw_no_random_numbers() -> None:
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    derive(v2.RandomSolarize(100, p=1), BYTES, "exact")
    assert torch.equal(torch.rand(1), expected)


def test_refusals(assert_refused: Any) -> None:
    four = replace(BYTES, shape=(4, 17, 11))
    for transform, spec, text in (
        (v2.Normalize([0.5], [0.5]), BYTES, "a tensor of uint8 cannot be normalised; expected a float tensor"),
        (v1.Normalize([0.5], [0.5]), replace(BYTES, container="pil"), "a PIL image of uint8 cannot be normalised"),
        (v2.Normalize([0.5] * 2, [0.5]), FLOATS, "mean of 2 numbers for 3 channels"),
        (v2.Normalize([0.5], [0.5, 0.5, 0]), FLOATS, "has a zero"),
        (v2.Grayscale(), replace(four, dtype="float32"), "1 gray channels of 4 channels"),
        (v2.RandomPosterize(3, p=1), FLOATS, "no look-up table for float values"),
        (partial(f2.posterize, bits=9), BYTES, "9 bits"),
        (v2.RandomSolarize(256, p=1), BYTES, "threshold 256"),
        (partial(f1.solarize, threshold=99), four, "torchvision refuses it"),
        (partial(f2.permute_channels, permutation=[0, 0, 1]), BYTES, "permutation [0, 0, 1]"),
        (partial(f2.adjust_brightness, brightness_factor=-1), BYTES, "brightness_factor -1"),
        (partial(f2.adjust_gamma, gamma=-1), BYTES, "gamma -1"),
        (v2.LinearTransformation(torch.eye(4), torch.zeros(4)), FLOATS, "561 values for a matrix of 4"),
        (v2.LinearTransformation(torch.eye(4), torch.zeros(4)), replace(FLOATS, shape=(3, 224, 224)), "weights"),
    ):
        for rounding in ("fused", "exact"):
            assert "Register" not in assert_refused(transform, spec, text, rounding).hint


def test_what_is_not_bit_exact(assert_refused: Any) -> None:
    half = replace(FLOATS, dtype="float16")
    for transform, spec in (
        (partial(f2.adjust_saturation, saturation_factor=2.0), BYTES),
        (partial(f2.adjust_gamma, gamma=2.0), FLOATS),
        (f2.invert, FLOATS),
        (partial(f1.adjust_brightness, brightness_factor=2.0), FLOATS),
        (v2.Normalize([0.5], [0.5]), half),
        (v2.Grayscale(), half),
    ):
        hint = assert_refused(transform, spec, "cannot be reproduced bit for bit", "exact").hint
        assert "rounding='fused'" in hint
        assert "without fullgraph=True" in hint
