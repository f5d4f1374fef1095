"""The nearest Kronecker product, and what two layers can differ by."""

from __future__ import annotations

import numpy as np
import pytest
from rich.console import Console
from scipy.sparse.linalg import ArpackError

from onelayer.algebra import AxisMap, Dense, Separable
from onelayer.recognition import comparison_table, kronecker, largest_difference
from onelayer.recognition.kronecker import leading, nearest_product, rearranged


def product_weights(seed: int, outputs: tuple[int, int, int], inputs: tuple[int, int, int]) -> np.ndarray:
    generator = np.random.default_rng(seed)
    factors = (generator.normal(size=(ours, theirs)) for ours, theirs in zip(outputs, inputs, strict=True))
    weights: np.ndarray = np.einsum("pc,qh,rw->pqrchw", *factors)
    return weights


@pytest.mark.parametrize("matrix", [np.eye(1, 90).T @ np.ones((1, 80)), np.zeros((90, 80)), np.eye(90, 80)])
@pytest.mark.parametrize("fails", [False, True])
def test_singular_values_where_iterations_fail(
    matrix: np.ndarray, fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of a matrix of one singular value they fail now and then, depending on where it lies in memory.
    def failing(*_: object, **__: object) -> None:
        raise ArpackError(3)

    if fails:
        monkeypatch.setattr(kronecker, "svds", failing)
    values, first = leading(matrix)
    np.testing.assert_allclose(values, np.linalg.svd(matrix)[1][: len(values)], atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(first @ matrix), values[0], atol=1e-12)


@pytest.mark.parametrize(
    ("outputs", "inputs"),
    [((1, 7, 6), (3, 12, 10)), ((2, 1, 5), (1, 17, 1)), ((1, 1, 1), (1, 1, 1)), ((3, 9, 8), (3, 9, 8))],
)
def test_a_product_is_found_exactly(outputs: tuple[int, int, int], inputs: tuple[int, int, int]) -> None:
    weights = product_weights(1, outputs, inputs)
    factors, values = nearest_product(weights)
    np.testing.assert_allclose(factors.weights, weights, atol=1e-12 * np.abs(weights).max())
    # One singular value: the Frobenius norm. All others are rounding.
    np.testing.assert_allclose(values[0], np.linalg.norm(weights))
    assert values[1:].max(initial=0.0) < 1e-12 * values[0]


def test_no_product_is_nearer_than_the_nearest() -> None:
    # By brute force: every small step away from the factors that were found makes the distance larger.
    generator = np.random.default_rng(5)
    weights = product_weights(2, (2, 3, 4), (3, 4, 3)) + generator.normal(0, 0.05, (2, 3, 4, 3, 4, 3))
    factors, _ = nearest_product(weights)
    distance = np.linalg.norm(weights - factors.weights)
    for along in range(3):
        for _ in range(20):
            step = generator.normal(0, 1e-3, factors.each[along].shape)
            other = factors.with_factor(along, factors.each[along] + step)
            assert np.linalg.norm(weights - other.weights) > distance


def test_rearranging_keeps_every_weight_once() -> None:
    weights = np.arange(2 * 3 * 4 * 3 * 5 * 2, dtype=np.float64).reshape(2, 3, 4, 3, 5, 2)
    tensor = rearranged(weights)
    assert tensor.shape == (6, 15, 8)
    # Output (1, 2, 3) reads input (2, 4, 1).
    assert tensor[1 * 3 + 2, 2 * 5 + 4, 3 * 2 + 1] == weights[1, 2, 3, 2, 4, 1]
    assert sorted(tensor.ravel()) == sorted(weights.ravel())


def test_an_image_attains_the_largest_difference() -> None:
    generator = np.random.default_rng(7)
    one, other = (Dense(generator.normal(size=(12, 30)), generator.normal(size=12), (1, 5, 6), (1, 3, 4)) for _ in "ab")
    difference = one.weight - other.weight
    attained = []
    for sign in (1.0, -1.0):
        worst = (sign * difference > 0).astype(float)
        attained.append(np.abs(np.diag(difference @ worst.T) + one.bias - other.bias).max())
    assert largest_difference(one, other) == pytest.approx(max(attained))


def test_the_table_of_three() -> None:
    true = Separable(np.eye(1), AxisMap.flip(4), AxisMap.identity(5), np.zeros(1))
    dense = true.to_dense()
    learned = Dense(dense.weight + 0.001, dense.bias, dense.in_shape, dense.out_shape)
    console = Console(width=100)
    with console.capture() as capture:
        console.print(comparison_table(learned, true, true))
    lines = [line.split() for line in capture.get().splitlines() if "–" in line]
    # 20 inputs, each weighed 0.001 too much: 0.02 at most, for the white image; 5.1 of 255 levels.
    assert lines == [
        ["learned", "–", "recognised", "0.001", "0.001", "0.02", "5.1"],
        ["learned", "–", "true", "0.001", "0.001", "0.02", "5.1"],
        ["recognised", "–", "true", "0", "0", "0", "0"],
    ]
