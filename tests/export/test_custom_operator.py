"""A model behind a layer goes whole through torch.compile, torch.export, tracing and the meta device."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import pytest
import torch
from torch import nn
from torchvision import tv_tensors
from torchvision.transforms import v2

import onelayer
from onelayer.custom_operator import define_operator

PIXELS = torch.randint(0, 256, (2, 3, 30, 25), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def whole(function: Any) -> Any:
    return torch.compile(function, fullgraph=True, backend="aot_eager")


@pytest.fixture
def transform() -> v2.Compose:
    torch.compiler.reset()
    return v2.Compose([v2.Resize(20), v2.CenterCrop(16), v2.ToDtype(torch.float32, scale=True)])


@pytest.fixture
def model(transform: v2.Compose) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(onelayer.compile(transform), nn.Conv2d(3, 4, 3), nn.ReLU()).eval()


def test_a_model_behind_a_layer_is_one_graph(model: nn.Module, transform: v2.Compose) -> None:
    with torch.no_grad():
        expected = model[1:](transform(PIXELS))
        assert torch.equal(model(PIXELS), expected)
        assert torch.equal(whole(model)(PIXELS), expected)
        for strict in (False, True):
            program = torch.export.export(model, (PIXELS,), strict=strict)
            assert [str(node.target) for node in program.graph.nodes].count("onelayer.preprocess.default") == 1
            assert torch.equal(program.module()(PIXELS), expected)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*torch.jit.* is deprecated")
            assert torch.equal(torch.jit.trace(model, (PIXELS,))(PIXELS), expected)
        on_meta = copy.deepcopy(model).to("meta")(PIXELS.to("meta"))
        assert (on_meta.shape, on_meta.dtype, on_meta.is_meta) == (expected.shape, expected.dtype, True)


def test_the_operator_is_what_pytorch_expects(transform: v2.Compose) -> None:
    define_operator()
    operator = torch.ops.onelayer.preprocess.default
    layouts = PIXELS, PIXELS.to(memory_format=torch.channels_last)
    # Rows of one channel are a view without gaps.
    cases = (transform, layouts), (v2.Resize((30, 25)), layouts), (v2.CenterCrop((8, 25)), (PIXELS[0, :1],))
    for each, batches in cases:
        layer = onelayer.compile(each)
        for images in batches:
            torch.library.opcheck(operator, (images, layer._number))
            assert torch.equal(operator(images, layer._number), each(images))


def test_sizes_and_memory_formats_in_a_compiled_graph(transform: v2.Compose) -> None:
    compiled = whole(onelayer.compile(transform))
    for shape in ((2, 3, 31, 25), (1, 3, 44, 33), (3, 50, 60)):
        images = torch.randint(0, 256, shape, dtype=torch.uint8)
        assert torch.equal(compiled(images), transform(images))
    batch = PIXELS.to(memory_format=torch.channels_last)
    assert compiled(batch).is_contiguous(memory_format=torch.channels_last)


def test_what_is_no_operator_stays_between_graphs() -> None:
    """Random pipelines draw their numbers in turn, and gradients flow."""
    torch.compiler.reset()
    random = v2.RandomResizedCrop(20, antialias=True)
    layer = onelayer.compile(random)
    compiled = torch.compile(lambda images: layer(images) + 1, backend="aot_eager")
    torch.manual_seed(0)
    result = compiled(PIXELS)
    torch.manual_seed(0)
    assert torch.equal(result, random(PIXELS) + 1)
    with pytest.raises(torch._dynamo.exc.Unsupported):
        whole(lambda images: layer(images) + 1)(PIXELS)

    smooth = onelayer.compile(v2.Compose([v2.Resize(12), v2.Normalize([0.5], [0.2])]))
    gradients = []
    for function in (smooth, torch.compile(smooth, backend="aot_eager")):
        leaf = torch.rand(1, 20, 20, generator=torch.Generator().manual_seed(1)).requires_grad_()
        function(leaf).square().sum().backward()
        gradients.append(leaf.grad)
    assert torch.equal(*gradients)

    crops = onelayer.compile(v2.FiveCrop(8))
    results = torch.compile(lambda images: [crop + 1 for crop in crops(images)], backend="aot_eager")(PIXELS)
    assert all(torch.equal(a, b + 1) for a, b in zip(results, v2.FiveCrop(8)(PIXELS), strict=True))
    assert isinstance(onelayer.compile(v2.Resize(9))(tv_tensors.Image(PIXELS)), tv_tensors.Image)


def test_copies_of_a_layer_have_numbers_of_their_own(transform: v2.Compose) -> None:
    layer = onelayer.compile(transform)
    other = copy.deepcopy(layer)
    assert layer._number != other._number
    expected = whole(other)(PIXELS)
    del layer
    assert torch.equal(whole(other)(PIXELS), expected)
