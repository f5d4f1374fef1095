"""The registry: which transform has a handler, and what a handler may state."""

from __future__ import annotations

import re
import textwrap
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from torch import nn
from torchvision import transforms as v1
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as f2

import onelayer
from onelayer.algebra import Lookup, Quantize, Separable, Stage
from onelayer.errors import OnelayerError
from onelayer.frontends import ImageSpec, UnsupportedTransformError, derive, register
from onelayer.selfcheck.checking import difference_of

FLOATS = ImageSpec((3, 17, 11), "float32", "tensor")
BYTES = replace(FLOATS, dtype="uint8")


class Halved(nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image / 2 if image.is_floating_point() else image // 2


def real_half(_: Any, spec: ImageSpec) -> tuple[list[Stage], ImageSpec]:
    channels = spec.shape[0]
    return [Separable.of_channels(np.eye(channels) / 2, np.zeros(channels), spec.shape[1:])], spec


def rounded_half(transform: Any, spec: ImageSpec, rounding: str) -> tuple[list[Stage], ImageSpec]:
    stages, output = real_half(transform, spec)
    return [*stages, *([Quantize("truncate")] if rounding == "exact" else [])], output


@pytest.mark.usefixtures("handlers")
def test_a_handler_of_real_arithmetic(assert_floats: Any) -> None:
    assert register(Halved)(real_half) is real_half
    assert_floats(v2.Compose([v2.Resize(9), Halved(), v2.CenterCrop(5)]), (3, 17, 11))
    with pytest.raises(
        UnsupportedTransformError, match=r"rounding is not known.*rounding='fused'.*without fullgraph=True"
    ):
        onelayer.compile(Halved(), fullgraph=True)(torch.zeros(3, 5, 4, dtype=torch.uint8))
    assert torch.equal(
        onelayer.compile(Halved(), rounding="fused")(torch.full((3, 5, 4), 100, dtype=torch.uint8)),
        torch.full((3, 5, 4), 50, dtype=torch.uint8),
    )


@pytest.mark.usefixtures("handlers")
def test_a_handler_of_both_roundings(assert_floats: Any) -> None:
    register(Halved)(rounded_half)
    assert_floats(Halved(), (3, 17, 11))
    transform = v2.Compose([v2.Resize(9), Halved(), v2.Resize(7)])
    image = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 17, 11), dtype=np.uint8))
    assert difference_of(onelayer.compile(transform)(image), transform(image)) is None


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize(
    ("stages", "is_exact"),
    [
        ([Separable.of_channels(np.eye(3)[::-1], np.array([0.0, 7.0, 0.0]), (5, 4))], True),
        ([Separable.of_channels(np.eye(3), np.full(3, 0.5), (5, 4))], False),
        ([Separable.of_channels(-np.eye(3), np.full(3, 255.0), (5, 4))], False),
        ([Separable.of_channels(np.ones((3, 3)), np.zeros(3), (5, 4))], False),
        ([Lookup(np.arange(256.0)[::-1])], True),
        ([Lookup(np.arange(256.0) / 2)], False),
        ([Quantize("truncate")], False),
    ],
)
def test_real_arithmetic_is_exact_where_nothing_is_rounded(stages: list[Stage], is_exact: bool) -> None:
    register(Halved)(lambda _, spec: (stages, spec))
    spec = ImageSpec((3, 5, 4), "uint8", "tensor")
    derive(Halved(), spec, "fused")
    if is_exact:
        assert derive(Halved(), spec, "exact").program.stages == tuple(stages)
    else:
        with pytest.raises(UnsupportedTransformError, match="bit for bit"):
            derive(Halved(), spec, "exact")


@pytest.mark.usefixtures("handlers")
def test_the_documented_handlers(assert_floats: Any) -> None:
    docs = (Path(__file__).parents[2] / "docs" / "architecture.md").read_text(encoding="utf-8")
    first, second, third = re.findall(
        r"(?:^ {4,}(?:import|from|@|class|def) .*\n(?:^(?: {4,}.*)?\n)*)",
        docs.split("## Adding a transform")[1],
        re.MULTILINE,
    )
    names: dict[str, Any] = {}
    for code in (first, second, third):
        exec(textwrap.dedent(code), names)
    assert_floats(names["DarkBlueFirst"](0.5), (3, 17, 11))
    assert_floats(names["Halve"](), (3, 17, 11))
    image = torch.arange(60, dtype=torch.uint8).reshape(3, 5, 4)
    assert torch.equal(onelayer.compile(names["Halve"]())(image), image // 2)
    with pytest.raises(OnelayerError, match="halves of floats"):
        onelayer.compile(names["Halve"](), rounding="exact", fullgraph=True)(image.float())
    whole = v1.Compose([v1.Resize(3), names["IfNeeded"](), v1.Normalize([0.5], [0.5])])
    pictures = (PIL.Image.fromarray(image[0].numpy()), PIL.Image.fromarray(image.movedim(0, -1).contiguous().numpy()))
    for picture in pictures:
        layer = onelayer.compile(whole, fullgraph=True, example=picture)
        assert difference_of(layer(picture), whole(picture)) is None
    dark = v2.Compose([v2.Resize(3), names["Darker"](), v2.ToDtype(torch.float32, scale=True)])
    assert difference_of(onelayer.compile(dark, fullgraph=True)(image), dark(image)) is None


class Contrast(torch.nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image - image.float().mean()


@pytest.mark.usefixtures("handlers")
def test_tables_of_what_looks_at_other_pixels_are_refused() -> None:
    onelayer.register_table(Contrast)
    image = torch.arange(60, dtype=torch.uint8).reshape(3, 5, 4)
    with pytest.raises(OnelayerError, match="depends on others"):
        onelayer.compile(Contrast(), fullgraph=True)(image)
    assert torch.equal(onelayer.compile(Contrast())(image), Contrast()(image))


@pytest.mark.usefixtures("handlers")
def test_a_handler_for_functions_and_for_several_kinds() -> None:
    register(torch.flip, Halved)(lambda _, spec: ([], spec))
    assert derive(partial(torch.flip, dims=[-1]), FLOATS).steps[0].name == "flip"
    assert derive(Halved(), FLOATS).steps[0].name == "Halved"


def test_and_they_are_gone_again() -> None:
    with pytest.raises(UnsupportedTransformError, match="Halved is not a transform that onelayer knows"):
        derive(Halved(), FLOATS)


@pytest.mark.usefixtures("handlers")
def test_a_handler_replaces_the_built_in_one() -> None:
    register(v2.Resize)(real_half)
    assert derive(v2.Resize(5), FLOATS).output_spec == FLOATS


@pytest.mark.usefixtures("handlers")
def test_handlers_that_cannot_be() -> None:
    for handler in (lambda transform: ([], transform), lambda transform, spec, dtype: ([], spec)):
        with pytest.raises(OnelayerError, match=r"expected handler\(transform, spec\) or"):
            register(Halved)(handler)  # type: ignore[type-var]
    register(Halved)(lambda _, spec: ([], replace(spec, shape=(1, 2, 3))))
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


class Turned(v1.RandomRotation):
    @staticmethod
    def get_params(degrees: list[float]) -> float:
        return 90.0


def hooked() -> v2.Normalize:
    transform = v2.Normalize([0.5], [0.5])
    transform.register_forward_hook(lambda module, inputs, output: output * 0)
    return transform


def patched() -> v2.Normalize:
    transform = v2.Normalize([0.5], [0.5])
    transform.transform = lambda image, params: image * 0  # type: ignore[method-assign]
    return transform


def test_subclasses_and_what_does_something_else_than_its_class(assert_floats: Any, assert_refused: Any) -> None:
    assert_floats(Square(9), (3, 17, 11))
    for transform, text in (
        (Twice(9), "Twice inherits from Resize but has its own transform"),
        (Repeated([v2.Resize(9)]), "Repeated is not a transform"),
        (Turned((0, 0)), "Turned inherits from RandomRotation but has its own get_params"),
        (hooked(), "hooks of its own"),
        (patched(), "transform of its own"),
    ):
        assert "onelayer.register" in assert_refused(transform, FLOATS, text).hint


def test_a_class_is_no_transform(assert_refused: Any) -> None:
    for kind in (v2.CenterCrop, v2.FiveCrop, Halved, partial(v2.Resize, 224)):
        assert "v2.Resize(224)" in assert_refused(kind, FLOATS, "the class").hint
        with pytest.raises(OnelayerError, match=r"the class \w+ was given.*expected an instance of it, \w+\(…\)"):
            onelayer.compile(kind)
    with pytest.raises(OnelayerError, match="the class FiveCrop was given"):
        onelayer.compile(v2.Compose([v2.FiveCrop]), fullgraph=True)(torch.zeros(3, 5, 5))


def test_arguments_of_functions(assert_refused: Any) -> None:
    for transform, text in (
        (partial(f2.resize, [5]), "positional arguments"),
        (partial(f2.resize, sizes=[5]), "cannot be called with {'sizes': [5]}"),
        (f2.resize, "missing a required argument: 'size'"),
    ):
        assert_refused(transform, FLOATS, text)
