"""Pipelines: flattening, attribution, random compositions, hints."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torchvision import models
from torchvision import transforms as v1
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as f2

import onelayer
from onelayer.algebra import Quantize
from onelayer.errors import OnelayerError
from onelayer.frontends import ImageSpec, UnsupportedTransformError, derive
from onelayer.frontends.torchvision.rounding_rules import tensors_have_lanczos

BYTES = ImageSpec((3, 17, 11), "uint8", "tensor")
FLOATS = ImageSpec((3, 17, 11), "float32", "tensor")


def test_nested_pipelines_are_counted_through() -> None:
    pipeline = v2.Compose(
        [
            v1.Compose([v2.Resize(8), v2.Identity()]),
            nn.Sequential(v2.ToDtype(torch.float32, scale=True), nn.Sequential(v2.Normalize([0.5], [0.5]))),
            partial(f2.center_crop, output_size=[4]),
        ]
    )
    derived = derive(pipeline, BYTES)
    assert [step.name for step in derived.steps] == ["Resize", "Identity", "ToDtype", "Normalize", "center_crop"]
    assert [step.index for step in derived.steps] == [0, 1, 2, 3, 4]
    assert [step.stages for step in derived.steps] == [range(1), range(1, 1), range(1, 2), range(2, 3), range(3, 4)]
    assert derived.steps[3].text == "Normalize(mean=[0.5], std=[0.5], inplace=False)"
    assert derived.steps[0].output_spec == ImageSpec((3, 12, 8), "uint8", "tensor") == derived.steps[1].input_spec
    assert derived.steps[2].output_spec == replace(derived.steps[2].input_spec, dtype="float32")
    assert (derived.input_spec, derived.output_spec) == (BYTES, ImageSpec((3, 4, 4), "float32", "tensor"))
    assert not any(isinstance(stage, Quantize) for stage in derived.program.stages)


def test_the_last_rounding_belongs_to_no_step() -> None:
    derived = derive(v2.Compose([v2.Resize(8, Mode.BICUBIC), v2.Grayscale(), v2.Resize(8)]), BYTES)
    assert derived.program.stages[-1] == Quantize("half_even")
    taken = [index for step in derived.steps for index in step.stages]
    assert taken == list(range(len(derived.program.stages) - 1))
    assert [len(step.stages) for step in derived.steps] == [2, 1, 0]


def test_an_empty_sequence_is_the_identity() -> None:
    derived = derive(nn.Sequential(), FLOATS)
    assert (derived.program.stages, derived.steps, derived.output_spec) == ((), (), FLOATS)


Mode = v2.InterpolationMode
ANTIALIASED = [Mode.BILINEAR, Mode.BICUBIC, *([Mode.LANCZOS] if tensors_have_lanczos() else [])]


@st.composite
def transforms_for(draw: st.DrawFn, channels: int, height: int, width: int) -> Any:
    # Antialiased resizes to a width of 1 are refused.
    size, wide = st.integers(1, 30), st.integers(2, 30)
    short = min(height, width)
    reach = st.integers(0, 5)
    options = [
        st.builds(v2.Resize, wide, st.sampled_from([Mode.BILINEAR, Mode.BICUBIC]), antialias=st.booleans()),
        st.builds(v2.Resize, st.tuples(size, wide), st.sampled_from(ANTIALIASED)),
        st.builds(v1.Resize, st.tuples(size, wide), antialias=st.booleans()),
        st.builds(v2.CenterCrop, st.tuples(size, size)),
        # A quarter is the same number in float32.
        st.builds(v2.Pad, st.tuples(reach, reach, reach, reach), st.integers(-8, 8).map(lambda fill: fill / 4)),
        st.builds(v2.Pad, st.integers(0, short), padding_mode=st.sampled_from(["edge", "symmetric"])),
        st.builds(v2.Pad, st.integers(0, short - 1), padding_mode=st.just("reflect")),
        st.builds(v2.GaussianBlur, st.integers(0, min(3, short - 1)).map(lambda r: 2 * r + 1), st.floats(0.2, 3.0)),
        st.sampled_from([v2.RandomHorizontalFlip(p=1), v1.RandomVerticalFlip(p=1), v2.RandomInvert(p=1), f2.invert]),
        st.builds(v2.Grayscale, st.sampled_from([1, 3])),
        st.builds(lambda m, s: v1.Normalize([m] * channels, [s] * channels), st.floats(-1, 1), st.floats(0.2, 2.0)),
    ]
    return draw(st.one_of(options))


@given(st.data())
def test_random_pipelines(data: st.DataObject) -> None:
    shape = (data.draw(st.sampled_from([1, 3])), data.draw(st.integers(1, 30)), data.draw(st.integers(1, 30)))
    image = np.random.default_rng(0).random((2, *shape))
    expected, largest, parts = torch.from_numpy(image), 1.0, []
    for _ in range(data.draw(st.integers(1, 5))):
        parts.append(data.draw(transforms_for(*expected.shape[-3:])))
        expected = parts[-1](expected)
        largest = max(largest, float(expected.abs().max()))
    derived = derive(v2.Compose(parts), ImageSpec(shape, "float64", "tensor"))
    assert derived.output_spec.shape == tuple(expected.shape[-3:])
    # In float64, so that torch's float32 weights and places of samples hide nothing: roundings of 1e-16 of the largest
    # value on the way are left, enlarged up to five times by each deviation of 0.2 that is divided by.
    atol = 1e-15 * largest * 5**5
    np.testing.assert_allclose(derived.program.apply(image), expected.numpy(), rtol=0, atol=atol)


def test_look_ups_behind_values_between_integers() -> None:
    for transform in (v2.RandomPosterize(3, p=1), v1.RandomSolarize(9, p=1)):
        with pytest.raises(UnsupportedTransformError, match=r"look-up table takes whole.*rounding='exact'") as caught:
            derive(v2.Compose([v2.Resize(5), transform]), BYTES)
        assert caught.value.stage == 1
        # Pixels that are only moved, filled or inverted stay whole.
        derive(v2.Compose([v2.Resize(5, Mode.NEAREST), v2.Pad(2, fill=7), v2.RandomInvert(p=1), transform]), BYTES)
        derive(v2.Compose([v2.Resize(5), transform]), BYTES, "exact")


PRESET = models.ResNet50_Weights.DEFAULT.transforms()


@pytest.mark.parametrize(
    ("transform", "spec", "hint"),
    [
        (
            v2.Normalize([0.5] * 3, [0.5] * 3),
            replace(FLOATS, shape=(240, 320, 3)),
            r"240×320 pixels .* \(3, 240, 320\)",
        ),
        (PRESET, replace(BYTES, shape=(240, 320, 3)), r"240×320 pixels with 3 channels is \(3, 240, 320\)"),
        (v2.FiveCrop(224), replace(BYTES, shape=(240, 320, 1)), r"functional.crop"),
        (v2.CenterCrop(0), replace(BYTES, shape=(240, 320, 3)), "Change the arguments"),
        (v2.Compose([v2.Resize(9), v2.Grayscale()]), replace(BYTES, shape=(240, 320, 1)), "Channels come first"),
        (v2.Grayscale(), replace(BYTES, shape=(320, 3, 240), container="numpy"), "Channels of NumPy arrays come last"),
        (v2.Grayscale(), replace(BYTES, shape=(9, 32, 31)), "Change the arguments"),
        (v2.GaussianBlur(3), replace(BYTES, shape=(240, 320, 3)), "Give a single sigma"),
        (v2.Normalize([0.5] * 3, [0.5] * 3), replace(BYTES, shape=(240, 320, 3)), "Put v2.ToImage"),
    ],
)
def test_channels_at_the_other_end(transform: Any, spec: ImageSpec, hint: str) -> None:
    with pytest.raises(UnsupportedTransformError) as caught:
        derive(transform, spec)
    assert "Register" not in str(caught.value)
    assert caught.value.hint is not None
    assert re.search(hint, caught.value.hint), caught.value.hint


def test_arrays_and_tensors_with_channels_at_the_other_end() -> None:
    with pytest.raises(OnelayerError, match=r"Channels come first: \(24, 32, 3\) means 24 channels of 32×3 pixels"):
        onelayer.compile(PRESET, fullgraph=True)(torch.zeros(24, 32, 3))
    with pytest.raises(OnelayerError, match=r"has 32 of them, and 3×24 pixels"):
        onelayer.compile(v2.Grayscale(), fullgraph=True)(np.zeros((3, 24, 32), np.uint8))


@pytest.mark.parametrize(
    ("shape", "dtype", "container"),
    [
        ((3, 0, 5), "uint8", "tensor"),
        ((3, 5), "uint8", "tensor"),
        ((3, 5, 5), "int64", "tensor"),
        ((3, 5, 5), "uint8", "jpeg"),
        ((3, 5, 5), "float32", "pil"),
        ((4, 5, 5), "uint8", "pil"),
    ],
)
def test_specs_that_cannot_be(shape: Any, dtype: Any, container: Any) -> None:
    with pytest.raises(OnelayerError, match="given"):
        ImageSpec(shape, dtype, container)


def test_a_spec_of_a_picture_with_channels_last() -> None:
    with pytest.raises(OnelayerError, match=r"Channels come first, as in \(3, 240, 320\)"):
        ImageSpec((240, 320, 3), "uint8", "pil")
