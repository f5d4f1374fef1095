"""Memory of results, which is used again."""

from __future__ import annotations

import torch

from onelayer.backends.cpu import memory


def result(rows: int = 1000) -> torch.Tensor:
    return memory.empty((100, rows), torch.float32)


def test_memory_is_used_again_when_nobody_holds_it() -> None:
    first = result()
    place = first.data_ptr()
    assert place % 64 == 0
    part = first[3:]
    del first
    # Held by a part of it, and by an array.
    assert result().data_ptr() != place
    array = part.numpy()
    del part
    assert result().data_ptr() != place
    del array
    assert result(990).data_ptr() == place


def test_small_and_large_results() -> None:
    small, large = memory.empty((5,), torch.uint8), memory.empty((9 << 20,), torch.uint8)
    assert (small.shape, large.shape, large.data_ptr() % 64) == ((5,), (9 << 20,), 0)
    assert large.nbytes > memory.LARGEST
    place, free = large.data_ptr(), memory._POOL.free_bytes
    del large
    assert memory._POOL.free_bytes == free, place


def test_no_more_memory_waits_than_the_maximum() -> None:
    results = [memory.empty((8 << 20,), torch.uint8) for _ in range(8)]
    assert len({tensor.data_ptr() for tensor in results}) == 8
    del results
    waiting = sum(size * len(blocks) for size, blocks in memory._POOL.free.items())
    assert waiting == memory._POOL.free_bytes <= memory.MAX_FREE
