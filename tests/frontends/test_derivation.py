"""Pipelines: flattening, attribution, random compositions, handlers of the user's own."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torchvision import transforms as v1
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as f2

from onelayer.algebra import Quantize, Separable, Stage
from onelayer.errors import OnelayerError
from onelayer.frontends import ImageSpec, UnsupportedTransformError, derive, register
from onelayer.frontends import base as registry

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
    assert [step.place for step in derived.steps] == [0, 1, 2, 3, 4]
    assert [step.stages for step in derived.steps] == [range(1), range(1, 1), range(1, 2), range(2, 3), range(3, 4)]
    assert derived.steps[3].text == "Normalize(mean=[0.5], std=[0.5], inplace=False)"
    assert derived.steps[0].after == ImageSpec((3, 12, 8), "uint8", "tensor") == derived.steps[1].before
    assert derived.steps[2].after == replace(derived.steps[2].before, dtype="float32")
    assert (derived.given, derived.after) == (BYTES, ImageSpec((3, 4, 4), "float32", "tensor"))
    assert not any(isinstance(stage, Quantize) for stage in derived.program.stages)


def test_the_last_rounding_belongs_to_no_step() -> None:
    derived = derive(v2.Compose([v2.Resize(8, "bicubic"), v2.Grayscale(), v2.Resize(8)]), BYTES)
    assert derived.program.stages[-1] == Quantize("half_even")
    taken = [index for step in derived.steps for index in step.stages]
    assert taken == list(range(len(derived.program.stages) - 1))
    assert [len(step.stages) for step in derived.steps] == [2, 1, 0]


def test_an_empty_sequence_is_the_identity() -> None:
    derived = derive(nn.Sequential(), FLOATS)
    assert (derived.program.stages, derived.steps, derived.after) == ((), (), FLOATS)


@st.composite
def transforms_for(draw: st.DrawFn, channels: int, height: int, width: int) -> Any:
    # Antialiased resizes to a width of 1 are refused.
    size, wide = st.integers(1, 30), st.integers(2, 30)
    short = min(height, width)
    reach = st.integers(0, 5)
    options = [
        st.builds(v2.Resize, wide, st.sampled_from(["bilinear", "bicubic"]), antialias=st.booleans()),
        st.builds(v2.Resize, st.tuples(size, wide), st.sampled_from(["bilinear", "bicubic", "lanczos"])),
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


@settings(max_examples=150, deadline=None)
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
    assert derived.after.shape == tuple(expected.shape[-3:])
    # In float64, so that torch's float32 weights and places of samples hide nothing: roundings of 1e-16 of the largest
    # value on the way are left, enlarged up to five times by each deviation of 0.2 that is divided by.
    atol = 1e-15 * largest * 5**5
    np.testing.assert_allclose(derived.program.apply(image), expected.numpy(), rtol=0, atol=atol)


class Halved(nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image / 2


def halved(_: Any, given: ImageSpec) -> tuple[list[Stage], ImageSpec]:
    channels = given.shape[0]
    return [Separable.of_channels(np.eye(channels) / 2, np.zeros(channels), given.shape[1:])], given


@pytest.fixture
def _own_handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "HANDLERS", dict(registry.HANDLERS))


@pytest.mark.usefixtures("_own_handlers")
def test_users_bring_their_own_handlers(assert_floats: Any) -> None:
    assert register(Halved)(halved) is halved
    register(torch.flip)(lambda _, given: ([], given))
    assert_floats(v2.Compose([v2.Resize(9), Halved(), v2.CenterCrop(5)]), (3, 17, 11))
    assert derive(partial(torch.flip, dims=[-1]), FLOATS).steps[0].name == "flip"


def test_and_they_are_gone_again() -> None:
    with pytest.raises(UnsupportedTransformError, match="Halved is not a transform that onelayer knows"):
        derive(Halved(), FLOATS)


@pytest.mark.usefixtures("_own_handlers")
def test_a_handler_replaces_the_built_in_one() -> None:
    register(v2.Resize)(halved)
    assert derive(v2.Resize(5), FLOATS).after == FLOATS


@pytest.mark.usefixtures("_own_handlers")
def test_a_handler_that_contradicts_its_stages() -> None:
    register(Halved)(lambda _, given: ([], replace(given, shape=(1, 2, 3))))
    with pytest.raises(UnsupportedTransformError, match=r"stages give images \(3, 17, 11\), but it says \(1, 2, 3\)"):
        derive(Halved(), FLOATS)


class Square(v2.Resize):
    """Differs from its parent in how it is built only."""

    def __init__(self, side: int) -> None:
        super().__init__((side, side))


class Twice(v2.Resize):
    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return super().transform(super().transform(inpt, params), params)


class Repeated(v2.Compose):
    def forward(self, *inputs: Any) -> Any:
        return super().forward(super().forward(*inputs))


def test_subclasses(assert_floats: Any) -> None:
    assert_floats(Square(9), (3, 17, 11))
    with pytest.raises(UnsupportedTransformError, match="Twice inherits from Resize but has its own transform"):
        derive(Twice(9), FLOATS)
    with pytest.raises(UnsupportedTransformError, match="Repeated is not a transform"):
        derive(Repeated([v2.Resize(9)]), FLOATS)


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
def test_what_cannot_be_given(shape: Any, dtype: Any, container: Any) -> None:
    with pytest.raises(OnelayerError, match="given"):
        ImageSpec(shape, dtype, container)
