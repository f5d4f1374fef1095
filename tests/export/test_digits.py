"""Sums of digits are exact in float32, whatever the order, and round as whole numbers do."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from onelayer.backends.portable.digits import EXACT, split


@given(
    taps=st.integers(1, 700),
    bits=st.integers(1, 22),
    seed=st.integers(0, 2**32 - 1),
    most=st.sampled_from([1, 255, 1000]),
    is_extreme=st.booleans(),
)
def test_the_carried_sums_are_those_of_the_whole_weights(
    taps: int, bits: int, seed: int, most: int, is_extreme: bool
) -> None:
    generator = np.random.default_rng(seed)
    real = generator.normal(size=(3, taps))
    whole = np.rint(real / np.abs(real).sum(axis=1, keepdims=True) * 2**bits * 1.3).astype(np.int64)
    values = generator.integers(-most, most + 1, (taps, 5))
    if is_extreme:
        # The largest sums that there are.
        values = np.where(whole[:1].T >= 0, most, -most) * np.ones((1, 5), dtype=np.int64)
    digits = split(whole, bits, most)
    assert digits is not None
    carry = np.zeros((3, 5), dtype=np.float32)
    for number, digit in enumerate(digits):
        weights = digit.weights.astype(np.float32)
        assert (weights == digit.weights).all()
        products = weights[:, :, None] * values.astype(np.float32)
        # From both ends, and as BLAS likes it: exact sums do not depend on their order.
        sums = [weights @ values.astype(np.float32), products.cumsum(axis=1)[:, -1], products[:, ::-1].cumsum(1)[:, -1]]
        assert all((each == sums[0]).all() for each in sums)
        carry = sums[0] + np.floor(carry) * np.float32(digit.scale) if number else sums[0]
        assert np.abs(carry / digit.scale).max() < EXACT
    assert carry.dtype == np.float32
    assert np.array_equal(np.floor(carry + np.float32(0.5)), (2 * (whole @ values) + 2**bits) >> (bits + 1))


def test_two_digits_are_enough_for_photographs_and_weights_too_many_are_refused() -> None:
    uniform = np.full((1, 64), 2**22 // 64)
    assert len(split(uniform, 22, 255) or []) == 2
    assert len(split(np.full((1, 32), 2**14 // 32), 14, 255) or []) == 1
    assert split(np.full((1, 8), 2**22 // 8), 22, 2**23) is None
