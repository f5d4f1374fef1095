"""The floor under all times: reading the input and writing the output once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from onelayer.bench.timing import Contender

_SMALL = 1 << 20
"""Bytes up to which one thread is faster than several: another takes about a tenth of a millisecond to wake."""

Piece = Callable[[], None]


def floor_on_cpu(images: Sequence[torch.Tensor], shape: torch.Size, dtype: torch.dtype, threads: int) -> Contender:
    """Read the images and write as many bytes as the results have, into memory that is there already.

    Args:
        images: Images of a pass, each [..., C, H, W], in CHW or HWC memory.
        shape: Shape of the result for one image, C'×H'×W'.
        dtype: Dtype of the results.
        threads: Number of threads, each of which reads and writes its share, where there is enough to share.
    """
    outputs = {batch: torch.zeros(*batch, *shape, dtype=dtype) for batch in {item.shape[:-3] for item in images}}
    pool = ThreadPoolExecutor(threads - 1) if threads > 1 else None

    def apply(pieces: list[Piece]) -> None:
        first, *others = pieces
        futures = [pool.submit(piece) for piece in others] if pool is not None else []
        first()
        wait(futures)

    return Contender(apply, [_pieces(item, outputs[item.shape[:-3]], threads) for item in images])


def floor_on_cuda(images: Sequence[torch.Tensor], shape: torch.Size, dtype: torch.dtype) -> Contender:
    """Copy the images to the CUDA device, and as many bytes as the results have back; see :func:`floor_on_cpu`."""
    outputs = {
        batch: torch.zeros(*batch, *shape, dtype=dtype, device="cuda") for batch in {item.shape[:-3] for item in images}
    }

    def apply(item: torch.Tensor) -> None:
        item.to("cuda")
        outputs[item.shape[:-3]].cpu()

    return Contender(apply, images)


def _pieces(images: torch.Tensor, output: torch.Tensor, threads: int) -> list[Piece]:
    count = threads if images.nbytes + output.nbytes > _SMALL else 1
    # Whole words, which are combined faster than memory gives them; up to seven bytes at the end are left out.
    line = _memory(images)
    words = line[: line.nbytes // 8 * 8].view(np.uint64)
    reads, writes = np.array_split(words, count), np.array_split(_memory(output), count)
    return [partial(_read_and_write, read, write) for read, write in zip(reads, writes, strict=True)]


def _read_and_write(read: NDArray[np.uint64], write: NDArray[np.uint8]) -> None:
    np.bitwise_or.reduce(read)
    write.fill(1)


def _memory(images: torch.Tensor) -> NDArray[np.uint8]:
    """View the bytes of images in the order in which they lie in memory: HWC images are no contiguous tensors."""
    ordered = images if images.is_contiguous() else images.movedim(-3, -1)
    return ordered.contiguous().view(-1).numpy().view(np.uint8)
