"""Memory between two pages that nothing may touch: a read or a write beyond either end ends the process."""

from __future__ import annotations

import ctypes
import mmap
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

End = Literal["begin", "end"]

_PAGE = mmap.PAGESIZE
_NOTHING = 0
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


def run_guarded(script: Path, folder: Path, *arguments: object) -> tuple[int, str, str]:
    """Run cases in a process of their own, which a read outside ends.

    Args:
        script: Script that takes a file, in which it names the case at hand, and arguments.
        folder: Folder for that file.
        arguments: The arguments.

    Returns:
        The exit status, what was printed, and the last case with what went to standard error.
    """
    report = folder / "case.txt"
    command = [sys.executable, str(script), str(report), *map(str, arguments)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    return ran.returncode, ran.stdout, f"{report.read_text() if report.exists() else ''}\n{ran.stderr}"


class GuardedMemory:
    """Room for arrays that begin at a protected page, or end at one; each array takes the place of the one before.

    Args:
        size: Bytes of the largest array.
    """

    def __init__(self, size: int) -> None:
        self._size = -(-size // _PAGE) * _PAGE
        # Never given back: numbers in it may still be read when the process ends.
        self._map = mmap.mmap(-1, self._size + 2 * _PAGE)
        base = ctypes.addressof(ctypes.c_uint8.from_buffer(self._map))
        for page in (base, base + _PAGE + self._size):
            if _libc.mprotect(page, _PAGE, _NOTHING):
                raise OSError(ctypes.get_errno(), "mprotect")
        self._bytes: NDArray[np.uint8] = np.frombuffer(self._map, np.uint8)[_PAGE : _PAGE + self._size]

    def flat(self, count: int, dtype: torch.dtype, end: End) -> torch.Tensor:
        """Return memory for so many numbers at an end, with what was there before."""
        size = count * dtype.itemsize
        assert size <= self._size
        part = self._bytes[:size] if end == "begin" else self._bytes[self._size - size :]
        return torch.from_numpy(part).view(dtype)

    def tensor(self, values: torch.Tensor, strides: Sequence[int], end: End) -> torch.Tensor:
        """Return a copy of some values with these strides, whose first or last number is at an end."""
        last = sum((length - 1) * stride for length, stride in zip(values.shape, strides, strict=True))
        placed = self.flat(last + 1, values.dtype, end).as_strided(values.shape, strides)
        once = tuple(slice(1) if stride == 0 else slice(None) for stride in strides)
        placed[once].copy_(values[once])
        return placed


def layouts(shape: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """Return strides in which an image [C, H, W] can lie, by the name of the layout."""
    channels, height, width = shape
    return {
        "planar": (height * width, width, 1),
        "interleaved": (1, channels * width, channels),
        "four bytes a pixel": (1, (channels + 1) * width, channels + 1),
        "rows apart": (height * (width + 9), width + 9, 1),
        "every other column": (2 * height * width, 2 * width, 2),
        "transposed": (height * width, 1, height),
        "channels apart": (height * width + 5, width, 1),
        "pixels far apart": (1, 7 * channels * width, 7 * channels),
        "a single row": (width, 0, 1),
    }


def as_any(values: Any) -> Any:
    """Return an array's bits as whole numbers, so that NaN is equal to itself."""
    array = np.ascontiguousarray(values.numpy() if isinstance(values, torch.Tensor) else values)
    return array.view({1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}[array.itemsize])
