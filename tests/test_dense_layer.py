from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from onelayer import DenseLayer, OnelayerError

shapes = st.tuples(st.integers(1, 3), st.integers(1, 17), st.integers(1, 11))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(shapes, shapes, st.integers(0, 3))
def test_is_a_matrix_product(input_shape: tuple[int, int, int], output_shape: tuple[int, int, int], n: int) -> None:
    layer = DenseLayer(input_shape, output_shape, generator())
    images = torch.rand(n, *input_shape, generator=generator(1))
    weight, bias = layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy()
    expected = images.double().numpy().reshape(n, math.prod(input_shape)) @ weight.T + bias
    outputs = layer(images)
    assert outputs.shape == (n, *output_shape)
    # at most 561 products of numbers below 1 in float32, weights below 1/√561
    np.testing.assert_allclose(outputs.detach().numpy().reshape(expected.shape), expected, atol=1e-5)
    if n:
        torch.testing.assert_close(layer(images[0]), outputs[0], rtol=0, atol=1e-6)


def test_a_single_weight_reaches_the_pixel_it_should() -> None:
    layer = DenseLayer((2, 3, 4), (1, 2, 5))
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.zero_()
        layer.weight[1 * 5 + 2, 1 * 12 + 2 * 4 + 3] = 1  # output (0, 1, 2) reads input (1, 2, 3)
    image = torch.rand(2, 3, 4)
    expected = torch.zeros(1, 2, 5)
    expected[0, 1, 2] = image[1, 2, 3]
    assert torch.equal(layer(image), expected)


def test_same_generator_same_weights() -> None:
    first, second = (DenseLayer((1, 4, 4), (1, 2, 2), generator(5)) for _ in range(2))
    other = DenseLayer((1, 4, 4), (1, 2, 2), generator(6))
    assert torch.equal(first.weight, second.weight)
    assert not torch.equal(first.weight, other.weight)
    assert float(first.weight.detach().abs().max()) <= 1 / 4


@pytest.mark.parametrize(
    "images",
    [torch.zeros(2, 4, 4), torch.zeros(1, 4, 5), torch.zeros(16), torch.zeros(1, 1, 1, 4, 4), torch.zeros(0, 1, 4, 5)],
)
def test_other_shapes_are_refused(images: torch.Tensor) -> None:
    with pytest.raises(OnelayerError, match=r"expected \[1, 4, 4\] or \[N, 1, 4, 4\]"):
        DenseLayer((1, 4, 4), (1, 2, 2))(images)


def test_integers_are_refused_with_the_cure() -> None:
    with pytest.raises(OnelayerError, match="Divide uint8 images by 255"):
        DenseLayer((1, 4, 4), (1, 2, 2))(torch.zeros(1, 4, 4, dtype=torch.uint8))


@pytest.mark.parametrize("shape", [(0, 4, 4), (4, 4), (3, -1, 2)])
def test_impossible_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(OnelayerError, match="three sizes"):
        DenseLayer(shape, (1, 2, 2))  # type: ignore[arg-type]


def test_the_layer_of_an_imagenet_pipeline_is_refused_before_it_is_built() -> None:
    with pytest.raises(OnelayerError, match="22,658,678,784 weights"):
        DenseLayer((3, 224, 224), (3, 224, 224))
