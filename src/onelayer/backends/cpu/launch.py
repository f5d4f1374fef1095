"""Calls of the kernels in Numba: their arguments for one segment of a program, and the threads that they run in."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from onelayer.algebra import Separable, Shape, SpatialSparse
from onelayer.backends.cpu import float_kernel as numba_separable
from onelayer.backends.cpu import gather_kernel as numba_gather
from onelayer.backends.cpu import kernel_parts as numba_common
from onelayer.backends.cpu.threads import share
from onelayer.backends.cpu.windows import first_column_and_blocks, nearby, samples_of_blocks
from onelayer.backends.kernel_memory import one_batch
from onelayer.backends.segments import Segment
from onelayer.console import console

MULTIPLICATIONS_PER_THREAD = 160_000
"""Below so many another thread costs more than it saves: about a tenth of a millisecond's work."""

_SHARES = 4
"""So many shares of the work for each thread: a thread that wakes late, or is slowed down, takes fewer of them."""

_ROWS = 16
"""A single image is shared in pieces of a multiple of so many rows, two blocks of the separable kernel."""

_SAMPLE = {
    torch.uint8: np.empty(0, np.uint8),
    torch.float32: np.empty(0, np.float32),
    torch.float16: np.empty(0, np.int16),
}
"""What tells a kernel a dtype."""

_ROUNDINGS = {
    None: numba_common.NO_ROUNDING,
    "half_even": numba_common.HALF_EVEN,
    "half_up": numba_common.HALF_UP,
    "truncate": numba_common.TRUNCATE,
}


class KernelLaunch(ABC):
    """A kernel with what one segment of a program means to it.

    Args:
        out_shape: Of the results.
        is_rounded: Whether bytes come out.
    """

    kernel: Any
    """The compiled function."""

    multiplications: int
    """For one image, of eight numbers at a time."""

    shared_rows: int
    """Of one image, by which its work can be shared."""

    def __init__(self, out_shape: Shape, is_rounded: bool) -> None:
        self.out_shape = out_shape
        self.is_rounded = is_rounded
        self.shared_rows = out_shape[1]

    @abstractmethod
    def _constants(self, out: torch.dtype) -> tuple[Any, ...]:
        """The kernel's constants, for results of a dtype."""

    @abstractmethod
    def _readable(self, images: torch.Tensor) -> torch.Tensor:
        """The images in a layout that the kernel can read, copied only if they are in another."""

    def __call__(self, images: torch.Tensor, out: torch.Tensor, threads: int) -> bool:
        """Compute.

        Args:
            images: [..., C, H, W], of any dtype and any strides.
            out: Contiguous [..., C', H', W'], uint8 if bytes come out, else float32 or float16.
            threads: That may take part, at most.

        Returns:
            Whether there may be NaN among the results; False where they are integers.
        """
        if out.numel() == 0:
            return False
        images = self._readable(one_batch(images))
        count, rows = len(images), self.shared_rows
        threads = min(threads, 1 + count * self.multiplications // MULTIPLICATIONS_PER_THREAD)
        if count >= threads:
            shares = (count, 1, rows, 1 + count // (_SHARES * threads))
        else:
            # Fewer images than threads: shared by rows.
            of_share = _ROWS * (1 + rows // (_ROWS * _SHARES * threads))
            shares = (count, -(-rows // of_share), of_share, 1)
        shared = np.zeros(3, np.uint64)
        arguments = (
            _SAMPLE[images.dtype], images.data_ptr(), *images.stride(), *self._constants(out.dtype),
            _SAMPLE[out.dtype], out.data_ptr(), *shares, shared,
        )  # fmt: skip
        if (compiled := (self.kernel, images.dtype, out.dtype)) not in _COMPILED:
            with _announced():
                self.kernel(*arguments)
            _COMPILED.add(compiled)
        elif threads == 1:
            self.kernel(*arguments)
        else:
            self._run_in_threads(arguments, threads, (images, out))
        return bool(shared[numba_common.HAS_NAN])

    def _run_in_threads(self, arguments: tuple[Any, ...], threads: int, memory: object) -> None:
        def work() -> object:
            self.kernel(*arguments)
            # Held until here: addresses keep no memory alive.
            return memory

        share(work, threads - 1)
        self.kernel(*arguments)
        *_, images, pieces, _, _, shared = arguments
        while not numba_common.wait_a_little(shared, images * pieces):
            time.sleep(0)


class FloatLaunch(KernelLaunch):
    """A kernel that computes in float32.

    Args:
        segment: Its work.
    """

    def __init__(self, segment: Segment) -> None:
        super().__init__(segment.operator.out_shape, segment.rounding is not None)
        self._for_all = (
            *self._taps(segment),
            np.uint64(self.out_shape[2]),
            _singles(segment.channel),
            _singles(segment.bias.reshape(len(segment.bias), -1)),
            _singles(segment.low),
            _singles(segment.high),
            _ROUNDINGS[segment.rounding],
        )

    @abstractmethod
    def _taps(self, segment: Segment) -> tuple[Any, ...]:
        """The kernel's own constants."""

    def _constants(self, out: torch.dtype) -> tuple[Any, ...]:  # noqa: ARG002 - the same for all dtypes
        return self._for_all


class SeparableLaunch(FloatLaunch):
    """Of a separable operator."""

    kernel = staticmethod(numba_separable.separable)

    def _taps(self, segment: Segment) -> tuple[Any, ...]:
        operator = segment.operator
        assert isinstance(operator, Separable)
        rows, cols = nearby(operator.rows), nearby(operator.cols)
        first, starts, weights = first_column_and_blocks(cols)
        self._transpose = operator.transpose
        channels, height, _ = self.out_shape
        # Rows first, along all columns that are read.
        self.multiplications = channels * height * (rows.taps * cols.span + weights.size) // weights.shape[-1]
        return (
            np.uint64(first),
            np.uint64(cols.span),
            np.uint64(samples_of_blocks(rows)),
            rows.starts.astype(np.uint64),
            _singles(rows.weights),
            starts,
            weights,
        )

    def _readable(self, images: torch.Tensor) -> torch.Tensor:
        if self._transpose:
            images = images.transpose(-1, -2)
        _, channels, _, width = images.shape
        _, of_channel, _, of_column = images.stride()
        # Colours of one pixel side by side, and at most as many bytes that are no colours, as in Pillow's memory.
        if of_column == 1 or (of_channel == 1 and channels <= of_column <= 2 * channels):
            return images
        if width == 1:
            return images.as_strided(images.shape, (*images.stride()[:3], 1))
        return images.contiguous()


class GatherLaunch(FloatLaunch):
    """Of an operator whose axes do not separate."""

    kernel = staticmethod(numba_gather.gathered)

    def _taps(self, segment: Segment) -> tuple[Any, ...]:
        operator = segment.operator
        assert isinstance(operator, SpatialSparse)
        matrix = operator.matrix
        rows, cols = np.divmod(matrix.indices, operator.in_size[1])
        # One by one.
        self.multiplications = matrix.nnz * int(np.count_nonzero(segment.channel))
        return matrix.indptr.astype(np.uint64), rows.astype(np.uint32), cols.astype(np.uint32), _singles(matrix.data)

    def _readable(self, images: torch.Tensor) -> torch.Tensor:
        return images


def launch_of(segment: Segment) -> KernelLaunch:
    """The call for a segment."""
    return SeparableLaunch(segment) if isinstance(segment.operator, Separable) else GatherLaunch(segment)


def _singles(values: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.array(values, dtype=np.float32, order="C")


_COMPILED: set[object] = set()


@contextmanager
def _announced() -> Iterator[None]:
    """Say what takes so long, if it does: a kernel compiles once per machine and pair of dtypes, then it is cached."""
    timer = threading.Timer(1.0, console.print, ["Compiling the CPU kernel, once on this machine …"])
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
