"""Print progress, messages and results to the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

console = Console(stderr=True)
"""Standard error, for progress and messages."""

results = Console()
"""Standard output, for tables and the paths of written files."""

_progress_visible: ContextVar[bool] = ContextVar("progress_visible", default=False)


@contextmanager
def visible_progress(visible: bool = True) -> Iterator[None]:
    """Show the progress of all work inside the context. The library is silent outside of one.

    The command line opens such a context; functions with an argument ``progress`` pass it on.

    Args:
        visible: False changes nothing, so that a context around this one decides.
    """
    token = _progress_visible.set(visible or _progress_visible.get())
    try:
        yield
    finally:
        _progress_visible.reset(token)


@contextmanager
def hidden_progress() -> Iterator[None]:
    """Show no progress of the work inside the context, which is too short for it."""
    token = _progress_visible.set(False)
    try:
        yield
    finally:
        _progress_visible.reset(token)


def progress_is_visible() -> bool:
    """Return whether the current context shows progress."""
    return _progress_visible.get()


def progress() -> Progress:
    """Make a progress display with count, elapsed and remaining time, to be used as a context manager.

    It prints nothing unless :func:`visible_progress` is active.
    """
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not progress_is_visible(),
    )
