"""Interleaved timing: every round times every contender once, so that a drift of the machine meets them all."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

import numpy as np
import torch
from rich.progress import Progress
from torch.utils.benchmark import Timer

from onelayer.records import Timing

Key = TypeVar("Key", bound=Hashable)

_ONE_RUN = 1e-6
"""Seconds. ``blocked_autorange`` warms up with a run, then measures until so much time has passed: with a workload of
milliseconds that is one run."""


def time_interleaved(
    contenders: Mapping[Key, Callable[[], object]],
    *,
    burn_in: int,
    repeats: int,
    progress: Progress,
    threads: int | None = None,
) -> dict[Key, Timing]:
    """Time callables against each other with ``torch.utils.benchmark``.

    Each measurement is preceded, at once, by a run of the same callable that does not count, so that neither pays for
    the caches that its predecessor filled. CUDA devices are synchronised around each measurement.

    Args:
        contenders: What to time, by key. Each should take milliseconds, not microseconds.
        burn_in: Rounds that do not count.
        repeats: Rounds that count.
        progress: Where progress is shown.
        threads: PyTorch's threads while timing; by default as many as it is set to now.

    Returns:
        For each key the seconds of every counted round, with median and quartiles.
    """
    timers = {
        key: Timer("run()", globals={"run": run}, num_threads=threads or torch.get_num_threads())
        for key, run in contenders.items()
    }
    seconds: dict[Key, list[float]] = {key: [] for key in contenders}
    task = progress.add_task("benchmark", total=(burn_in + repeats) * len(timers))
    for round_ in range(burn_in + repeats):
        for key, timer in timers.items():
            measurement = timer.blocked_autorange(min_run_time=_ONE_RUN)
            if round_ >= burn_in:
                seconds[key].append(float(np.median(measurement.times)))
            progress.advance(task)
    return {key: _timing(times) for key, times in seconds.items()}


def _timing(seconds: list[float]) -> Timing:
    first, median, third = np.quantile(seconds, (0.25, 0.5, 0.75))
    return Timing(
        seconds=tuple(seconds), median=float(median), first_quartile=float(first), third_quartile=float(third)
    )
