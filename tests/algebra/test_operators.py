from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import sparse

from onelayer.algebra import (
    AxisMap,
    Dense,
    Operator,
    Separable,
    SpatialSparse,
)
from onelayer.errors import OnelayerError

# Sums of at most a few thousand products of numbers around one, added in another order.
ROUNDINGS = 1e-11


def random_image(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def test_apply_is_the_dense_matrix(operator: Operator) -> None:
    x = random_image((2, *operator.in_shape))
    dense = operator.to_dense()
    assert (dense.in_shape, dense.out_shape) == (operator.in_shape, operator.out_shape)
    assert dense.weight.shape == (math.prod(operator.out_shape), math.prod(operator.in_shape))
    expected = np.stack([dense.weight @ image.ravel() + dense.bias for image in x]).reshape(2, *operator.out_shape)
    np.testing.assert_allclose(operator.apply(x), expected, rtol=0, atol=ROUNDINGS)


def test_apply_transposed_is_the_adjoint(operator: Operator) -> None:
    x, y = random_image((2, 3, *operator.in_shape), 1), random_image((2, 3, *operator.out_shape), 2)
    forward = operator.apply(x) - operator.apply(np.zeros(operator.in_shape))
    backward = operator.apply_transposed(y)
    assert backward.shape == x.shape
    products = (forward * y).sum(axis=(2, 3, 4)), (x * backward).sum(axis=(2, 3, 4))
    np.testing.assert_allclose(*products, rtol=0, atol=ROUNDINGS)


def test_batches(operator: Operator) -> None:
    assert operator.apply(np.zeros((0, *operator.in_shape))).shape == (0, *operator.out_shape)
    assert operator.apply_transposed(np.zeros((2, 0, *operator.out_shape))).shape == (2, 0, *operator.in_shape)
    images = random_image((2, 2, *operator.in_shape))
    whole = operator.apply(images)
    assert whole.dtype == np.float64
    # BLAS may add in another order for another batch size.
    np.testing.assert_allclose(whole[1, 0], operator.apply(images[1, 0]), rtol=0, atol=ROUNDINGS)
    of_bytes = np.arange(math.prod(operator.in_shape)).reshape(operator.in_shape).astype(np.uint8)
    np.testing.assert_array_equal(operator.apply(of_bytes), operator.apply(of_bytes.astype(np.float64)))


def test_other_shapes_are_refused(operator: Operator) -> None:
    channels, height, width = operator.in_shape
    for shape in [(channels + 1, height, width), (height + 1, width), ()]:
        with pytest.raises(OnelayerError, match="images of shape"):
            operator.apply(np.zeros(shape))
    with pytest.raises(OnelayerError, match="images of shape"):
        operator.apply_transposed(np.zeros((*operator.out_shape, 1)))


def test_only_the_identity_is_the_identity(operator: Operator) -> None:
    x = random_image(operator.in_shape)
    same = operator.in_shape == operator.out_shape and np.array_equal(operator.apply(x), x)
    assert operator.is_identity == same


def test_the_identity_is_known_in_every_form() -> None:
    dense = Separable.identity((3, 4, 5)).to_dense()
    assert dense.is_identity
    assert SpatialSparse(np.eye(3), sparse.eye_array(20), (4, 5), (4, 5), np.zeros(3)).is_identity
    # As many pixels, but another shape.
    assert not SpatialSparse(np.eye(3), sparse.eye_array(20), (4, 5), (5, 4), np.zeros(3)).is_identity
    assert not Dense(dense.weight, dense.bias + 1.0, (3, 4, 5), (3, 4, 5)).is_identity
    assert not Dense(dense.weight, dense.bias, (3, 4, 5), (3, 5, 4)).is_identity


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: Separable(np.eye(3), AxisMap.identity(2), AxisMap.identity(2), np.zeros(2)), "a bias of shape"),
        (
            lambda: Separable(np.eye(3), AxisMap.identity(2), AxisMap.identity(3), np.zeros((3, 3, 2))),
            "a bias of shape",
        ),
        (lambda: Separable(np.zeros(3), AxisMap.identity(2), AxisMap.identity(2), np.zeros(3)), "a channel matrix"),
        (lambda: Separable.of_channels(np.eye(2) * np.nan, np.zeros(2), (2, 2)), "a channel matrix"),
        (lambda: SpatialSparse(np.eye(1), sparse.eye_array(6), (2, 3), (2, 2), np.zeros(1)), "a pixel matrix"),
        (lambda: Dense(np.eye(6), np.zeros(6), (1, 2, 3), (1, 2, 2)), "a weight of shape"),
        (lambda: Dense(np.eye(6), np.zeros(6) * np.inf, (1, 2, 3), (1, 2, 3)), "not finite"),
    ],
)
def test_refusals_say_what_was_given(make: object, problem: str) -> None:
    with pytest.raises(OnelayerError, match=problem), np.errstate(invalid="ignore"):
        make()
