"""Bound memory by bytes: what caches keep, and what is asked of the machine at once."""

from __future__ import annotations

import math
import os
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from functools import cache, wraps
from threading import Lock
from typing import Generic, ParamSpec, TypeVar

from onelayer.errors import OnelayerError

T = TypeVar("T")
P = ParamSpec("P")


class TooMuchMemoryError(OnelayerError):
    """Something larger than the memory of the machine."""


class BoundedCache(Generic[T]):
    """What was used last, up to a number of bytes and of entries. Several threads may use it.

    Args:
        max_bytes: Maximum number of bytes of all values; a larger value is not kept at all.
        max_entries: Maximum number of values.
    """

    def __init__(self, max_bytes: int, max_entries: int) -> None:
        self.max_bytes, self.max_entries = max_bytes, max_entries
        self.nbytes = 0
        """Bytes of all values."""
        self._entries: OrderedDict[Hashable, tuple[T, int]] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Hashable, make: Callable[[], tuple[T, int]]) -> T:
        """Return the value of a key; where there is none, make it and keep it.

        Args:
            key: Key of the value.
            make: Function that makes the value and tells its bytes. Two threads may call it at the same time.
        """
        with self._lock:
            if (entry := self._entries.get(key)) is not None:
                self._entries.move_to_end(key)
                return entry[0]
        value, nbytes = make()
        with self._lock:
            if key not in self._entries and nbytes <= self.max_bytes:
                self._entries[key] = value, nbytes
                self.nbytes += nbytes
                while self.nbytes > self.max_bytes or len(self._entries) > self.max_entries:
                    _, (_, dropped) = self._entries.popitem(last=False)
                    self.nbytes -= dropped
        return value


def bounded_cache(
    nbytes: Callable[[T], int], max_bytes: int, max_entries: int
) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Keep what a function returned, as :func:`functools.lru_cache` does, but up to a number of bytes.

    Args:
        nbytes: Function that tells the bytes of a value.
        max_bytes: Maximum number of bytes of all values.
        max_entries: Maximum number of values.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        kept = BoundedCache[T](max_bytes, max_entries)

        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            def make() -> tuple[T, int]:
                value = function(*args, **kwargs)
                return value, nbytes(value)

            return kept.get((args, *sorted(kwargs.items())), make)

        return call

    return decorate


@cache
def machine_memory() -> int:
    """Return the bytes of the machine's memory."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        # Not on every system; no process has more.
        return 1 << 47


def refuse_impossible(what: str, shape: Sequence[int], itemsize: int) -> None:
    """Raise TooMuchMemoryError if an array would be larger than the machine's memory.

    Args:
        what: What the array is, for the error.
        shape: Shape of the array.
        itemsize: Bytes of a number.
    """
    nbytes = math.prod(shape) * itemsize
    if nbytes > machine_memory():
        raise TooMuchMemoryError(
            f"{what} of shape {list(shape)} was asked for, which takes {_gibibytes(nbytes)}",
            expected=f"less than the {_gibibytes(machine_memory())} of this machine",
            hint="Resize, crop or pad to fewer pixels.",
        )


def _gibibytes(nbytes: int) -> str:
    return f"{nbytes / 2**30:,.1f} GiB"
