from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from onelayer.algebra import (
    AxisMap,
    Clamp,
    Dense,
    Float32Sum,
    Operator,
    Program,
    Quantize,
    Range,
    Separable,
    SpatialSparse,
    TooLargeError,
    affine_part,
    difference,
    difference_range,
)
from onelayer.algebra import operator as operator_module
from onelayer.algebra.float32_sum import resized_in_float32
from onelayer.errors import OnelayerError

# Sums of at most a few thousand products of numbers around one, added in another order.
ROUNDINGS = 1e-11


def ends_by_brute_force(
    first: Operator, second: Operator, given: Range, outputs: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The two extreme images of some output values, built from the matrices and sent through the operators."""
    one, other = (operator.to_dense().weight[outputs] for operator in (first, second))
    low, high = (np.broadcast_to(end[:, None, None], first.in_shape).ravel() for end in (given.low, given.high))
    positive = one > other
    ends = []
    for images in (np.where(positive, low, high), np.where(positive, high, low)):
        images = images.reshape(-1, *first.in_shape)
        apart = (first.apply(images) - second.apply(images)).reshape(len(images), -1)
        ends.append(apart[np.arange(len(outputs)), outputs])
    return ends[0], ends[1]


def signed(channels: int) -> Range:
    return Range(np.linspace(-1.0, 0.25, channels), np.linspace(0.5, 2.0, channels))


def test_the_ends_are_attained_by_the_extreme_images(alike: dict[str, tuple[Operator, Operator]]) -> None:
    kinds = {(type(first), type(second)) for first, second in alike.values()}
    assert len(kinds) == 9, "every kind meets every other"
    for name, (first, second) in alike.items():
        given = signed(first.in_shape[0])
        low, high = difference_range(first, second, given)
        # Of a large output every n-th value, corners included.
        outputs = np.unique(np.linspace(0, low.size - 1, 60).astype(int))
        expected = ends_by_brute_force(first, second, given, outputs)
        np.testing.assert_allclose(low.ravel()[outputs], expected[0], rtol=0, atol=ROUNDINGS, err_msg=name)
        np.testing.assert_allclose(high.ravel()[outputs], expected[1], rtol=0, atol=ROUNDINGS, err_msg=name)
        # Never more than the usual bound.
        one, other = first.to_dense(), second.to_dense()
        largest = np.broadcast_to(np.maximum(-given.low, given.high)[:, None, None], first.in_shape).ravel()
        common = np.abs(one.weight - other.weight) @ largest + np.abs(one.bias - other.bias)
        assert (np.maximum(-low, high).ravel() <= common + ROUNDINGS).all(), name


sizes = st.integers(1, 6)
channel_counts = st.integers(1, 3)


@st.composite
def operators_between(draw: st.DrawFn, in_shape: tuple[int, int, int], out_shape: tuple[int, int, int]) -> Operator:
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    channel = random.normal(size=(out_shape[0], in_shape[0])) * (random.random((out_shape[0], in_shape[0])) < 0.7)
    bias = random.normal(size=draw(st.sampled_from([out_shape, out_shape[:1]])))
    kind = draw(st.sampled_from(["separable", "sparse", "dense"]))
    if kind == "dense":
        weight = random.normal(size=(np.prod(out_shape), np.prod(in_shape)))
        return Dense(weight, random.normal(size=np.prod(out_shape)), in_shape, out_shape)
    if kind == "sparse":
        shape = out_shape[1] * out_shape[2], in_shape[1] * in_shape[2]
        matrix = sparse.csr_array(random.normal(size=shape) * (random.random(shape) < 0.4))
        return SpatialSparse(channel, matrix, in_shape[1:], out_shape[1:], bias)
    transpose = draw(st.booleans())
    _, height, width = in_shape
    axes = []
    for n_in, n_out in zip((width, height) if transpose else (height, width), out_shape[1:], strict=True):
        taps = draw(st.integers(1, n_in))
        axes.append(AxisMap(n_in, random.integers(0, n_in - taps + 1, n_out), random.normal(size=(n_out, taps))))
    return Separable(channel, axes[0], axes[1], bias, transpose)


@given(st.data())
def test_any_two_operators(data: st.DataObject) -> None:
    in_shape = data.draw(st.tuples(channel_counts, sizes, sizes))
    out_shape = data.draw(st.tuples(channel_counts, sizes, sizes))
    first, second = (data.draw(operators_between(in_shape, out_shape)) for _ in range(2))
    given = signed(in_shape[0])
    expected = ends_by_brute_force(first, second, given, np.arange(np.prod(out_shape)))
    for blocks in (difference._TAPS_PER_BLOCK, 7):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(difference, "_TAPS_PER_BLOCK", blocks)
            patch.setattr(operator_module, "_SAMPLES_PER_BLOCK", blocks)
            low, high = difference_range(first, second, given)
        np.testing.assert_allclose(low.ravel(), expected[0], rtol=0, atol=ROUNDINGS)
        np.testing.assert_allclose(high.ravel(), expected[1], rtol=0, atol=ROUNDINGS)


def test_an_operator_and_its_matrix_are_the_same(operators: dict[str, Operator]) -> None:
    for name, operator in operators.items():
        low, high = difference_range(operator, operator.to_dense(), signed(operator.in_shape[0]))
        np.testing.assert_allclose([low, high], 0.0, rtol=0, atol=ROUNDINGS, err_msg=name)
        low, high = difference_range(operator, operator, signed(operator.in_shape[0]))
        assert not low.any(), name
        assert not high.any(), name


def test_one_weight_that_is_off(operators: dict[str, Operator]) -> None:
    exact = operators["down"].to_dense()
    weight, bias = np.array(exact.weight), np.array(exact.bias)
    pixel = np.ravel_multi_index((1, 2, 3), exact.out_shape)
    weight[pixel, np.ravel_multi_index((2, 5, 7), exact.in_shape)] += 0.25
    bias[pixel] -= 0.5
    low, high = difference_range(
        Dense(weight, bias, exact.in_shape, exact.out_shape), operators["down"], Range.of(3, 0, 1)
    )
    expected_low, expected_high = np.zeros(exact.out_shape), np.zeros(exact.out_shape)
    expected_low[1, 2, 3], expected_high[1, 2, 3] = -0.5, -0.25
    np.testing.assert_allclose(low, expected_low, rtol=0, atol=ROUNDINGS)
    np.testing.assert_allclose(high, expected_high, rtol=0, atol=ROUNDINGS)


def test_a_flip_against_the_identity() -> None:
    flip = Separable.of_axes(1, AxisMap.identity(2), AxisMap.flip(3))
    low, high = difference_range(flip, Separable.identity((1, 2, 3)), Range.of(1, 0, 255))
    # The middle column stays where it is; the others trade places.
    np.testing.assert_array_equal(high[0], [[255, 0, 255]] * 2)
    np.testing.assert_array_equal(low[0], [[-255, 0, -255]] * 2)


def test_parts_of_the_pixel_matrix(operators: dict[str, Operator]) -> None:
    for name, operator in operators.items():
        if isinstance(operator, Dense):
            continue
        matrix = operator.pixel_matrix()
        assert matrix.has_canonical_format, name
        assert not (matrix.data == 0.0).any(), name
        rows, width = operator.out_shape[1:]
        assert operator.taps_per_row.shape == (rows,), name
        assert operator.taps_per_row.sum() >= matrix.nnz, name
        first, last = rows // 3, rows - rows // 4
        middle = operator.pixel_matrix(first, last)
        np.testing.assert_array_equal(middle.toarray(), matrix.toarray()[first * width : last * width], err_msg=name)


def test_weight_rows_are_those_of_the_matrix(operators: dict[str, Operator]) -> None:
    for name, operator in operators.items():
        outputs = np.arange(np.prod(operator.out_shape))[::3]
        rows = operator.weight_rows(outputs).reshape(len(outputs), -1)
        expected = operator.to_dense().weight[outputs]
        np.testing.assert_allclose(rows, expected, rtol=0, atol=ROUNDINGS, err_msg=name)


def test_sums_that_are_rounded_are_refused() -> None:
    sums = Float32Sum(AxisMap.identity(1), AxisMap.identity(2), resized_in_float32(5, 3, "bilinear", False), 1)
    with pytest.raises(OnelayerError, match="Float32Sum rounds its sums"):
        difference_range(sums.real, sums, Range.of(1, 0, 1))


def test_too_many_taps_are_refused(monkeypatch: pytest.MonkeyPatch, operators: dict[str, Operator]) -> None:
    taps = operators["rotation"].matrix.nnz
    monkeypatch.setattr(difference, "MAX_TAPS", 2 * taps - 1)
    with pytest.raises(TooLargeError, match=f"{2 * taps:,} taps"):
        difference_range(operators["rotation"], operators["rotation"], Range.of(3, 0, 1))


def test_other_shapes_are_refused(operators: dict[str, Operator]) -> None:
    with pytest.raises(OnelayerError, match="equal shapes"):
        difference_range(operators["down"], operators["up"], Range.of(3, 0, 1))
    with pytest.raises(OnelayerError, match="a range of 1 channels"):
        difference_range(operators["down"], operators["down"], Range.of(1, 0, 1))


def test_the_affine_part_of_a_program(operators: dict[str, Operator]) -> None:
    down, normalize = operators["down"], operators["small normalize"]
    image = np.random.default_rng(3).random((3, 17, 11))
    ending = (Clamp(0.0, 1.0), Quantize("half_even"))
    parts = affine_part(Program(down.in_shape, (down, normalize, *ending)))
    assert parts is not None
    operator, activations = parts
    assert activations == ending
    np.testing.assert_allclose(operator.apply(image), normalize.apply(down.apply(image)), rtol=0, atol=ROUNDINGS)


def test_a_program_without_operators_is_affine() -> None:
    parts = affine_part(Program((2, 3, 1), (Clamp(0.0, 1.0),)))
    assert parts is not None
    assert parts[0].is_identity
    assert parts[0].in_shape == (2, 3, 1)


def test_an_operator_behind_an_activation_is_not_affine(operators: dict[str, Operator]) -> None:
    down, normalize = operators["down"], operators["small normalize"]
    assert affine_part(Program(down.in_shape, (down, Clamp(0.0, 1.0), normalize))) is None
