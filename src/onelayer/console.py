"""The terminal that progress and tables go to."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

console = Console(stderr=True)
"""Progress and messages: standard error."""

results = Console()
"""Tables and the paths of what was made: standard output."""


def progress() -> Progress:
    """A progress display with count, elapsed and remaining time; use it as a context manager."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )
