"""Threads for kernels that release the GIL, in any process: also one that was forked."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache
from queue import SimpleQueue
from threading import Thread

Work = Callable[[], object]


def share(work: Work, others: int) -> None:
    """Have other threads run the work too, as soon as they wake, which they do a twentieth of a millisecond later.

    Nobody waits for them: the work must be such that each that runs it takes a part of what is left to do, and knows
    when all is done; one that comes too late finds nothing. What the work writes to, it must keep alive.

    Args:
        work: Run at most once by each of them.
        others: How many. They are daemons, and stay for the next call.
    """
    # By process: threads do not survive a fork.
    crew = _crew(os.getpid())
    crew.grow(others)
    for _ in range(others):
        crew.queue.put(work)


class _Crew:
    """Threads that run what comes in."""

    def __init__(self) -> None:
        self.queue: SimpleQueue[Work] = SimpleQueue()
        self._threads = 0

    def grow(self, threads: int) -> None:
        # Two callers at once may start a few more than are needed.
        while self._threads < threads:
            self._threads += 1
            Thread(target=self._serve, name=f"onelayer-{self._threads}", daemon=True).start()

    def _serve(self) -> None:
        while True:
            work = self.queue.get()
            work()
            # Not kept while waiting for the next: it holds images and results.
            del work


@lru_cache(maxsize=1)
def _crew(process: int) -> _Crew:  # noqa: ARG001 - the process is the key
    return _Crew()
