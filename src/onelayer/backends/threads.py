"""Threads for kernels that release the GIL, in any process: also one that was forked."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import lru_cache
from typing import TypeVar

Result = TypeVar("Result")


def in_threads(pieces: Sequence[Callable[[], Result]]) -> list[Result]:
    """Run all pieces, the first in this thread, the others in threads that stay for the next call.

    Returns:
        What each of them gives.

    Raises:
        Exception: What a piece raises, once all have ended.
    """
    first, *others = pieces
    if not others:
        return [first()]
    # By process: threads do not survive a fork, and a pool that has lost them would wait for ever.
    futures = [_pool(os.getpid(), len(others)).submit(piece) for piece in others]
    try:
        result = first()
    finally:
        # Whatever happens, nobody writes any more when this returns.
        wait(futures)
    return [result, *(future.result() for future in futures)]


@lru_cache(maxsize=16)
def _pool(process: int, threads: int) -> ThreadPoolExecutor:  # noqa: ARG001 - the process is part of the key
    return ThreadPoolExecutor(threads, thread_name_prefix="onelayer")
