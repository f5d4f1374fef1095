from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from onelayer.algebra import Activation, Clamp, FloatOp, Gamma, Lookup, Quantize, Range
from onelayer.errors import OnelayerError

INVERSION = np.arange(256)[::-1].astype(float)
PER_CHANNEL = np.stack([np.arange(256.0), INVERSION, np.full(256, 7.0)])

ACTIVATIONS: dict[str, Activation] = {
    "clamp": Clamp(0.25, 100.5),
    "clamp to one value": Clamp(3.0, 3.0),
    "clamp below only": Clamp(0.0, np.inf),
    "half even": Quantize("half_even"),
    "half up": Quantize("half_up"),
    "truncate": Quantize("truncate", "int8"),
    "inversion": Lookup(INVERSION),
    "solarized": Lookup(np.where(np.arange(256) < 128, np.arange(256), 255 - np.arange(256))),
    "per channel": Lookup(PER_CHANNEL),
    "gamma": Gamma(1.0, 2.2),
    "darkening gamma": Gamma(-2.0, 0.5),
    "half of a step": Clamp(0.0, 254.5),
    "float arithmetic": FloatOp("subtract", np.array([0.1, -0.5, 3.7])),
    "constant gamma": Gamma(1.0, 0.0),
    "a quotient": FloatOp("divide", np.array([-0.3]), "float64"),
}


@given(ends=st.tuples(st.integers(0, 255), st.integers(0, 255)), seed=st.integers(0, 1000))
def test_the_range_encloses_every_output_and_is_attained(ends: tuple[int, int], seed: int) -> None:
    low, high = np.full(3, float(min(ends))), np.full(3, float(max(ends)))
    x = np.random.default_rng(seed).integers(min(ends), max(ends), endpoint=True, size=(5, 3, 2, 4))
    for name, activation in ACTIVATIONS.items():
        reached = activation.output_range(Range(low, high))
        outputs = activation.apply(x)
        assert outputs.shape == x.shape, name
        assert (outputs.min(axis=(0, 2, 3)) >= reached.low).all(), name
        assert (outputs.max(axis=(0, 2, 3)) <= reached.high).all(), name
        # All functions here are monotone between integers, so the integers attain the bounds.
        everything = activation.apply(
            np.broadcast_to(np.arange(min(ends), max(ends) + 1), (3, 1, abs(ends[0] - ends[1]) + 1))
        )
        np.testing.assert_array_equal(everything.min(axis=(1, 2)), reached.low, err_msg=name)
        np.testing.assert_array_equal(everything.max(axis=(1, 2)), reached.high, err_msg=name)


def test_an_empty_batch_stays_empty() -> None:
    for name, activation in ACTIVATIONS.items():
        assert activation.apply(np.zeros((0, 3, 2, 4))).shape == (0, 3, 2, 4), name


def test_what_activations_say_of_themselves() -> None:
    integers = np.broadcast_to(np.arange(256).reshape(16, 16), (3, 16, 16))
    for name, activation in ACTIVATIONS.items():
        outputs = activation.apply(integers)
        if activation.keeps_integers:
            np.testing.assert_array_equal(outputs, np.rint(outputs), err_msg=name)
        assert activation.copies_values == isinstance(activation, Lookup), name
    keeping = {name for name, activation in ACTIVATIONS.items() if activation.keeps_integers}
    assert keeping >= {"clamp to one value", "clamp below only", "half up", "inversion", "per channel"}
    # Two values are never taken further apart, and the bounds are rounded.
    assert Clamp(-0.1, 0.3).error_of_parameters(2.0**-24) == 2.0**-24 * 0.3
    assert Clamp(-np.inf, np.inf).error_of_parameters(2.0**-24) == 0.0
    assert Gamma(1.0, 2.0).error_of_parameters(2.0**-24) is None


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16"])
def test_rounding_and_saturation(dtype: str) -> None:
    limits = np.iinfo(dtype)
    x = np.array([-1e6, -1.5, -0.5, -0.49, 0.5, 1.5, 2.5, 2.51, 1e6])
    expected = {
        "half_even": [-1e6, -2, 0, 0, 0, 2, 2, 3, 1e6],
        "half_up": [-1e6, -1, 0, 0, 1, 2, 3, 3, 1e6],
        "truncate": [-1e6, -1, 0, 0, 0, 1, 2, 2, 1e6],
    }
    for rounding, values in expected.items():
        saturated = np.clip(values, limits.min, limits.max)
        np.testing.assert_array_equal(Quantize(rounding, dtype).apply(x), saturated)


def test_half_even_is_torchs_rounding() -> None:
    x = torch.arange(0, 255, 0.25, dtype=torch.float64)
    np.testing.assert_array_equal(Quantize("half_even").apply(x.numpy()), torch.round(x).numpy())


def test_a_table_per_channel() -> None:
    x = np.array([3, 3, 3]).reshape(3, 1, 1)
    np.testing.assert_array_equal(Lookup(PER_CHANNEL).apply(x).ravel(), [3.0, 252.0, 7.0])
    reached = Lookup(PER_CHANNEL).output_range(Range(np.array([1.0, 2.0, 3.0]), np.array([1.5, 10.0, 20.0])))
    np.testing.assert_array_equal(reached.low, [1.0, 245.0, 7.0])
    np.testing.assert_array_equal(reached.high, [1.0, 253.0, 7.0])


def test_gamma_of_negative_values() -> None:
    np.testing.assert_array_equal(Gamma(1.0, 2.0).apply([-0.5]), [0.25])
    assert np.isnan(Gamma(1.0, 0.5).apply([-0.25, 0.25])).tolist() == [True, False]
    ends = Range(np.array([-2.0, -2.0]), np.array([1.0, -1.0]))
    for gamma, low, high in [(2.0, [0.0, 1.0], [4.0, 4.0]), (3.0, [-8.0, -8.0], [1.0, -1.0]), (0.5, [0, 0], [1, 0])]:
        found = Gamma(1.0, gamma).output_range(ends)
        np.testing.assert_array_equal((found.low, found.high), (low, high))
    # Range itself refuses what is not finite.
    assert Gamma(1.0, 20.0).output_range(Range.of(1, -1e30, 1e30)).high[0] > 1e200


def test_gamma_is_a_power() -> None:
    np.testing.assert_allclose(Gamma(2.0, 3.0).apply([0.0, 0.5, 1.0]), [0.0, 0.25, 2.0], rtol=1e-15)


def test_identities() -> None:
    assert Clamp(-np.inf, np.inf).is_identity
    assert Lookup(np.arange(256)).is_identity
    assert Gamma(1.0, 1.0).is_identity
    assert not any(activation.is_identity for activation in ACTIVATIONS.values())


REFUSED = [
    (lambda: Clamp(1.0, 0.0), "low is 1.0 and high is 0.0"),
    (lambda: Clamp(np.inf, np.inf), "low is inf"),
    (lambda: Clamp(np.nan, 0.0), "low is nan"),
    (lambda: Quantize("up"), "rounding is 'up'"),
    (lambda: Quantize("half_up", "float32"), "dtype is 'float32'"),
    (lambda: Gamma(1.0, -1.0), "gamma is -1.0"),
    (lambda: Gamma(np.inf, 1.0), "gain is inf"),
    (lambda: Lookup(np.zeros(255)), r"table is an array of shape \[255\]"),
    (lambda: Lookup(np.full(256, np.nan)), "table has a value that is not finite"),
    (lambda: FloatOp("add", np.ones(1)), "operation is 'add'"),
    (lambda: FloatOp("multiply", np.array([1e300])), "numbers has a value that is not finite"),
    (lambda: FloatOp("divide", np.array([1.0, 0.0])), "numbers has a zero"),
    (lambda: Lookup(INVERSION).apply([0.5]), "no integer"),
    (lambda: Lookup(INVERSION).apply([256]), "no integer in 0 … 255"),
    (lambda: Lookup(INVERSION).apply([-1]), "no integer in 0 … 255"),
    (lambda: Lookup(INVERSION).apply([np.nan]), "no integer"),
    (lambda: Lookup(INVERSION).output_range(Range.of(1, 0.0, 256.0)), "values from 0 to 256"),
    (lambda: Lookup(INVERSION).output_range(Range.of(1, 0.2, 0.8)), "values from 0.2 to 0.8"),
]


def test_refusals_say_what_was_given() -> None:
    for act, problem in REFUSED:
        with pytest.raises(OnelayerError, match=problem):
            act()
