"""The taps of one resized axis as PyTorch computes them for float32 images, rounding for rounding.

:mod:`onelayer.algebra.filters` has the same weights in float64. Source: ``_compute_weights_aa`` and the filters in
PyTorch's ``UpSampleKernel.cpp`` and ``UpSample.h``. Where products are added with one rounding (FMA) was found by
comparing weights, which an image with a single one in it shows.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Literal

import numpy as np

from onelayer.algebra.float32_sum import Float32Array, Taps, multiplied_and_added
from onelayer.errors import OnelayerError

_one, _two = np.float32(1), np.float32(2)


def _bilinear(x: Float32Array, fused: bool) -> Float32Array:  # noqa: ARG001 - there is no product in it
    return np.where(x < _one, (1.0 - x.astype(np.float64)).astype(np.float32), np.float32(0))


def _bicubic(x: Float32Array, fused: bool) -> Float32Array:
    a = np.float32(-0.5)

    def add(product: Float32Array, factor: Float32Array, constant: float) -> Float32Array:
        addend = np.full_like(product, constant)
        return multiplied_and_added(product, factor, addend) if fused else product * factor + addend

    near = add(add(np.full_like(x, 1.5), x, -2.5) * x, x, 1.0)
    far = add(add(add(np.full_like(x, a), x, 2.5), x, -4.0), x, 2.0)
    return np.where(x < _one, near, np.where(x < _two, far, np.float32(0)))


_FILTERS: dict[str, tuple[float, Callable[[Float32Array, bool], Float32Array]]] = {
    "bilinear": (1.0, _bilinear),
    "bicubic": (2.0, _bicubic),
}
"""Support in output samples, and the value at a distance of at least 0."""


@lru_cache(maxsize=128)
def resized_in_singles(n_in: int, n_out: int, interpolation: Literal["bilinear", "bicubic"], fused: bool) -> Taps:
    """Taps of a resize with antialiasing.

    Args:
        n_in: Input samples, ≥ 1.
        n_out: Output samples, ≥ 1.
        interpolation: The filter.
        fused: Whether the processor's products are added with one rounding.

    Raises:
        OnelayerError: For lengths out of range.
    """
    if n_in < 1 or n_out < 1:
        raise OnelayerError(f"a resize from {n_in} to {n_out} samples was asked for", expected="at least 1 sample")
    reach, weigh = _FILTERS[interpolation]
    scale = np.float32(n_in / n_out)
    support, inverse = np.float32(reach), _one
    if scale >= 1:
        support, inverse = np.float32(reach) * scale, np.float32(1.0 / scale)
    centre = (float(scale) * (np.arange(n_out) + 0.5)).astype(np.float32)
    # A half is a float64.
    starts = np.maximum(((centre - support).astype(np.float64) + 0.5).astype(np.int64), 0)
    counts = np.minimum(((centre + support).astype(np.float64) + 0.5).astype(np.int64), n_in) - starts
    taps = np.arange(int(counts.max()))[:, None]
    from_centre = ((starts + taps).astype(np.float32) - centre).astype(np.float64) + 0.5
    weights = weigh(np.abs((from_centre * float(inverse)).astype(np.float32)), fused)
    weights[taps >= counts] = 0.0
    sums = weights[0].copy()
    for tap in weights[1:]:
        sums += tap
    return Taps(n_in, starts, counts, np.ascontiguousarray((weights / sums).T))
