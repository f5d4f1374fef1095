from __future__ import annotations

import time

import numpy as np
import torch
from rich.progress import Progress

from onelayer.bench.timing import Contender, time_interleaved


def batches(n: int) -> list[torch.Tensor]:
    return [torch.tensor(index) for index in range(n)]


def test_rounds_are_interleaved_and_a_pass_takes_every_batch_once() -> None:
    calls: list[tuple[str, int]] = []

    def contender(name: str, steps: int) -> Contender:
        return Contender(lambda batch: calls.append((name, int(batch))), batches(steps))

    display = Progress(disable=True)
    timings = time_interleaved(
        {name: contender(name, steps) for name, steps in (("a", 5), ("b", 1), ("c", 300))},
        burn_in=1, repeats=3, progress=display,
    )  # fmt: skip
    turns: list[list[tuple[str, int]]] = []
    for call in calls:
        if not turns or turns[-1][0][0] != call[0]:
            turns.append([])
        turns[-1].append(call)
    assert "".join(turn[0][0] for turn in turns) == "abc" * 4
    for name, steps, warm_up in (("a", 5, 2), ("b", 1, 2), ("c", 300, 3)):
        of_name = [[index for _, index in turn] for turn in turns if turn[0][0] == name]
        assert len(of_name[0]) == 2 + 1, "burn-in is a few steps, not a pass"
        for turn in of_name[1:]:
            assert len(turn) == warm_up + steps
            assert sorted(turn[warm_up:]) == list(range(steps))
    assert all(len(timing.seconds) == 3 for timing in timings.values())
    assert display.tasks[0].completed == display.tasks[0].total == 12


def test_seconds_are_those_of_a_pass() -> None:
    timings = time_interleaved(
        {pause: Contender(lambda _, pause=pause: time.sleep(pause), batches(3)) for pause in (0.002, 0.006)},
        burn_in=0, repeats=3, progress=Progress(disable=True),
    )  # fmt: skip
    for pause, timing in timings.items():
        assert min(timing.seconds) >= 3 * pause  # a sleep never ends early
        assert timing.median == np.median(timing.seconds)
        assert timing.first_quartile == np.quantile(timing.seconds, 0.25)
        assert timing.third_quartile == np.quantile(timing.seconds, 0.75)


def test_all_threads_of_pytorch_work() -> None:
    counts: list[int] = []
    spy = Contender(lambda _: counts.append(torch.get_num_threads()), batches(1))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        time_interleaved({"spy": spy}, burn_in=0, repeats=1, progress=Progress(disable=True))
    finally:
        torch.set_num_threads(before)
    assert set(counts) == {2}, "torch.utils.benchmark would take one"
