from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onelayer import formats

PRINTED = [
    (formats.scientific, 0.0, "0"),
    (formats.scientific, 1.934e-5, "1.93×10⁻⁵"),
    (formats.scientific, 9.999e-10, "1.00×10⁻⁹"),
    (formats.scientific, 12.0, "1.20×10¹"),
    (formats.decibels, None, "∞ dB"),
    (formats.decibels, 47.15, "47.1 dB"),
    (formats.mse_with_psnr, 1e-4, "1.00×10⁻⁴ (40.0 dB)"),
    (formats.mse_with_psnr, 0.0, "0 (∞ dB)"),
    (formats.grey_levels, 0.0, "0"),
    (formats.grey_levels, 23.14, "23.1"),
    (formats.grey_levels, 1.114, "1.11"),
    (formats.grey_levels, 6e-5, "6.00×10⁻⁵"),
    (formats.similarity, None, "not defined"),
    (formats.similarity, 0.99871, "0.9987"),
    (formats.similarity, 0.99999, "> 0.9999"),
    (formats.similarity, 1.0, "1.0000"),
    (formats.milliseconds, 1.2344, "1,234"),
    (formats.milliseconds, 0.05674, "56.7"),
    (formats.milliseconds, 0.0089, "8.90"),
    (formats.milliseconds, 0.0000123, "0.0123"),
    (formats.factor, 1234.5, "1,234"),
    (formats.factor, 31.25, "31.2"),
    (formats.factor, 1.419, "1.42"),
    (formats.factor, 0.0571, "0.057"),
    (formats.factors, (3.1, 1.42), "1.42 to 3.10"),
    (formats.factors, (2.001, 2.002), "2.00"),
    (formats.duration, 8.23, "8.2 s"),
    (formats.duration, 723.0, "12 min 3 s"),
    (formats.duration, 3720.0, "1 h 2 min"),
    (formats.duration, 59.97, "1 min 0 s"),
    (formats.shape, (3, 17, 11), "3×17×11"),
    (formats.moment, "2025-03-04T05:06:07+00:00", "2025-03-04 05:06 UTC"),
    (formats.moment, "2025-03-04T05:06:07+02:00", "2025-03-04 03:06 UTC"),
    (formats.moment, "2025-03-04T05:06:07", "2025-03-04 05:06 UTC"),
    (formats.moment, "yesterday", "yesterday"),
    (formats.source, "sample", "sample"),
    (formats.source, "/home/someone/pictures/", "pictures"),
    (formats.source, "C:\\Users\\someone\\pictures", "pictures"),
    (formats.source, "/", "a folder"),
    (formats.enumeration, ["a"], "a"),
    (formats.enumeration, ["a", "b", "c"], "a, b and c"),
]


def test_values_are_printed_as_people_read_them() -> None:
    for function, value, text in PRINTED:
        assert function(value) == text, (function.__name__, value)


@given(st.floats(min_value=5e-324, max_value=1e300))
def test_psnr_undoes_itself(mse: float) -> None:
    # Logarithms of doubles are good to a few units in the last place of up to 3000 dB.
    assert 10 ** (-formats.psnr(mse) / 20) == pytest.approx(math.sqrt(mse), rel=1e-10)


def test_psnr_of_no_error_is_none() -> None:
    assert formats.psnr(0.0) is None
