from __future__ import annotations

import numpy as np
import pytest

from onelayer.algebra import Operator, Range
from onelayer.errors import OnelayerError

# Sums of at most a few thousand products of numbers around one, added in another order.
ROUNDINGS = 1e-11


def test_the_range_encloses_outputs_and_is_attained(operators: dict[str, Operator]) -> None:
    for name, operator in operators.items():
        channels = operator.in_shape[0]
        low, high = np.linspace(-1.0, 0.25, channels), np.linspace(0.5, 2.0, channels)
        reached = operator.output_range(Range(low, high))
        random = np.random.default_rng(7)
        inside = random.uniform(low[:, None, None], high[:, None, None], size=(20, *operator.in_shape))
        extreme = np.where(random.random(inside.shape) < 0.5, low[:, None, None], high[:, None, None])
        for images in (inside, extreme):
            outputs = operator.apply(images)
            assert (outputs.min(axis=(0, 2, 3)) >= reached.low - ROUNDINGS).all(), name
            assert (outputs.max(axis=(0, 2, 3)) <= reached.high + ROUNDINGS).all(), name
        # The image that takes, at every sample, the end that its weight's sign asks for attains the bound.
        dense = operator.to_dense()
        lows, highs = (np.broadcast_to(end[:, None, None], operator.in_shape).ravel() for end in (low, high))
        highest = (np.where(dense.weight > 0, highs, lows) * dense.weight).sum(axis=1) + dense.bias
        lowest = (np.where(dense.weight > 0, lows, highs) * dense.weight).sum(axis=1) + dense.bias
        largest, smallest = (ends.reshape(operator.out_shape[0], -1) for ends in (highest, lowest))
        np.testing.assert_allclose(reached.high, largest.max(axis=1), rtol=0, atol=ROUNDINGS, err_msg=name)
        np.testing.assert_allclose(reached.low, smallest.min(axis=1), rtol=0, atol=ROUNDINGS, err_msg=name)


def test_convex_rows_keep_the_range(operators: dict[str, Operator]) -> None:
    reached = operators["down"].output_range(Range(np.array([0.0, -1.0, 2.0]), np.array([1.0, 0.0, 255.0])))
    np.testing.assert_allclose(reached.low, [0.0, -1.0, 2.0], rtol=0, atol=ROUNDINGS)
    np.testing.assert_allclose(reached.high, [1.0, 0.0, 255.0], rtol=0, atol=ROUNDINGS)
    cubic = operators["up"].output_range(Range.of(3, 0, 1))
    assert cubic.low.max() < -0.05
    assert cubic.high.min() > 1.05


@pytest.mark.parametrize(("low", "high"), [(1.0, 0.0), (0.0, np.inf), (np.nan, 1.0)])
def test_no_range_is_refused(low: float, high: float) -> None:
    with pytest.raises(OnelayerError, match="the range"):
        Range.of(3, low, high)


def test_a_range_of_other_channels_is_refused(operators: dict[str, Operator]) -> None:
    with pytest.raises(OnelayerError, match="a range of 1 channels"):
        operators["down"].output_range(Range.of(1, 0, 1))
