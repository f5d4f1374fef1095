"""Threads that share the work of a launch."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

import numba
import numpy as np
import pytest
import torch
from torchvision.transforms import v2

import onelayer
from onelayer.backends.cpu import any_size, launch
from onelayer.backends.cpu.counters import DONE, TAKEN, add, take
from onelayer.backends.cpu.threads import share

IMAGES = [torch.randint(0, 256, (3, 60 + n, 50), dtype=torch.uint8) for n in range(6)]


def in_threads(works: list[Callable[[], object]]) -> None:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_from_many_threads_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "MULTIPLICATIONS_PER_THREAD", 1)
    layer = onelayer.compile(v2.Compose([v2.Resize(40), v2.ToDtype(torch.float32, scale=True)]), threads=3)
    expected = [layer(image) for image in IMAGES]
    wrong: list[int] = []

    def work(start: int) -> None:
        for step in range(30):
            index = (start + step) % len(IMAGES)
            if not torch.equal(layer(IMAGES[index]), expected[index]):
                wrong.append(index)

    in_threads([lambda start=start: work(start) for start in range(6)])  # type: ignore[misc]
    assert not wrong


@numba.njit(nogil=True)
def counted(counters, turns):  # type: ignore[no-untyped-def]
    for _ in range(turns):
        take(counters, TAKEN, 1)
        add(counters, DONE, 1)


def test_no_count_is_lost() -> None:
    """Two threads that add to the same counters at the same time, without the GIL."""
    counters, turns = np.zeros(3, np.uint64), 2_000_000
    counted(counters, 0)
    in_threads([lambda: counted(counters, turns)] * 2)
    assert (counters[TAKEN], counters[DONE]) == (2 * turns, 2 * turns)


def test_work_that_is_shared_is_all_done_once() -> None:
    left, done, ended = list(range(2000)), [], threading.Semaphore(0)

    def work() -> None:
        while left:
            with contextlib.suppress(IndexError):
                done.append(left.pop())
        ended.release()

    share(work, 3)
    work()
    for _ in range(4):
        assert ended.acquire(timeout=30)
    assert sorted(done) == list(range(2000))


@pytest.mark.parametrize("images", [1, 2])
def test_what_late_threads_read_is_alive(images: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that wakes after all is done counts on, in memory that must not be anybody else's by then."""
    works: list[Callable[[], object]] = []
    monkeypatch.setattr(launch, "share", lambda work, _: works.append(work))
    for module in (launch, any_size):
        monkeypatch.setattr(module, "MULTIPLICATIONS_PER_THREAD", 1)
    layer = onelayer.compile(v2.Resize(40), threads=2)
    batch = torch.stack([IMAGES[0]] * images)
    for compute in (layer, layer.apply_program):
        compute(batch)
        works.clear()
        result = compute(batch)
        before = result.clone()
        # Counters of later launches would lie where those of the first one were.
        others = [np.zeros(3, np.uint64) for _ in range(200)]
        kept = works.pop()()
        assert kept is not None
        assert any(isinstance(part, np.ndarray) and part.shape == (3,) for part in kept)  # type: ignore[attr-defined]
        assert torch.equal(result, before)
        assert not any(other.any() for other in others)
