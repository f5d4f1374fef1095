"""Allocate memory for results, and use it again once nobody holds the result any more.

The system hands out memory in pages of 4 KiB, and the first write to each costs as much as computing what is written
there. PyTorch gives a result's memory back when the result is freed, so that a loop over batches pays in every turn.
Here some memory stays with the process.
"""

from __future__ import annotations

import math
import weakref
from collections import defaultdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

MAX_FREE = 32 << 20
"""Maximum number of bytes that wait to be used again, beside those of results that are in use."""

SMALLEST = 64 << 10
"""Size in bytes below which the C library keeps memory by itself."""

LARGEST = 8 << 20
"""Size in bytes above which memory is given back. NumPy asks for huge pages there, of which there are few."""

_LINE = 64
"""Bytes of a cache line, with which results begin."""

_NUMPY = {torch.uint8: np.uint8, torch.float16: np.float16, torch.float32: np.float32}


class _Pool:
    """Blocks of bytes that nobody uses."""

    def __init__(self) -> None:
        self.free: defaultdict[int, list[NDArray[np.uint8]]] = defaultdict(list)
        self.free_bytes = 0
        self._used: dict[int, weakref.ref[NDArray[Any]]] = {}

    def tensor(self, size: int, dtype: torch.dtype) -> torch.Tensor:
        """Return ``size`` bytes as a tensor. They come back when nobody holds it, or a view of it, any more."""
        # Eight sizes between a power of two and the next, so that batches of about the same size share blocks.
        step = 1 << (size.bit_length() - 4)
        whole = -(-size // step) * step
        try:
            block = self.free[whole].pop()
            self.free_bytes -= whole
        except IndexError:
            block = _aligned(whole)
        # The tensor's memory holds this very array. (A view of it would hold the array that owns the bytes.)
        taken = block[:size].view(_NUMPY[dtype])
        key = id(taken)

        def back(_: object) -> None:
            del self._used[key]
            if self.free_bytes + whole <= MAX_FREE:
                self.free_bytes += whole
                self.free[whole].append(block)

        self._used[key] = weakref.ref(taken, back)
        return torch.from_numpy(taken)


def _aligned(size: int) -> NDArray[np.uint8]:
    memory = np.empty(size + _LINE, np.uint8)
    begin = -memory.ctypes.data % _LINE
    return memory[begin : begin + size]


_POOL = _Pool()


def empty(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """Return a contiguous tensor on the CPU with any content, of uint8, float16 or float32."""
    size = math.prod(shape) * dtype.itemsize
    if size < SMALLEST:
        return torch.empty(shape, dtype=dtype)
    if size <= LARGEST:
        return _POOL.tensor(size, dtype).view(shape)
    return torch.from_numpy(_aligned(size).view(_NUMPY[dtype])).view(shape)
