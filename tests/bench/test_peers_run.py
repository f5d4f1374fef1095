"""A benchmark on tiny workloads: who is measured, who is not, and what their results are compared with."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from onelayer.bench import peers_run
from onelayer.bench.harness import Contender
from onelayer.bench.peers import onelayer_fused, onelayer_torch, registry, torchvision_sequential, torchvision_v1
from onelayer.bench.peers.peer import Images, Peer, Prepared
from onelayer.bench.peers.transforms import v2_transforms
from onelayer.bench.peers.work import Work
from onelayer.bench.peers_record import PeersCase
from onelayer.bench.peers_run import PeersRequest, measure_cases
from onelayer.bench.truth import Truth, grey_levels
from onelayer.bench.workloads import Pictures, Workload
from onelayer.records import Timing

REPORT = Work(resize=(28, 28), interpolation="bilinear", grayscale=True, horizontal_flip=True, vertical_flip=True)
EVALUATION = Work(resize=9, interpolation="bilinear", crop=7, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.5))


def noise(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def batches(count: int) -> Workload:
    def make(data: str, most: int) -> Pictures:
        return noise(count, 3, 32, 32)[:most] / 255

    return Workload("tiny", "Tiny images", REPORT, count, make, torch.zeros(2, 3, 32, 32), batch_sizes=(2, 4))


def photographs() -> Workload:
    def make(data: str, most: int) -> Pictures:
        return [noise(3, 17, 11), noise(3, 40, 30)][:most]

    return Workload("photographs", "Photographs", EVALUATION, 2, make, torch.zeros(3, 17, 11, dtype=torch.uint8))


@dataclass
class Stub:
    """A peer that does the work in torchvision, with something done to every result."""

    name: str
    alter: Callable[[torch.Tensor], torch.Tensor] = torch.clone
    calls: int = 0
    threads: int = 0

    @property
    def label(self) -> str:
        return f"the {self.name} one"

    def why_not(self, work: Work, images: Images) -> str | None:
        return None

    def prepare(self, work: Work, images: Sequence[Images], threads: int) -> Prepared:
        self.threads = torch.get_num_threads()
        transforms = v2_transforms(work)

        def apply(given: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            return self.alter(transforms(given).contiguous())

        return Prepared(list(images), apply, lambda result: result, {"stub": "1.2"})


def cases(workload: Workload, *peers: Peer, **options: Any) -> list[PeersCase]:
    request = PeersRequest(**{"workloads": [workload], "peers": peers, "threads": [1], "repeats": 2, **options})
    return list(measure_cases(request))


def test_a_case_for_each_batch_size_and_number_of_threads() -> None:
    measured = cases(batches(10), onelayer_fused.PEER, onelayer_torch.PEER, torchvision_v1.PEER, threads=[1, 2])
    assert [(case.batch_size, case.threads) for case in measured] == [
        (2, 1), (4, 1), (10, 1), (2, 2), (4, 2), (10, 2),
    ]  # fmt: skip
    for case in measured:
        assert [row.peer for row in case.rows] == ["onelayer", "onelayer-torch"]
        assert [(one.peer, "floating" in one.why) for one in case.not_measured] == [("torchvision-v1", True)]
        assert len(case.floor.seconds) == 2
        for row in case.rows:
            assert (row.images, row.batch_size) == (10, case.batch_size)
            assert row.seconds_an_image == row.timing.median / 10 > 0
            # float32 sums
            assert 0 <= row.difference.mean <= row.difference.largest < 1e-3
            assert row.difference.images == 10
            assert "onelayer" in row.versions


def test_photographs_come_one_by_one_and_may_differ_in_size() -> None:
    (case,) = cases(photographs(), onelayer_fused.PEER, torchvision_sequential.PEER)
    assert (case.batch_size, case.images) == (None, 2)
    ours, theirs = case.rows
    assert (ours.images, ours.batch_size) == (2, None)
    assert ours.difference.largest < 1e-3
    # torchvision rounds to whole levels after the resize
    assert 0.1 < theirs.difference.largest < 1.5


def test_the_peers_work_with_the_threads_of_the_case() -> None:
    before = torch.get_num_threads()
    for threads in (1, 2):
        stub = Stub("stub")
        cases(photographs(), stub, threads=[threads])
        assert stub.threads == threads
    assert torch.get_num_threads() == before


def test_errors_are_in_grey_levels() -> None:
    off = Stub("off", lambda result: result + 0.01)
    (case,) = cases(batches(4), off, batch_sizes=[4])
    difference = case.rows[0].difference
    assert difference.largest == pytest.approx(2.55, rel=1e-3)
    assert difference.mean == pytest.approx(2.55, rel=1e-3)
    # One unit of a normalised channel is 255 deviations.
    assert grey_levels(EVALUATION, torch.uint8).flatten().tolist() == pytest.approx([51.0, 63.75, 127.5])
    assert grey_levels(REPORT, torch.uint8) == 1.0


def test_one_wrong_image_is_found_wherever_it_is() -> None:
    """The truth is of single images, whatever the batches."""
    images = noise(6, 3, 32, 32)
    truth = Truth(REPORT, images)
    right = v2_transforms(REPORT)(images)
    wrong = right.clone()
    wrong[4, 0, 3, 5] += 40
    for size in (1, 2, 4, 6):
        # torchvision is up to two levels off
        assert truth.difference(torch.split(right, size)).largest <= 2
        assert 38 <= truth.difference(torch.split(wrong, size)).largest <= 42
    assert truth.difference(right).images == 6, "single images are images too"
    assert truth.difference(right[:2]).images == 2


@pytest.mark.parametrize(
    ("alter", "why"),
    [
        (lambda result: result[..., 1:], "it gives .* of torch.float32 on cpu; expected .* of torch.float32 on cpu"),
        (lambda result: result.double(), "it gives .* of torch.float64"),
        (lambda result: result * float("nan"), "not finite"),
        (lambda result: 1 / 0, "ZeroDivisionError: division by zero"),
    ],
)
@pytest.mark.parametrize("workload", [batches(4), photographs()], ids=["batches", "photographs"])
def test_a_peer_that_is_wrong_or_fails_is_recorded_and_costs_nobody_else_a_row(
    workload: Workload, alter: Callable[[torch.Tensor], torch.Tensor], why: str
) -> None:
    for case in cases(workload, Stub("bad", alter), Stub("good")):
        assert [row.peer for row in case.rows] == ["good"]
        (bad,) = case.not_measured
        assert (bad.peer, bad.label) == ("bad", "the bad one")
        assert re.search(why, bad.why)


def test_a_peer_that_fails_in_the_middle_of_the_timing() -> None:
    class Late(Stub):
        def prepare(self, work: Work, images: Sequence[Images], threads: int) -> Prepared:
            prepared = super().prepare(work, images, threads)

            def apply(given: torch.Tensor) -> torch.Tensor:
                if self.calls >= 9:
                    raise MemoryError("none left")
                return prepared.apply(given)  # type: ignore[no-any-return]

            return replace(prepared, apply=apply)

    (case,) = cases(photographs(), Late("late"), Stub("good"))
    assert [row.peer for row in case.rows] == ["good"]
    assert [(one.peer, one.why) for one in case.not_measured] == [("late", "MemoryError: none left")]


def test_every_size_was_seen_before_the_clock_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten images in batches of four: the last one holds two."""
    seen: list[int] = []

    def remember(result: torch.Tensor) -> torch.Tensor:
        seen.append(len(result))
        return result

    def not_timed(contenders: dict[str, Contender], **_: object) -> dict[str, Timing]:
        assert {4, 2} <= set(seen)
        raise KeyboardInterrupt

    monkeypatch.setattr(peers_run, "time_interleaved", not_timed)
    monkeypatch.setattr("onelayer.bench.truth.MOST", 3)
    with pytest.raises(KeyboardInterrupt):
        cases(batches(10), Stub("stub", remember), batch_sizes=[4])


def test_a_slow_peer_gets_fewer_batches_and_then_smaller_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    images = noise(100, 3, 32, 32)
    # A millisecond an image: a tenth of a second for a hundred images.
    for size, seconds, expected in (
        (10, None, [10] * 10),
        (10, 1e-6, [10] * 10),
        (10, 1e-3, [10] * 10),
        (10, 2e-3, [10] * 5),
        (10, 15e-3, [10]),
        (100, 2e-3, [100]),
        (100, 10e-3, [50]),
        (100, 9.0, [1]),
    ):
        assert [len(batch) for batch in peers_run._pass(images, size, seconds)] == expected
    monkeypatch.setattr(peers_run, "BATCH_SECONDS", 0.0)
    (case,) = cases(batches(6), Stub("slow"), batch_sizes=[4])
    # whatever it takes, that is too long; one image is the least
    assert (case.rows[0].batch_size, case.images) == (1, 6)


def test_on_cuda_only_those_take_part_that_can(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a CUDA device all of them fail, each with its own words, and those that need the CPU say so."""
    if torch.cuda.is_available():
        (case,) = cases(photographs(), *registry.named(["onelayer", "torchvision"]), device="cuda")
        assert [row.peer for row in case.rows] == ["onelayer", "torchvision"]
        return
    monkeypatch.setattr(
        peers_run, "floor_on_cuda", lambda images, shape, dtype: peers_run.floor_on_cpu(images, shape, dtype, 1)
    )
    (case,) = cases(photographs(), *registry.named(["onelayer", "torchvision", "torchvision-v1"]), device="cuda")
    assert case.rows == ()
    why = {one.peer: one.why for one in case.not_measured}
    assert why["torchvision-v1"] == "it works on the CPU only"
    assert "CUDA" in why["torchvision"] or "NVIDIA" in why["torchvision"]


def test_an_interrupt_goes_on() -> None:
    def interrupt(result: torch.Tensor) -> torch.Tensor:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cases(photographs(), Stub("slow", interrupt))
