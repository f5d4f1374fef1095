from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import sparse

from onelayer.algebra import AxisMap, ChannelMap, Dense, Operator, Range, Separable, SpatialSparse
from onelayer.algebra.operator import WindowWeights
from onelayer.errors import OnelayerError

# Sums of at most a few thousand products of numbers around one, added in another order.
ROUNDINGS = 1e-11


def random_image(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def test_apply_is_the_dense_matrix(operators: dict[str, Operator]) -> None:
    for name, operator in operators.items():
        x = random_image((2, *operator.in_shape))
        dense = operator.to_dense()
        assert (dense.in_shape, dense.out_shape) == (operator.in_shape, operator.out_shape), name
        assert dense.weight.shape == (math.prod(operator.out_shape), math.prod(operator.in_shape)), name
        expected = np.stack([dense.weight @ image.ravel() + dense.bias for image in x]).reshape(2, *operator.out_shape)
        np.testing.assert_allclose(operator.apply(x), expected, rtol=0, atol=ROUNDINGS, err_msg=name)


def test_apply_transposed_is_the_adjoint(operators: dict[str, Operator]) -> None:
    for name, operator in operators.items():
        x, y = random_image((2, 3, *operator.in_shape), 1), random_image((2, 3, *operator.out_shape), 2)
        forward = operator.apply(x) - operator.apply(np.zeros(operator.in_shape))
        backward = operator.apply_transposed(y)
        assert backward.shape == x.shape, name
        products = (forward * y).sum(axis=(2, 3, 4)), (x * backward).sum(axis=(2, 3, 4))
        np.testing.assert_allclose(*products, rtol=0, atol=ROUNDINGS, err_msg=name)


def test_what_is_left_out_is_computed_in_a_general_way(operators: dict[str, Operator]) -> None:
    """The contract's own versions, for kinds of operators that have none: equal to those that know better."""
    for name in ("small transposed", "small bias image", "small rotation", "small dense", "from one pixel"):
        operator = operators[name]
        outputs = np.arange(0, math.prod(operator.out_shape), 3)
        input_range = Range.of(operator.in_shape[0], -1.0, 2.0)
        dense, general = operator.to_dense(), Operator.to_dense(operator)
        np.testing.assert_allclose(general.weight, dense.weight, rtol=0, atol=ROUNDINGS, err_msg=name)
        np.testing.assert_allclose(general.bias, dense.bias, rtol=0, atol=ROUNDINGS, err_msg=name)
        np.testing.assert_allclose(Operator.offset(operator), operator.offset(), rtol=0, atol=ROUNDINGS, err_msg=name)
        np.testing.assert_allclose(
            Operator.weight_rows(operator, outputs), operator.weight_rows(outputs), rtol=0, atol=ROUNDINGS, err_msg=name
        )
        ranges = Operator.output_range(operator, input_range), Operator._output_range(operator, input_range)
        for end in ("low", "high"):
            known, found = (getattr(one, end) for one in ranges)
            np.testing.assert_allclose(found, known, rtol=0, atol=ROUNDINGS, err_msg=name)
        factors = np.arange(1.0, operator.out_shape[0] + 1)
        x = random_image(operator.in_shape)
        for method, *arguments in [("with_weights", np.abs), ("rescaled", factors, factors)]:
            np.testing.assert_allclose(
                getattr(Operator, method)(operator, *arguments).apply(x),
                getattr(operator, method)(*arguments).apply(x),
                rtol=0,
                atol=ROUNDINGS,
                err_msg=f"{name}: {method}",
            )
        window = WindowWeights(random_image((operator.out_shape[0], 1, 2)), operator.out_shape[1] - 1, 0, 0.5)
        general_window, known_window = Operator.read_by(operator, window), operator.read_by(window).trimmed()
        whole = np.zeros(operator.in_shape)
        whole[:, *known_window.place] = known_window.weights
        np.testing.assert_allclose(general_window.weights, whole, rtol=0, atol=ROUNDINGS, err_msg=name)
        assert general_window.offset == pytest.approx(known_window.offset), name


def test_batches(operators: dict[str, Operator]) -> None:
    for name, operator in operators.items():
        assert operator.apply(np.zeros((0, *operator.in_shape))).shape == (0, *operator.out_shape), name
        backward = operator.apply_transposed(np.zeros((2, 0, *operator.out_shape)))
        assert backward.shape == (2, 0, *operator.in_shape), name
        images = random_image((2, 2, *operator.in_shape))
        whole = operator.apply(images)
        assert whole.dtype == np.float64, name
        # BLAS may add in another order for another batch size.
        np.testing.assert_allclose(whole[1, 0], operator.apply(images[1, 0]), rtol=0, atol=ROUNDINGS, err_msg=name)
        of_bytes = np.arange(math.prod(operator.in_shape)).reshape(operator.in_shape).astype(np.uint8)
        np.testing.assert_array_equal(operator.apply(of_bytes), operator.apply(of_bytes.astype(np.float64)))


def test_other_shapes_are_refused(operators: dict[str, Operator]) -> None:
    for operator in operators.values():
        channels, height, width = operator.in_shape
        for shape in [(channels + 1, height, width), (height + 1, width), ()]:
            with pytest.raises(OnelayerError, match="images of shape"):
                operator.apply(np.zeros(shape))
        with pytest.raises(OnelayerError, match="images of shape"):
            operator.apply_transposed(np.zeros((*operator.out_shape, 1)))


def test_what_operators_say_of_themselves(operators: dict[str, Operator]) -> None:
    for name, operator in operators.items():
        dense, x = operator.to_dense(), random_image(operator.in_shape)
        same = operator.in_shape == operator.out_shape and np.array_equal(operator.apply(x), x)
        assert operator.is_identity == same, name
        if operator.keeps_integers:
            integers = np.arange(math.prod(operator.in_shape)).reshape(operator.in_shape)
            np.testing.assert_array_equal(operator.apply(integers), np.rint(operator.apply(integers)), err_msg=name)
        one_each = (np.count_nonzero(dense.weight, axis=1) <= 1).all() and np.isin(dense.weight, (0.0, 1.0)).all()
        if not isinstance(operator, Dense):
            assert operator.copies_values == one_each, name
    assert operators["filled pad"].copies_values
    assert not operators["filled pad"].keeps_integers, "its fill is a half"
    assert operators["quarter turn"].keeps_integers


def test_channel_maps() -> None:
    cases = {
        "identity": (np.eye(3), "is_identity is_diagonal copies_values is_selection keeps_integers"),
        "scale": (np.diag([0.5, 2.0]), "is_diagonal"),
        "swap": (np.eye(3)[::-1], "copies_values is_selection keeps_integers"),
        "first of two": (np.eye(2)[:1], "copies_values is_selection keeps_integers"),
        "one twice": (np.eye(2)[[1, 1]], "copies_values is_selection keeps_integers"),
        "one left out": (np.diag([1.0, 0.0]), "is_diagonal copies_values keeps_integers"),
        "sum": (np.ones((1, 3)), "keeps_integers"),
        "gray": (np.array([[0.3, 0.6, 0.1]]), ""),
        "negative": (-np.eye(2), "is_diagonal keeps_integers"),
    }
    for name, (matrix, true) in cases.items():
        channel = ChannelMap(matrix)
        predicates = ("is_identity", "is_diagonal", "copies_values", "is_selection", "keeps_integers")
        assert [word for word in predicates if getattr(channel, word)] == true.split(), name
        x = random_image((2, channel.n_in, 3, 4))
        np.testing.assert_allclose(channel.apply(x), np.tensordot(x, matrix, (1, 1)).transpose(0, 3, 1, 2), atol=1e-14)
        if channel.is_selection:
            np.testing.assert_array_equal(channel.apply(x), x[:, channel.sources])
        np.testing.assert_array_equal(channel.scaled(np.full(channel.n_out, 3.0)).matrix, 3.0 * matrix)
        np.testing.assert_array_equal((ChannelMap(matrix.T) @ channel).matrix, matrix.T @ matrix)
    assert ChannelMap(np.array([[1.0, 0.0], [0.5, 0.5]])).multiplications == 2, "a copy takes none"
    assert ChannelMap(np.array([[0.0, 2.0]])).reads == 1


def test_the_identity_is_known_in_every_form() -> None:
    dense = Separable.identity((3, 4, 5)).to_dense()
    assert dense.is_identity
    assert SpatialSparse(np.eye(3), sparse.eye_array(20), (4, 5), (4, 5), np.zeros(3)).is_identity
    # As many pixels, but another shape.
    assert not SpatialSparse(np.eye(3), sparse.eye_array(20), (4, 5), (5, 4), np.zeros(3)).is_identity
    assert not Dense(dense.weight, dense.bias + 1.0, (3, 4, 5), (3, 4, 5)).is_identity
    assert not Dense(dense.weight, dense.bias, (3, 4, 5), (3, 5, 4)).is_identity


def crossed(**changes: object) -> Separable:
    parts = {"channel": np.eye(3), "rows": AxisMap.identity(2), "cols": AxisMap.identity(3), "bias": np.zeros(3)}
    return Separable(**(parts | changes))


REFUSED = [
    (lambda: crossed(bias=np.zeros(2)), r"bias is an array of shape \[2\]"),
    (lambda: crossed(bias=np.zeros((3, 3, 2))), r"bias is .*expected real numbers \[3\] or \[3, 2, 3\]"),
    (lambda: crossed(bias=[0, 0, 1j]), "bias is .*complex"),
    (lambda: crossed(channel=np.zeros(3)), "channel matrix is an array"),
    (lambda: crossed(channel=np.eye(3) * np.nan), "channel matrix has a value that is not finite"),
    (lambda: crossed(transpose=1), "transpose is 1; expected true or false"),
    (lambda: SpatialSparse(np.eye(1), sparse.eye_array(6), (2, 3), (2, 2), np.zeros(1)), "a pixel matrix of shape"),
    (lambda: SpatialSparse(np.eye(1), sparse.eye_array(6) * np.inf, (2, 3), (2, 3), [0]), "data has a value that"),
    (lambda: SpatialSparse(np.eye(1), sparse.eye_array(6), (2, 3.0), (2, 3), [0]), "in_size is 3.0"),
    (lambda: Dense(np.eye(6), np.zeros(6), (1, 2, 3), (1, 2, 2)), "weight is an array of shape"),
    (lambda: Dense(np.eye(6), np.zeros(6) * np.inf, (1, 2, 3), (1, 2, 3)), "bias has a value that is not finite"),
    (lambda: Dense(np.eye(6), np.zeros(6), (6,), (1, 2, 3)), "in_shape is"),
]


def test_refusals_name_the_field() -> None:
    for make, problem in REFUSED:
        with pytest.raises(OnelayerError, match=problem), np.errstate(invalid="ignore"):
            make()
