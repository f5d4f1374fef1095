"""Interleaved timing: every round times every contender once, so that a drift of the machine affects all alike."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from rich.progress import Progress
from torch.utils.benchmark import Timer

from onelayer.records import Timing

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Contender:
    """Work that is timed as one pass over batches.

    Args:
        apply: Function of one batch; its result is thrown away.
        batches: All batches of a pass, at least one, in whatever type ``apply`` takes.
    """

    apply: Callable[[Any], object]
    batches: Sequence[Any]

    def timer(self) -> Timer:
        """Make a timer whose statement applies the contender to the next batch, round and round.

        With PyTorch's present number of threads: ``Timer`` would take one.
        """
        turn = itertools.cycle(self.batches)
        return Timer(
            "apply(next(turn))", globals={"apply": self.apply, "turn": turn}, num_threads=torch.get_num_threads()
        )


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Set PyTorch's number of threads, and restore it in the end."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def time_interleaved(
    contenders: Mapping[Key, Contender],
    *,
    burn_in: int,
    repeats: int,
    progress: Progress,
    failed: Callable[[Key, Exception], None] | None = None,
) -> dict[Key, Timing]:
    """Time contenders against each other with ``torch.utils.benchmark``.

    A measurement is one pass: as many steps as there are batches. ``Timer.timeit`` takes at least two steps before it
    starts the clock, so no contender pays for the caches that its predecessor filled. It synchronises CUDA devices.

    Args:
        contenders: What to time, by key.
        burn_in: Number of short rounds, of a few steps each, before the first that counts.
        repeats: Number of rounds that count.
        progress: Display of the progress.
        failed: Called with a contender that raises and its exception; the contender takes no further part. Without it,
            the exception is raised.

    Returns:
        For each key the seconds of every counted pass, with median and quartiles.
    """
    timers = {key: contender.timer() for key, contender in contenders.items()}
    seconds: dict[Key, list[float]] = {key: [] for key in contenders}
    task = progress.add_task("benchmark", total=(burn_in + repeats) * len(timers))

    def play_round(play: Callable[[Key, Timer], None]) -> None:
        for key, timer in list(timers.items()):
            try:
                play(key, timer)
            except Exception as error:
                if failed is None:
                    raise
                failed(key, error)
                del timers[key], seconds[key]
            progress.advance(task)

    def burn(_: Key, timer: Timer) -> None:
        timer.timeit(1)

    def count(key: Key, timer: Timer) -> None:
        steps = len(contenders[key].batches)
        seconds[key].append(timer.timeit(steps).mean * steps)

    for play in [burn] * burn_in + [count] * repeats:
        play_round(play)
    return {key: _timing(times) for key, times in seconds.items()}


def medians_in_turn(
    functions: Mapping[Key, Callable[[Any], object]], images: Sequence[Any], *, seconds: float, turns: int
) -> dict[Key, float]:
    """Time functions on one image after the other, each image through all of them in turn.

    Args:
        functions: Functions of an image, by key; their results are thrown away.
        images: The images, taken round and round.
        seconds: Time after which no further turn begins.
        turns: Minimum number of turns.

    Returns:
        For each key the median of the seconds for an image, without the first quarter of the turns.
    """
    times: dict[Key, list[float]] = {key: [] for key in functions}
    end, turn = time.perf_counter() + seconds, 0
    while time.perf_counter() < end or turn < turns:
        for key, function in functions.items():
            start = time.perf_counter()
            function(images[turn % len(images)])
            times[key].append(time.perf_counter() - start)
        turn += 1
    return {key: float(np.median(each[len(each) // 4 :])) for key, each in times.items()}


def _timing(seconds: list[float]) -> Timing:
    first, median, third = np.quantile(seconds, (0.25, 0.5, 0.75))
    return Timing(
        seconds=tuple(seconds), median=float(median), first_quartile=float(first), third_quartile=float(third)
    )
