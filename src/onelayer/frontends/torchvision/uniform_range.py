"""State how PyTorch's ``uniform_`` makes a number of a range, in float32, of 24 random bits."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch

_PROBES = 512
"""Numbers that are compared with PyTorch's."""

_BITS, _UNIT = (1 << 24) - 1, 2.0**-24


class UniformRange(NamedTuple):
    """A range of float32 numbers, which are bits · 2⁻²⁴ · length + start.

    Args:
        start: Start of the range.
        length: Its length.
        is_fused: Whether the product is added without being rounded; otherwise it is rounded to float32 before.
    """

    start: float
    length: float
    is_fused: bool

    def number(self, word: int) -> float:
        """Return the number that is made of a word of random bits."""
        product = (word & _BITS) * _UNIT * self.length
        if not self.is_fused:
            product = float(np.float32(product))
        return float(np.float32(product + self.start))


def uniform_range(low: float, high: float) -> UniformRange | None:
    """Return how numbers are made as ``torch.empty(1).uniform_(low, high)`` makes them; None if that is not known.

    PyTorch's compiler may have fused the product and the sum, so that both formulas are compared with it. Exact
    products and sums in float64, which are rounded to float32 once, have to be possible.
    """
    start, length = float(np.float32(low)), float(np.float32(high) - np.float32(low))
    largest = abs(start) + abs(length)
    if not (length > 0 and math.isfinite(largest)):
        return None
    last_bit = _last_bit(length) * _UNIT
    if start:
        last_bit = min(last_bit, _last_bit(start))
    if largest > last_bit * 2.0**53:
        return None
    with torch.inference_mode(mode=False):
        numbers, units = (torch.empty(_PROBES, dtype=torch.float32, device="cpu") for _ in range(2))
        numbers.uniform_(low, high, generator=torch.Generator().manual_seed(0))
        units.uniform_(generator=torch.Generator().manual_seed(0))
    products = units.numpy().astype(np.float64) * length
    for is_fused in (True, False):
        rounded = products if is_fused else products.astype(np.float32).astype(np.float64)
        if (numbers.numpy() == (rounded + start).astype(np.float32)).all():
            return UniformRange(start, length, is_fused)
    return None


def _last_bit(number: float) -> float:
    return float(np.spacing(np.float32(abs(number))))
