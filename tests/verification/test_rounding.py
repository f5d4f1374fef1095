from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onelayer.algebra import (
    AxisMap,
    Clamp,
    Dense,
    Float32Sum,
    Gamma,
    Operator,
    Program,
    Quantize,
    Range,
    Separable,
    SpatialSparse,
)
from onelayer.algebra.float32_sum import resized_in_float32
from onelayer.errors import OnelayerError
from onelayer.verification.rounding import UNIT_ROUNDOFF, Rounds, forward_error, levels_apart, stored

HALF_EVEN, HALF_UP, DOWN = np.rint, lambda x: np.floor(x + 0.5), np.floor

# In sixteenths, so that every sum and every tie is exact.
VALUES = np.arange(0, 16 * 6) / 16


@pytest.mark.parametrize(
    ("how", "layers", "originals"),
    [
        ("nowhere", [HALF_EVEN], [lambda x: np.where(x == np.rint(x), x, np.nan)]),
        ("alike", [HALF_UP], [HALF_UP]),
        ("alike", [DOWN], [DOWN]),
        ("somehow", [HALF_EVEN], [HALF_EVEN, HALF_UP, DOWN]),
    ],
)
def test_whole_numbers_are_no_further_apart(how: Rounds, layers: list, originals: list) -> None:
    for apart in np.arange(0, 49) / 16:
        near = np.abs(VALUES[:, None] - VALUES) <= apart
        furthest = max(
            np.nanmax(np.where(near, np.abs(layer(VALUES)[:, None] - original(VALUES)), np.nan))
            for layer in layers
            for original in originals
        )
        # And one less would be too little: whatever is less than a level apart may be cut apart by a level.
        assert levels_apart(np.array([apart]), how) == furthest, apart


def single(program: Program, images: np.ndarray) -> np.ndarray:
    """The program in float32, every product and every sum rounded, terms in order."""
    values = images.astype(np.float32)
    for stage in program.stages:
        if isinstance(stage, Operator):
            dense = stage.to_dense()
            total = np.zeros((len(values), len(dense.weight)), dtype=np.float32)
            for column, weights in zip(
                values.reshape(len(values), -1).T, dense.weight.astype(np.float32).T, strict=True
            ):
                total += column[:, None] * weights
            values = (total + dense.bias.astype(np.float32)).reshape(-1, *stage.out_shape)
        else:
            values = stage.apply(values).astype(np.float32)
    return values


@given(seed=st.integers(0, 2**32 - 1), size=st.integers(1, 12), outputs=st.integers(1, 5))
def test_sums_in_float32_stay_within_the_bound(seed: int, size: int, outputs: int) -> None:
    random = np.random.default_rng(seed)
    first = Dense(random.normal(size=(outputs, size)), random.normal(size=outputs), (1, 1, size), (1, 1, outputs))
    second = Dense(random.normal(size=(3, outputs)), random.normal(size=3), (1, 1, outputs), (3, 1, 1))
    program = stored(Program((1, 1, size), (first, Clamp(-1 / 3, 0.7), second)), "float32")
    images = random.uniform(-2, 3, (50, 1, 1, size)).astype(np.float32)
    error, reach = forward_error(program, Range.of(1, -2, 3), "float32", frozenset())
    exact = program.apply(images)
    assert (np.abs(single(program, images) - exact) <= error).all()
    assert (np.abs(exact) <= reach).all()


def test_copies_are_exact() -> None:
    flip = Separable.of_axes(3, AxisMap.flip(5), AxisMap.crop(7, 1, 4))
    error, reach = forward_error(Program((3, 5, 7), (flip,)), Range.of(3, -2, 1), "float32", frozenset())
    assert not error.any()
    np.testing.assert_array_equal(reach, np.full((3, 5, 4), 2.0))


def test_one_rounding_per_product_and_per_bias() -> None:
    scale = Separable.of_channels(np.diag([0.1, 4.0]), np.array([0.0, 2.0]), (1, 1))
    error, reach = forward_error(Program((2, 1, 1), (scale,)), Range.of(2, 0, 1), "float32", frozenset())
    # A product and a bias: 2u / (1 − 2u) of |w||x| + |b|.
    np.testing.assert_allclose(error.ravel(), [2**-23 * 0.1, 2**-23 * 6.0], rtol=1e-6)
    np.testing.assert_allclose(reach.ravel(), [0.1, 6.0], rtol=1e-12)


def test_an_idle_clamp_adds_what_it_would_take_away() -> None:
    operator = SpatialSparse(np.eye(1), np.array([[1.25]]), (1, 1), (1, 1), np.zeros(1))
    program = Program((1, 1, 1), (operator, Clamp(0.0, 1.0)))
    acting, _ = forward_error(program, Range.of(1, 0, 1), "float32", frozenset())
    idle, _ = forward_error(program, Range.of(1, 0, 1), "float32", frozenset({1}))
    assert float((idle - acting)[0, 0, 0]) == pytest.approx(0.25)


def test_weights_are_stored_in_float32() -> None:
    third = Separable.of_channels([[1 / 3]], [1 / 7], (2, 2))
    (stage,) = stored(Program((1, 2, 2), (third,)), "float32").stages
    assert isinstance(stage, Separable)
    assert stage.channel.matrix[0, 0] == float(np.float32(1 / 3)) != 1 / 3
    assert stage.bias[0] == float(np.float32(1 / 7)) != 1 / 7
    same = Program((1, 2, 2), (third,))
    assert stored(same, "float64") is same


def test_more_roundings_than_there_is_precision_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(UNIT_ROUNDOFF, "float32", 2.0**-2)
    four = Dense(np.ones((1, 4)), np.zeros(1), (1, 2, 2), (1, 1, 1))
    with pytest.raises(OnelayerError, match="4 roundings"):
        forward_error(Program((1, 2, 2), (four,)), Range.of(1, 0, 1), "float32", frozenset())


def test_errors_through_what_nothing_is_known_of() -> None:
    with pytest.raises(OnelayerError, match="how a Gamma carries errors on is not known"):
        forward_error(Program((1, 1, 1), (Gamma(1.0, 2.0),)), Range.of(1, 0, 1), "float32", frozenset())
    # Behind a rounding at the end nothing is asked.
    error, _ = forward_error(Program((1, 1, 1), (Quantize("half_up"),)), Range.of(1, 0, 1), "float32", frozenset())
    assert not error.any()


def test_two_roundings_per_tap_of_sums_in_float32() -> None:
    sums = Float32Sum(AxisMap.identity(1), AxisMap.identity(1), resized_in_float32(9, 3, "bilinear", True), 4)
    program = Program(sums.in_shape, (sums,))
    error, reach = forward_error(program, Range.of(1, -1, 1), "float32", frozenset())
    images = np.random.default_rng(0).uniform(-1, 1, (50, 1, 1, 9)).astype(np.float32)
    assert (np.abs(sums.apply(images) - sums.real.apply(images)) <= error).all()
    np.testing.assert_allclose(error, reach * 2 * sums.taps.counts.max() * 2.0**-24, rtol=1e-5)
