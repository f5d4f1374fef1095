from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from onelayer.algebra import Activation, Clamp, Gamma, Lookup, Quantize
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
    "constant gamma": Gamma(1.0, 0.0),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
@given(ends=st.tuples(st.integers(0, 255), st.integers(0, 255)), seed=st.integers(0, 1000))
def test_the_range_encloses_every_output_and_is_attained(name: str, ends: tuple[int, int], seed: int) -> None:
    activation = ACTIVATIONS[name]
    low, high = np.full(3, float(min(ends))), np.full(3, float(max(ends)))
    x = np.random.default_rng(seed).integers(min(ends), max(ends), endpoint=True, size=(5, 3, 2, 4))
    out_low, out_high = activation.out_range(low, high)
    outputs = activation.apply(x)
    assert outputs.shape == x.shape
    assert (outputs.min(axis=(0, 2, 3)) >= out_low).all()
    assert (outputs.max(axis=(0, 2, 3)) <= out_high).all()
    # All functions here are monotone between integers, so the integers attain the bounds.
    everything = activation.apply(
        np.broadcast_to(np.arange(min(ends), max(ends) + 1), (3, 1, abs(ends[0] - ends[1]) + 1))
    )
    np.testing.assert_array_equal(everything.min(axis=(1, 2)), out_low)
    np.testing.assert_array_equal(everything.max(axis=(1, 2)), out_high)


@pytest.mark.parametrize("activation", ACTIVATIONS.values(), ids=ACTIVATIONS.keys())
def test_an_empty_batch_stays_empty(activation: Activation) -> None:
    assert activation.apply(np.zeros((0, 3, 2, 4))).shape == (0, 3, 2, 4)


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
    low, high = Lookup(PER_CHANNEL).out_range(np.array([1.0, 2.0, 3.0]), np.array([1.5, 10.0, 20.0]))
    np.testing.assert_array_equal(low, [1.0, 245.0, 7.0])
    np.testing.assert_array_equal(high, [1.0, 253.0, 7.0])


def test_gamma_of_negative_values() -> None:
    np.testing.assert_array_equal(Gamma(1.0, 2.0).apply([-0.5]), [0.25])
    assert np.isnan(Gamma(1.0, 0.5).apply([-0.25, 0.25])).tolist() == [True, False]
    ends = np.array([-2.0, -2.0]), np.array([1.0, -1.0])
    for gamma, low, high in [(2.0, [0.0, 1.0], [4.0, 4.0]), (3.0, [-8.0, -8.0], [1.0, -1.0]), (0.5, [0, 0], [1, 0])]:
        found = Gamma(1.0, gamma).out_range(*ends)
        np.testing.assert_array_equal(found, (low, high))
    assert np.isfinite(Gamma(1.0, 20.0).out_range(np.array([-1e30]), np.array([1e30]))).all()


def test_gamma_is_a_power() -> None:
    np.testing.assert_allclose(Gamma(2.0, 3.0).apply([0.0, 0.5, 1.0]), [0.0, 0.25, 2.0], rtol=1e-15)


def test_identities() -> None:
    assert Clamp(-np.inf, np.inf).is_identity
    assert Lookup(np.arange(256)).is_identity
    assert Gamma(1.0, 1.0).is_identity
    assert not any(activation.is_identity for activation in ACTIVATIONS.values())


@pytest.mark.parametrize(
    ("act", "problem"),
    [
        (lambda: Clamp(1.0, 0.0), "a clamp to 1.0 … 0.0"),
        (lambda: Clamp(np.nan, 0.0), "a clamp to nan"),
        (lambda: Gamma(1.0, -1.0), "gamma -1.0"),
        (lambda: Gamma(np.inf, 1.0), "gain inf"),
        (lambda: Lookup(np.zeros(255)), "a table of shape"),
        (lambda: Lookup(np.full(256, np.nan)), "a table of shape"),
        (lambda: Lookup(INVERSION).apply([0.5]), "no integer"),
        (lambda: Lookup(INVERSION).apply([256]), "no integer in 0 … 255"),
        (lambda: Lookup(INVERSION).apply([-1]), "no integer in 0 … 255"),
        (lambda: Lookup(INVERSION).apply([np.nan]), "no integer"),
        (lambda: Lookup(INVERSION).out_range(np.array([0.0]), np.array([256.0])), "values from 0 to 256"),
        (lambda: Lookup(INVERSION).out_range(np.array([0.2]), np.array([0.8])), "values from 0.2 to 0.8"),
    ],
)
def test_refusals_say_what_was_given(act: object, problem: str) -> None:
    with pytest.raises(OnelayerError, match=problem):
        act()
