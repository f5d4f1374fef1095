"""Keep threads for kernels that release the GIL, in any process, also a forked one."""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable
from functools import lru_cache
from queue import SimpleQueue
from threading import Event, Lock, Thread

Work = Callable[[], object]


def share(work: Work, others: int) -> None:
    """Run work in other threads too, as soon as they wake, which they do a twentieth of a millisecond later.

    Nobody waits for them: each thread that runs the work must take a part of what is left to do, and a thread that
    comes too late must find nothing. What the work writes to, it must keep alive.

    Args:
        work: Function that each of them runs at most once.
        others: Number of other threads. They are daemons, and stay for the next call.
    """
    # By process: threads do not survive a fork.
    _crew(os.getpid()).share(work, others)


def for_each(work: Callable[[int], object], count: int, threads: int) -> None:
    """Run work for each of the numbers 0 … ``count`` − 1, in this thread and others, and wait for all.

    Args:
        work: Function that releases the GIL for most of its time.
        count: Number of times.
        threads: Maximum number of threads.

    Raises:
        BaseException: What the work raised first; what is not begun by then is left undone.
    """
    numbers = iter(range(count))
    errors: list[BaseException] = []
    done, all_done = [0], Event()
    lock = Lock()

    def run() -> None:
        for number in numbers:
            try:
                if not errors:
                    work(number)
            except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
                errors.append(error)
            with lock:
                done[0] += 1
                if done[0] == count:
                    all_done.set()

    others = min(threads, count) - 1
    if others > 0:
        share(run, others)
    run()
    if count:
        all_done.wait()
    if errors:
        raise errors[0]


class _Crew:
    """Threads that run work from a queue."""

    def __init__(self, process: int) -> None:
        self._process = process
        self._queue: SimpleQueue[Work | None] = SimpleQueue()
        self._threads: list[Thread] = []
        self._has_ended = False
        atexit.register(self._end)

    def share(self, work: Work, others: int) -> None:
        if self._has_ended:
            return
        # Two callers at once may start a few more than are needed.
        while len(self._threads) < others:
            thread = Thread(target=self._serve, name=f"onelayer-{len(self._threads)}", daemon=True)
            thread.start()
            self._threads.append(thread)
        for _ in range(others):
            self._queue.put(work)

    def _serve(self) -> None:
        while (work := self._queue.get()) is not None:
            work()
            # Not kept while waiting for the next: it holds images and results.
            del work

    def _end(self) -> None:
        """Wait for threads that still compute, as after an interrupt.

        When they come back from a kernel to an interpreter that has ended, they are ended inside of Numba's C++, and
        that aborts the process.
        """
        # A forked process has this function too, but not the threads.
        if os.getpid() == self._process:
            self._has_ended = True
            for _ in self._threads:
                self._queue.put(None)
            for thread in self._threads:
                thread.join()


@lru_cache(maxsize=1)
def _crew(process: int) -> _Crew:
    return _Crew(process)
