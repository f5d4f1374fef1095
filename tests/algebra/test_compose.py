from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from onelayer.algebra import (
    AxisMap,
    Dense,
    Float32Sum,
    Operator,
    Program,
    Range,
    Separable,
    SpatialSparse,
    TooLargeError,
    affine_part,
    compose,
)
from onelayer.algebra.compose import has_product
from onelayer.algebra.float32_sum import resized_in_float32
from onelayer.errors import OnelayerError

# Sums of at most a few thousand products of numbers around one, added in another order.
ROUNDINGS = 1e-11


def random_image(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def assert_composition_is_one_after_the_other(pairs: dict[str, tuple[Operator, Operator]]) -> None:
    for name, (first, second) in pairs.items():
        product = compose(first, second)
        kinds = {type(first), type(second)}
        expected = Dense if Dense in kinds else SpatialSparse if SpatialSparse in kinds else Separable
        assert type(product) is expected, name
        x = random_image((2, *first.in_shape))
        np.testing.assert_allclose(product.apply(x), second.apply(first.apply(x)), rtol=0, atol=ROUNDINGS, err_msg=name)


def test_composition_is_one_after_the_other(pairs: dict[str, tuple[Operator, Operator]]) -> None:
    assert_composition_is_one_after_the_other(pairs)
    kinds = {(type(first), type(second)) for first, second in pairs.values()}
    assert kinds == set(itertools.product((Separable, SpatialSparse, Dense), repeat=2))


@pytest.mark.exhaustive
def test_any_composition_is_one_after_the_other(all_pairs: dict[str, tuple[Operator, Operator]]) -> None:
    assert_composition_is_one_after_the_other(all_pairs)


def test_rounded_sums_are_multiplied_only_with_a_choice_of_their_outputs() -> None:
    taps = resized_in_float32(17, 9, "bilinear", True)
    sums = Float32Sum(AxisMap.identity(1), AxisMap.identity(6), taps, 4)
    x = random_image((2, 1, 6, 17)).astype(np.float32)
    choice = Separable.of_axes(1, AxisMap.flip(6), AxisMap.crop(9, 2, 5))
    product = compose(sums, choice)
    assert isinstance(product, Float32Sum)
    np.testing.assert_array_equal(product.apply(x), choice.apply(sums.apply(x)))
    scale = Separable.identity((1, 6, 9)).rescaled(np.array([2.0]), np.zeros(1))
    turn = Separable.of_axes(1, AxisMap.identity(9), AxisMap.identity(6), transpose=True)
    for other in (scale, turn):
        assert not has_product(sums, other)
        with pytest.raises(OnelayerError, match="Float32Sum and Separable have no product"):
            compose(sums, other)
    before = Separable.identity((1, 6, 17))
    with pytest.raises(OnelayerError, match="Separable and Float32Sum have no product"):
        compose(before, sums)
    assert affine_part(Program((1, 6, 17), (before, sums))) is None


def test_operators_that_do_not_fit_are_not_composed(operators: dict[str, Operator]) -> None:
    with pytest.raises(OnelayerError, match=r"images \(3, 17, 11\) was put behind one that gives \(3, 8, 5\)"):
        compose(operators["down"], operators["flip"])


def test_a_constant_bias_image_becomes_one_number_per_channel(operators: dict[str, Operator]) -> None:
    filled = operators["filled pad"]
    assert filled.bias.shape == (3, 20, 14)
    cropped = compose(filled, Separable.of_axes(3, AxisMap.crop(20, 1, 17), AxisMap.crop(14, 3, 11)))
    assert cropped.bias.shape == (3,)
    assert cropped.is_identity


def test_normalised_weights_leave_nothing_to_fill() -> None:
    resize = Separable.of_axes(3, *(AxisMap.resample(97, 41, "bicubic", antialias=True) for _ in range(2)))
    np.testing.assert_array_equal(resize.with_fill(5.0).bias, np.zeros(3))


def test_a_bias_stays_one_number_per_channel_through_a_resize(operators: dict[str, Operator]) -> None:
    product = compose(operators["normalize"], operators["down"])
    assert product.bias.shape == (3,)
    np.testing.assert_allclose(product.bias, operators["normalize"].bias, rtol=1e-14)


def test_what_would_be_too_large_is_not_built() -> None:
    large = Separable.identity((3, 224, 224))
    with pytest.raises(TooLargeError, match=r"22,658,678,784 weights"):
        large.to_dense()
    with pytest.raises(TooLargeError, match="weights"):
        SpatialSparse(np.eye(3), sparse.eye_array(224**2), (224, 224), (224, 224), np.zeros(3)).to_dense()
    learned = Dense(np.ones((400, 192)), np.zeros(400), (3, 8, 8), (1, 20, 20))
    shrink = Separable.of_axes(3, *(AxisMap.resample(400, 8, "bilinear", antialias=True) for _ in range(2)))
    with pytest.raises(TooLargeError, match="weights"):
        compose(shrink, learned)
    grow = Separable.of_axes(1, *(AxisMap.resample(20, 600, "bilinear", antialias=True) for _ in range(2)))
    with pytest.raises(TooLargeError, match="weights"):
        compose(learned, grow)
    pixels = SpatialSparse(np.eye(3), sparse.eye_array(400**2), (400, 400), (400, 400), np.zeros(3))
    blur = Separable.of_axes(3, *(AxisMap.gaussian_blur(400, 15, 3.0) for _ in range(2)))
    with pytest.raises(TooLargeError, match="36,000,000 multiplications"):
        compose(pixels, blur)


@st.composite
def separables(draw: st.DrawFn, channels: int, height: int, width: int) -> Separable:
    transpose = draw(st.booleans())
    maps = []
    for n in (width, height) if transpose else (height, width):
        made = AxisMap.resample(n, draw(st.integers(1, 12)), draw(st.sampled_from(("box", "bicubic", "lanczos"))), True)
        padding = draw(st.sampled_from(("zero", "edge", "symmetric")))
        maps.append(AxisMap.pad(made.n_out, draw(st.integers(0, 3)), draw(st.integers(0, 3)), padding) @ made)
    random = np.random.default_rng(draw(st.integers(0, 1000)))
    out_channels = draw(st.integers(1, 3))
    shape = (out_channels, maps[0].n_out, maps[1].n_out) if draw(st.booleans()) else (out_channels,)
    return Separable(random.normal(size=(out_channels, channels)), *maps, random.normal(size=shape), transpose)


@st.composite
def chains(draw: st.DrawFn) -> tuple[Separable, Separable]:
    first = draw(separables(draw(st.integers(1, 3)), draw(st.integers(1, 9)), draw(st.integers(1, 9))))
    return first, draw(separables(*first.out_shape))


@given(chains())
def test_any_two_separables_compose(chain: tuple[Separable, Separable]) -> None:
    first, second = chain
    x = random_image((2, *first.in_shape))
    product = compose(first, second)
    # Random mixing weights and biases of several steps: numbers up to a few hundred.
    np.testing.assert_allclose(product.apply(x), second.apply(first.apply(x)), rtol=1e-10, atol=1e-9)
    reached = product.output_range(Range.of(first.in_shape[0], 0, 1))
    outputs = product.apply(np.random.default_rng(0).integers(0, 2, size=(20, *first.in_shape)))
    assert (outputs.min(axis=(0, 2, 3)) >= reached.low - 1e-9).all()
    assert (outputs.max(axis=(0, 2, 3)) <= reached.high + 1e-9).all()
