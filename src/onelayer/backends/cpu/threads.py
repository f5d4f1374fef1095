"""Keep threads for kernels that release the GIL, in any process, also a forked one."""

from __future__ import annotations

import atexit
import os
import sys
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Lock, Thread, current_thread
from threading import enumerate as enumerate_threads
from types import FrameType

Work = Callable[[], object]

ENDING: list[bool] = []
"""Not empty once the process ends: no call may begin then, see :func:`stay`."""

_LONGEST_CALL = 10.0
"""Seconds that the end of the process waits at most for calls in daemon threads."""

_PACKAGE = f"{Path(__file__).parents[2]}{os.sep}"


def stay() -> None:
    """Keep a daemon thread where it is until the process has ended.

    When a thread comes back from PyTorch's C++, or Numba's, to an interpreter that has ended, it is ended inside of
    that, and this aborts the process ("terminate called without an active exception"). So at the end no call begins in
    a daemon thread, and :func:`_end_calls` waits for those that run. What a daemon thread does with PyTorch besides
    aborts the process as without onelayer.
    """
    if current_thread().daemon:
        Event().wait()


def _end_calls() -> None:
    ENDING.append(True)
    deadline = time.monotonic() + _LONGEST_CALL
    while _computing_daemons() and time.monotonic() < deadline:
        time.sleep(0.001)


def _computing_daemons() -> bool:
    """Whether a daemon thread of the user's is in a call."""
    daemons = {thread.ident for thread in enumerate_threads() if thread.daemon and not isinstance(thread, _CrewThread)}
    return any(_is_computing(frame) for ident, frame in sys._current_frames().items() if ident in daemons)


def _is_computing(frame: FrameType | None) -> bool:
    codes = []
    while frame is not None:
        codes.append(frame.f_code)
        frame = frame.f_back
    return stay.__code__ not in codes and any(code.co_filename.startswith(_PACKAGE) for code in codes)


atexit.register(_end_calls)


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


class _CrewThread(Thread):
    """A thread of a crew, which the crew itself ends."""


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
            thread = _CrewThread(target=self._serve, name=f"onelayer-{len(self._threads)}", daemon=True)
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
