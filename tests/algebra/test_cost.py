from __future__ import annotations

import itertools
import math

import numpy as np

from onelayer.algebra import AxisMap, Operator, Separable, SpatialSparse

Factor = tuple[int, list[dict[int, float]], list[int]]
"""The index of a sample that it maps, the weights that each output index reads, and what computing one costs."""


def rows_of(matrix: np.ndarray) -> list[dict[int, float]]:
    return [{place: weight for place, weight in enumerate(row) if weight != 0} for row in matrix.tolist()]


def banded(at: int, axis: AxisMap) -> Factor:
    """Every output costs the width of the widest row; nothing where all only copy or write zeros."""
    rows = rows_of(axis.to_dense())
    copies = all(not row or list(row.values()) == [1.0] for row in rows)
    width = 0 if copies else max(max(row) - min(row) + 1 for row in rows if row)
    return at, rows, [width] * len(rows)


def stored(at: int, matrix: np.ndarray) -> Factor:
    """Every output costs its nonzero weights; nothing where all only copy."""
    rows = rows_of(matrix)
    copies = all(not row or list(row.values()) == [1.0] for row in rows)
    return at, rows, [0 if copies else len(row) for row in rows]


def mixing(matrix: np.ndarray) -> Factor:
    """Every output costs its nonzero weights; nothing where it only copies."""
    rows = rows_of(matrix)
    return 0, rows, [0 if list(row.values()) == [1.0] else len(row) for row in rows]


def fewest_multiplications(factors: list[Factor]) -> int:
    """For every order of the factors walk back from the output samples to those they need, one at a time."""
    counts = []
    for order in itertools.permutations(factors):
        needed = set(itertools.product(*(range(len(rows)) for _, rows, _ in sorted(factors, key=lambda f: f[0]))))
        count = 0
        for at, rows, prices in reversed(order):
            count += sum(prices[sample[at]] for sample in needed)
            needed = {(*sample[:at], read, *sample[at + 1 :]) for sample in needed for read in rows[sample[at]]}
        counts.append(count)
    return min(counts)


def counted(operator: Operator) -> int:
    match operator:
        case Separable():
            return fewest_multiplications(
                [mixing(operator.channel.matrix), banded(1, operator.rows), banded(2, operator.cols)]
            )
        case SpatialSparse():
            return fewest_multiplications([mixing(operator.channel.matrix), stored(1, operator.matrix.toarray())])
        case _:
            return sum(1 for _ in operator.to_dense().weight.flat)


def test_cost_is_what_a_counter_counts(operators: dict[str, Operator]) -> None:
    for name, operator in operators.items():
        dense = operator.to_dense().weight
        assert operator.cost.multiplications == counted(operator), name
        read = int(np.count_nonzero(dense.any(axis=0)))
        bias = getattr(operator, "bias", np.zeros(1))
        image = bias.size if bias.ndim == 3 else 0
        assert operator.cost.samples == read + math.prod(operator.out_shape) + image, name
        assert operator.bias_samples == image, name


def test_the_cheapest_order_reduces_first() -> None:
    def resized(n_in: int, n_out: int) -> AxisMap:
        return AxisMap.resample(n_in, n_out, "bilinear", antialias=True)

    to_gray, to_color = np.full((1, 3), 1 / 3), np.full((3, 1), 0.5)
    # One channel is resized instead of three, and along the axis that shrinks most first.
    assert Separable(to_gray, resized(100, 10), resized(100, 50), np.zeros(1)).order == ("channel", "rows", "cols")
    assert Separable(to_color, resized(100, 50), resized(100, 10), np.zeros(3)).order == ("cols", "rows", "channel")
    # Where the image grows, mixing every small pixel is cheaper than mixing every large one.
    assert Separable(np.ones((3, 3)), resized(10, 100), resized(10, 50), np.zeros(3)).order[0] == "channel"


def test_costs_add_up(operators: dict[str, Operator]) -> None:
    both = operators["down"].cost + operators["flip"].cost
    assert both.multiplications == operators["down"].cost.multiplications
    assert operators["flip"].cost.multiplications == 0
    assert both.samples == 2 * 561 + 561 + 120
    assert both.total == both.multiplications + 4 * both.samples
