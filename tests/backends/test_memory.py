"""Memory of results, which is used again."""

from __future__ import annotations

import ctypes
import os
import threading

import pytest
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
    assert all(block.memory.nbytes <= memory.LARGEST for block in memory._KEPT.blocks)


def test_no_more_memory_is_kept_than_the_maximum() -> None:
    results = [memory.empty((8 << 20,), torch.uint8) for _ in range(8)]
    assert len({tensor.data_ptr() for tensor in results}) == 8
    del results
    assert 0 < sum(block.memory.nbytes for block in memory._KEPT.blocks) <= memory.MAX_KEPT
    several = [result(200 + n) for n in range(2 * memory.MAX_BLOCKS)]
    assert len(several) > len(memory._KEPT.blocks) == memory.MAX_BLOCKS


def test_memory_that_another_process_reads_is_left_to_it() -> None:
    shared = result().fill_(3)
    shared.share_memory_()
    view, place = shared[:], shared.data_ptr()
    del shared
    # The other process holds memory, but nothing that this one could count.
    del view
    assert result().data_ptr() != place


def test_each_thread_has_memory_of_its_own() -> None:
    mine = result()
    place = mine.data_ptr()
    del mine
    places: list[int] = []
    thread = threading.Thread(target=lambda: places.append(result().data_ptr()))
    thread.start()
    thread.join()
    assert places != [place]
    assert result().data_ptr() == place


def test_results_of_inference_mode_leave_no_trace() -> None:
    with torch.inference_mode():
        result(1234)
    weight = torch.ones((), requires_grad=True)
    (result(1234).zero_() * weight).sum().backward()
    assert weight.grad == 0


@pytest.mark.skipif(os.name != "posix", reason="threads are started by pthreads")
def test_threads_that_python_did_not_start_keep_nothing() -> None:
    """What such a thread keeps is freed in the middle of its end, where PyTorch would crash the process."""
    kept: list[int] = []

    @ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)
    def work(_: object) -> None:
        assert result().data_ptr()
        kept.append(len(memory._KEPT.blocks))
        # For the sake of this process, if it were otherwise.
        memory._KEPT.blocks.clear()

    library, thread = ctypes.CDLL(None), ctypes.c_ulong()
    assert library.pthread_create(ctypes.byref(thread), None, work, None) == 0
    library.pthread_join(thread, None)
    assert kept == [0]
    pythons = threading.Thread(target=work, args=(None,))
    pythons.start()
    pythons.join()
    assert kept == [0, 1]
