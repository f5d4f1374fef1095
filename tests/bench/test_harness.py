from __future__ import annotations

import time

import numpy as np
import torch
from rich.progress import Progress

from onelayer.bench.harness import time_interleaved


def test_rounds_are_interleaved_and_burn_in_does_not_count() -> None:
    calls: list[str] = []
    shown = Progress(disable=True)
    timings = time_interleaved(
        {name: lambda name=name: (calls.append(name), time.sleep(0.002)) for name in "abc"},
        burn_in=1, repeats=3, progress=shown,
    )  # fmt: skip
    # within a round each contender's runs (one to warm up, one that counts) stand together, and the rounds take turns
    turns = [name for index, name in enumerate(calls) if index == 0 or calls[index - 1] != name]
    assert "".join(turns) == "abc" * 4
    assert all(len(timing.seconds) == 3 for timing in timings.values())
    assert shown.tasks[0].completed == shown.tasks[0].total == 12


def test_times_what_it_is_given() -> None:
    timings = time_interleaved(
        {pause: lambda pause=pause: time.sleep(pause) for pause in (0.01, 0.03)},
        burn_in=0, repeats=3, progress=Progress(disable=True),
    )  # fmt: skip
    for pause, timing in timings.items():
        assert min(timing.seconds) >= pause  # a sleep never ends early
        assert timing.median == np.median(timing.seconds)
        assert timing.first_quartile <= timing.median <= timing.third_quartile


def test_threads_are_those_asked_for_and_put_back() -> None:
    before = torch.get_num_threads()
    seen: list[int] = []
    time_interleaved(
        {"run": lambda: (seen.append(torch.get_num_threads()), time.sleep(0.001))},
        burn_in=0, repeats=1, progress=Progress(disable=True), threads=1,
    )  # fmt: skip
    assert set(seen) == {1}
    assert torch.get_num_threads() == before
