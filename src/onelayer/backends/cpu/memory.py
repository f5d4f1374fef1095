"""Allocate memory for results, and use it again once nobody holds the result any more.

The system hands out memory in pages of 4 KiB, and the first write to each costs as much as computing what is written
there. PyTorch gives a result's memory back when the result is freed, so that a loop over batches pays in every turn.
Here each thread keeps some memory.

A thread that Python did not start, such as one of Daft's, keeps none. Python forgets such a thread after each call; and
PyTorch, where what was kept is freed then, asks for the interpreter once more, upon which Python 3.11 frees the state
of the thread twice, and the process crashes.
"""

from __future__ import annotations

import math
import threading
from threading import local
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from onelayer.memory_limits import refuse_impossible

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


class _Block:
    """Memory that results are views of.

    Args:
        size: Number of numbers.
        dtype: Dtype of the numbers.
    """

    __slots__ = ("_address", "_holders", "_shaped", "_storage", "dtype", "memory", "shape", "size")

    def __init__(self, size: int, dtype: torch.dtype) -> None:
        self.size, self.dtype = size, dtype
        # Views of a tensor that was made in inference mode could take no part in training.
        with torch.inference_mode(mode=False):
            self.memory = torch.empty(size, dtype=dtype, device="cpu")
        self._storage = self.memory.untyped_storage()._cdata
        self._address = self.memory.data_ptr()
        self.shape: tuple[int, ...] = (size,)
        self._shaped = self.memory
        self._holders = _number_of_holders(self._storage)

    def is_free(self) -> bool:
        """Whether no result holds the memory, and it is still this process's own: shared memory moves."""
        return bool(_number_of_holders(self._storage) <= self._holders and self.memory.data_ptr() == self._address)

    def view(self, shape: tuple[int, ...]) -> torch.Tensor:
        """Return a result of a shape, which holds the memory."""
        if shape != self.shape:
            strides, stride = [], 1
            for length in reversed(shape):
                strides.append(stride)
                stride *= length
            self._shaped = torch.as_strided(self.memory, shape, strides[::-1])
            self.shape = shape
            self._holders = _number_of_holders(self._storage)
        return self._shaped.detach()


class _Kept(local):
    """The memory that a thread keeps: two threads could take the same piece at the same time."""

    def __init__(self) -> None:
        self.blocks: list[_Block] = []
        self.keeps = _is_pythons()
        with torch.inference_mode(mode=False):
            self.small = torch.empty(0, dtype=torch.uint8, device="cpu")
        """Model of the last small result: to make a tensor like another takes half of the time."""
        self.small_shape: tuple[int, ...] = (0,)
        self.small_dtype = torch.uint8

    def small_of(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """Return a tensor below :data:`SMALLEST`."""
        with torch.inference_mode(mode=False):
            self.small = torch.empty(shape, dtype=dtype, device="cpu")
        self.small_shape, self.small_dtype = shape, dtype
        return torch.empty_like(self.small)

    def take(self, size: int, dtype: torch.dtype) -> _Block:
        """Return memory for ``size`` numbers."""
        for block in self.blocks:
            if block.size == size and block.dtype is dtype and block.is_free():
                return block
        block = _Block(size, dtype)
        if not self.keeps:
            return block
        self.blocks.append(block)
        while len(self.blocks) > MAX_BLOCKS or sum(each.memory.nbytes for each in self.blocks) > MAX_KEPT:
            del self.blocks[0]
        return block


def _is_pythons() -> bool:
    """Whether Python started the present thread."""
    here = threading.get_ident()
    return any(each.ident == here and not isinstance(each, threading._DummyThread) for each in threading.enumerate())


_KEPT = _Kept()


def empty(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """Return a contiguous tensor on the CPU with any content, of uint8, float16 or float32."""
    if shape == _KEPT.small_shape and dtype is _KEPT.small_dtype:
        return torch.empty_like(_KEPT.small)
    for block in _KEPT.blocks:
        # The usual case, and done for each image.
        if block.shape == shape and block.dtype is dtype and block.is_free():
            return block.view(shape)
    count = math.prod(shape)
    size = count * dtype.itemsize
    if size < SMALLEST:
        return _KEPT.small_of(shape, dtype)
    if size > LARGEST:
        refuse_impossible("a result", shape, dtype.itemsize)
        return torch.from_numpy(_aligned(size).view(_NUMPY[dtype])).view(shape)
    # Eight sizes between a power of two and the next, so that batches of about the same size share memory.
    step = 1 << (count.bit_length() - 4)
    return _KEPT.take(-(-count // step) * step, dtype).view(shape)


def empty_array(shape: tuple[int, ...], dtype: torch.dtype) -> NDArray[Any]:
    """Return a contiguous array with any content, of uint8, float16 or float32."""
    if math.prod(shape) * dtype.itemsize < SMALLEST:
        return np.empty(shape, _NUMPY[dtype])
    array: NDArray[Any] = empty(shape, dtype).numpy()
    return array


def _aligned(size: int) -> NDArray[np.uint8]:
    memory = np.empty(size + _LINE, np.uint8)
    begin = -memory.ctypes.data % _LINE
    return memory[begin : begin + size]
