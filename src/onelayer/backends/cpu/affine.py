"""Compute what a table of 256 values holds, where that is quicker than to look it up, and bit for bit the same.

Most tables are ``(v / 255 − mean) / std`` in float32, with a rounding after each operation. A product of a float32 and
a number in two parts, ``x · high + x · low`` with a single rounding of the sum, is nearly always the rounded quotient.
Whether it is for all 256 bytes is tried out.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from onelayer.backends.cpu.simd import (
    BYTES_8,
    FLOAT,
    FLOATS_8,
    constant,
    data_of,
    has_avx2,
    instruction,
    loaded,
    splat,
    stored,
)
from onelayer.backends.cpu.tables import LANES

FACTORS = 5
"""Numbers per channel: a factor in two parts, a number to subtract, and a second factor in two parts."""

_NEIGHBOURS = 4
"""Float32 numbers on either side of an estimate that are tried."""

_f32 = np.float32


def in_affine_form(builder, values, factors):
    """Compute ``x · f₃ + x · f₄``, where ``x = v · f₀ + v · f₁ − f₂``, for eight bytes v and five vectors f."""

    def product(x, high, low):
        return instruction(builder, "llvm.fma.v8f32", FLOATS_8, x, high, builder.fmul(x, low))

    high, low, less, second_high, second_low = factors
    x = builder.fsub(product(builder.uitofp(values, FLOATS_8), high, low), less)
    return product(x, second_high, second_low)


@intrinsic
def affine_values(_typing, values, at, factors, first, out, to):
    """Set ``out[to + i]`` to ``x · f₃ + x · f₄``, where ``x = v · f₀ + v · f₁ − f₂``, for eight bytes v from ``at`` on.

    The five factors begin at ``first``. Nothing is written if ``out`` is not of float32.
    """
    signature = types.void(values, at, factors, first, out, to)

    def generate(context, builder, signature, arguments):
        values, factors, out = (data_of(context, builder, signature.args[i], arguments[i]) for i in (0, 2, 4))
        _, at, _, first, _, to = arguments
        if out.type.pointee != FLOAT:
            return
        each = [
            splat(builder, builder.load(builder.gep(factors, [builder.add(first, constant(i))])), LANES)
            for i in range(FACTORS)
        ]
        stored(builder, in_affine_form(builder, loaded(builder, values, at, BYTES_8), each), out, to)

    return signature, generate


def affine_of(table: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """Find factors that give a table bit for bit; None if there are none, or the processor has no fused products.

    Args:
        table: float32 [C, 256].

    Returns:
        float32 [C, FACTORS].
    """
    found = [next(_of_channel(channel), None) for channel in table] if has_avx2() else [None]
    return None if any(each is None for each in found) else np.array(found, np.float32)


_Pair = tuple[np.float32, np.float32]


def _of_channel(table: NDArray[np.float32]) -> Iterator[tuple[np.float32, ...]]:
    """Find factors that give a table of one channel."""
    values = np.arange(256, dtype=np.float32)
    scaled_by: tuple[tuple[NDArray[np.float32], _Pair], ...] = (
        (values / _f32(255), _inverse(_f32(255))),
        (values * (_f32(1) / _f32(255)), (_f32(1) / _f32(255), _f32(0))),
        (values, (_f32(1), _f32(0))),
    )
    for scaled, first in scaled_by:
        if _product(values, first, scaled):
            for less, second in _fits(scaled, table):
                if _product(scaled - less, second, table):
                    yield *first, less, *second


def _product(x: NDArray[np.float32], factor: _Pair, expected: NDArray[np.float32]) -> bool:
    """Whether ``x · high + x · low``, where only the second product and the sum are rounded, is what is expected."""
    # In float64 the first product is exact, and so is the sum if nothing is lost of either part.
    product, rest = x.astype(np.float64) * factor[0], (x * factor[1]).astype(np.float64)
    total = product + rest
    lost = rest - (total - product)
    return bool((lost == 0).all() and (total.astype(np.float32).view(np.int32) == expected.view(np.int32)).all())


def _inverse(divisor: np.float32) -> _Pair:
    """Return a reciprocal in two parts."""
    exact = 1 / np.float64(divisor)
    return _f32(exact), _f32(exact - _f32(exact))


def _fits(scaled: NDArray[np.float32], table: NDArray[np.float32]) -> Iterator[tuple[np.float32, _Pair]]:
    """Find float32 m and s with ``table = (scaled − m) / s``, or ``(scaled − m) · s``, each operation rounded."""
    slope = (np.float64(table[255]) - table[0]) / (np.float64(scaled[255]) - scaled[0])
    if slope == 0 or not np.isfinite(slope):
        return
    # Beside the estimate zero, which is usual and has neighbours that are no estimates.
    less = np.append(_neighbours(scaled[0] - table[0] / slope), _f32(0))[:, None]
    apart = scaled - less
    for divisor in _neighbours(1 / slope):
        for m in less[(apart / divisor == table).all(axis=1), 0]:
            yield m, _inverse(divisor)
    for factor in _neighbours(slope):
        for m in less[(apart * factor == table).all(axis=1), 0]:
            yield m, (factor, _f32(0))


def _neighbours(estimate: np.float64) -> NDArray[np.float32]:
    """Return the float32 numbers around an estimate."""
    steps = np.arange(-_NEIGHBOURS, _NEIGHBOURS + 1)
    result: NDArray[np.float32] = (_f32(estimate) + steps * np.spacing(_f32(estimate))).astype(np.float32)
    return result
