"""What all kernels in Numba share: how they are compiled, how outputs are finished, how threads share the work."""

from __future__ import annotations

import numba
import numpy as np

from onelayer.backends.cpu.vectors import pause, seen, store

# Sums may be reordered and contracted, but NaN and infinities keep their meaning.
_FAST = {"contract", "reassoc", "nsz", "arcp"}

kernel = numba.njit(fastmath=_FAST, nogil=True, cache=True)
"""Decorates a kernel. Numba keeps what it compiled as long as the kernel's own file stays the same, and knows of no
other: after a change of what a kernel uses, the kernel's file has to be touched."""

inlined = numba.njit(fastmath=_FAST, nogil=True, forceinline=True)
"""Decorates a part of a kernel. An array is seven arguments, and a call that is not inlined takes longer than the
arithmetic on a small image."""

exact_kernel = numba.njit(nogil=True, cache=True)
"""Decorates a kernel whose every operation is done as it is written."""

exact_inlined = numba.njit(nogil=True, forceinline=True)
"""Decorates a part of one."""

_f32 = np.float32

NO_ROUNDING, HALF_EVEN, HALF_UP, TRUNCATE = range(4)
"""What happens to a value before it is stored as an integer."""

TAKEN, DONE, HAS_NAN = range(3)
"""The numbers that the threads of one call share."""

_TURNS = 2000
"""How often to look whether other threads are done, before going to sleep: some forty microseconds."""


@inlined
def _clamped(value, low, high):
    # Comparisons that NaN fails leave it as it is.
    value = low if value < low else value
    return high if value > high else value


@inlined
def finished(sums, count, scale, bias, d, bias_at, low, high, rounding, out, to):
    """``count`` outputs in a row: scale, bias, clamp, rounding, cast. Gives whether one may be NaN."""
    shift = bias[d, 0]
    if bias.shape[1] > 1:
        for i in range(count):
            sums[i] = sums[i] * scale + bias[d, bias_at + i]
        scale, shift = _f32(1), _f32(0)
    if rounding == HALF_EVEN:
        for i in range(count):
            store(out, to + i, np.rint(_clamped(sums[i] * scale + shift, low, high)))
    elif rounding == HALF_UP:
        for i in range(count):
            store(out, to + i, np.floor(_clamped(sums[i] * scale + shift, low, high) + _f32(0.5)))
    elif rounding == TRUNCATE:
        for i in range(count):
            store(out, to + i, np.trunc(_clamped(sums[i] * scale + shift, low, high)))
    else:
        total = _f32(0)
        for i in range(count):
            value = _clamped(sums[i] * scale + shift, low, high)
            # NaN if one of them is: an addition takes one instruction for eight, a comparison takes many.
            total += value
            store(out, to + i, value)
        return total != total
    return False


@kernel
def wait_a_little(shared, pieces):
    """Whether all pieces are done, or will be within some microseconds."""
    for _ in range(_TURNS):
        if seen(shared, DONE) >= pieces:
            return True
        pause()
    return False
