"""Allocate memory for results, and use it again once nobody holds the result any more.

The system hands out memory in pages of 4 KiB, and the first write to each costs as much as computing what is written
there. PyTorch gives a result's memory back when the result is freed, so that a loop over batches pays in every turn.
Here each thread keeps some memory.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from threading import local

import numpy as np
import torch
from numpy.typing import NDArray

MAX_KEPT = 32 << 20
"""Maximum number of bytes that a thread keeps, those of results that are in use among them."""

MAX_BLOCKS = 16
"""Maximum number of pieces that a thread keeps."""

SMALLEST = 64 << 10
"""Size in bytes below which the C library keeps memory by itself."""

LARGEST = 8 << 20
"""Size in bytes above which memory is given back. NumPy asks for huge pages there, of which there are few."""

_LINE = 64
"""Bytes of a cache line, with which results begin."""

_NUMPY = {torch.uint8: np.uint8, torch.float16: np.float16, torch.float32: np.float32}

_number_of_holders = torch._C._storage_Use_Count


@dataclass(frozen=True)
class _Block:
    """Memory that results are views of.

    Args:
        memory: All of it.
        address: Address of its first byte when it was made. Memory that is shared with another process moves.
        storage: PyTorch's handle of the storage.
        holders: Number of holders of the storage while there is no result.
    """

    memory: torch.Tensor
    address: int
    storage: int
    holders: int

    @classmethod
    def of(cls, size: int, dtype: torch.dtype) -> _Block:
        # Views of a tensor that was made in inference mode could take no part in training.
        with torch.inference_mode(mode=False):
            memory = torch.empty(size, dtype=dtype, device="cpu")
        storage = memory.untyped_storage()._cdata
        return cls(memory, memory.data_ptr(), storage, _number_of_holders(storage))

    def is_free(self) -> bool:
        """Whether no result holds the memory, and it is still this process's own."""
        return bool(_number_of_holders(self.storage) <= self.holders and self.memory.data_ptr() == self.address)


class _Kept(local):
    """The memory that a thread keeps: two threads could take the same piece at the same time."""

    def __init__(self) -> None:
        self.blocks: list[_Block] = []

    def take(self, size: int, dtype: torch.dtype) -> torch.Tensor:
        """Return memory for ``size`` numbers."""
        for block in self.blocks:
            if block.memory.dtype is dtype and len(block.memory) == size and block.is_free():
                return block.memory
        block = _Block.of(size, dtype)
        self.blocks.append(block)
        while len(self.blocks) > MAX_BLOCKS or sum(each.memory.nbytes for each in self.blocks) > MAX_KEPT:
            del self.blocks[0]
        return block.memory


_KEPT = _Kept()


def empty(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """Return a contiguous tensor on the CPU with any content, of uint8, float16 or float32."""
    count = math.prod(shape)
    size = count * dtype.itemsize
    if size < SMALLEST:
        return torch.empty(shape, dtype=dtype, device="cpu")
    if size > LARGEST:
        return torch.from_numpy(_aligned(size).view(_NUMPY[dtype])).view(shape)
    # Eight sizes between a power of two and the next, so that batches of about the same size share memory.
    step = 1 << (count.bit_length() - 4)
    strides, stride = [], 1
    for length in reversed(shape):
        strides.append(stride)
        stride *= length
    return torch.as_strided(_KEPT.take(-(-count // step) * step, dtype), shape, strides[::-1])


def _aligned(size: int) -> NDArray[np.uint8]:
    memory = np.empty(size + _LINE, np.uint8)
    begin = -memory.ctypes.data % _LINE
    return memory[begin : begin + size]
