"""A benchmark on tiny workloads: who is measured, who is not, and what their results are compared with."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from onelayer.bench import measure as measuring
from onelayer.bench.accuracy import Reference, grey_levels
from onelayer.bench.measure import Request, measure
from onelayer.bench.names import PEER_NAMES
from onelayer.bench.peers import PEERS
from onelayer.bench.peers.base import Images, Peer, Prepared, Resources
from onelayer.bench.record import Case
from onelayer.bench.timing import Contender
from onelayer.bench.workloads import Work, Workload, WorkloadImages
from onelayer.records import Timing

REPORT = Work(resize=(28, 28), interpolation="bilinear", grayscale=True, horizontal_flip=True, vertical_flip=True)
EVALUATION = Work(resize=9, interpolation="bilinear", crop=7, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.5))


def noise(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def batches(count: int) -> Workload[Work]:
    def make(data: str, most: int) -> WorkloadImages:
        return noise(count, 3, 32, 32)[:most] / 255

    return Workload("tiny", "Tiny images", REPORT, count, make, torch.zeros(2, 3, 32, 32), batch_sizes=(2, 4))


def photographs() -> Workload[Work]:
    def make(data: str, most: int) -> WorkloadImages:
        return [noise(3, 17, 11), noise(3, 40, 30)][:most]

    example = torch.zeros(3, 17, 11, dtype=torch.uint8)
    return Workload("photographs", "Photographs", EVALUATION, 2, make, example, std=EVALUATION.std)


class Stub:
    """Does the work in torchvision, with something done to every result; remembers what happens to it."""

    def __init__(self, alter: Callable[[torch.Tensor], torch.Tensor] = torch.clone) -> None:
        self.alter = alter
        self.calls = 0
        self.threads = 0

    def peer(self, name: str) -> Peer[Work]:
        return Peer(name, f"the {name} one", self.prepare)

    def prepare(self, work: Work, images: Sequence[Images], resources: Resources) -> Prepared:
        self.threads = torch.get_num_threads()
        transform = work.transform

        def apply(image: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            return self.alter(transform(image).contiguous())

        return Prepared(list(images), apply, lambda result: result, {"stub": "1.2"})


def cases(workload: Workload[Work], *peers: Peer[Work], **options: Any) -> tuple[Case, ...]:
    quick: dict[str, Any] = {"threads": [1], "repeats": 2, "pass_seconds": 1e-6}
    *_, record = measure(Request(workloads=[workload], peers=peers, **(quick | options)))
    return record.cases


def test_a_case_for_each_batch_size_and_number_of_threads() -> None:
    names = ("onelayer", "onelayer-torch", "torchvision-v1")
    request = Request([batches(10)], PEER_NAMES.select(PEERS, names), [1, 2], repeats=2, pass_seconds=math.inf)
    records = list(measure(request, "onelayer bench tiny"))
    # What was measured so far can be kept after each case.
    assert [len(record.cases) for record in records] == [1, 2, 3, 4, 5, 6]
    record = records[-1]
    assert record.cases[:1] == records[0].cases
    assert (record.command, record.burn_in, record.repeats) == ("onelayer bench tiny", 1, 2)
    assert [peer.name for peer in record.peers] == list(names)
    assert [(case.batch_size, case.threads) for case in record.cases] == [
        (2, 1), (4, 1), (10, 1), (2, 2), (4, 2), (10, 2),
    ]  # fmt: skip
    for case in record.cases:
        assert [row.peer for row in case.rows] == ["onelayer", "onelayer-torch"]
        assert [(one.peer, "floating" in one.why) for one in case.not_measured] == [("torchvision-v1", True)]
        assert (case.device, case.images) == ("cpu", 10)
        assert case.floor is not None
        assert len(case.floor.seconds) == 2
        for row in case.rows:
            assert (row.images, row.batch_size) == (10, case.batch_size)
            assert row.per_image.median == pytest.approx(row.timing.median / 10)
            assert case.timings[row.peer] == row.timing
            assert row.difference is not None
            # Float32 sums.
            assert 0 <= row.difference.mean <= row.difference.largest < 1e-3
            assert row.difference.images == 10
            assert "onelayer" in row.versions


def test_photographs_come_one_by_one_and_may_differ_in_size() -> None:
    (case,) = cases(photographs(), *PEER_NAMES.select(PEERS, ["onelayer", "onelayer-fused", "torchvision"]))
    assert (case.batch_size, case.images) == (None, 2)
    default, fused, theirs = case.rows
    assert (default.images, default.batch_size) == (2, None)
    assert fused.difference is not None
    assert fused.difference.largest < 1e-3
    # Torchvision rounds to whole levels after the resize, and so does onelayer by default.
    assert theirs.difference is not None
    assert 0.1 < theirs.difference.largest < 1.5
    assert default.difference == theirs.difference


def test_the_peers_work_with_the_threads_of_the_case() -> None:
    before = torch.get_num_threads()
    for threads in (1, 2):
        stub = Stub()
        cases(photographs(), stub.peer("stub"), threads=[threads])
        assert stub.threads == threads
    assert torch.get_num_threads() == before


def test_errors_are_in_grey_levels() -> None:
    (case,) = cases(batches(4), Stub(lambda result: result + 0.01).peer("off"), batch_sizes=[4])
    difference = case.rows[0].difference
    assert difference is not None
    assert difference.largest == pytest.approx(2.55, rel=1e-3)
    assert difference.mean == pytest.approx(2.55, rel=1e-3)
    assert case.rows[0].versions == {"stub": "1.2"}
    # One unit of a normalised channel is 255 deviations.
    assert grey_levels(torch.uint8, EVALUATION.std).flatten().tolist() == pytest.approx([51.0, 63.75, 127.5])
    assert grey_levels(torch.uint8, None) == 1.0


def test_one_wrong_image_is_found_wherever_it_is() -> None:
    """The reference is of single images, whatever the batches."""
    images = noise(6, 3, 32, 32)
    reference = Reference(REPORT.transform, images)
    right = REPORT.transform(images)
    wrong = right.clone()
    wrong[4, 0, 3, 5] += 40
    for size in (1, 2, 4, 6):
        # Torchvision is up to two levels off.
        assert reference.difference(torch.split(right, size)).largest <= 2
        assert 38 <= reference.difference(torch.split(wrong, size)).largest <= 42
    assert reference.difference(right).images == 6, "single images are images too"
    assert reference.difference(right[:2]).images == 2


def test_a_peer_that_is_wrong_or_fails_is_recorded_and_costs_nobody_else_a_row() -> None:
    failures: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], str]] = {
        "shape": (lambda result: result[..., 1:], "it gives .* of torch.float32 on cpu; expected .* of torch.float32"),
        "dtype": (lambda result: result.double(), "it gives .* of torch.float64"),
        "nan": (lambda result: result * float("nan"), "not finite"),
        "error": (lambda result: 1 / 0, "ZeroDivisionError: division by zero"),  # type: ignore[dict-item,return-value]
    }
    bad = [Stub(alter).peer(name) for name, (alter, _) in failures.items()]
    for workload in (batches(4), photographs()):
        for case in cases(workload, *bad, Stub().peer("good")):
            assert [row.peer for row in case.rows] == ["good"]
            assert [one.peer for one in case.not_measured] == list(failures)
            for one in case.not_measured:
                assert re.search(failures[one.peer][1], one.why), one.why


def test_a_peer_that_fails_in_the_middle_of_the_timing() -> None:
    late = Stub()

    def fail_late(result: torch.Tensor) -> torch.Tensor:
        if late.calls > 9:
            raise MemoryError("none left")
        return result

    late.alter = fail_late
    (case,) = cases(photographs(), late.peer("late"), Stub().peer("good"))
    assert [row.peer for row in case.rows] == ["good"]
    assert [(one.peer, one.why) for one in case.not_measured] == [("late", "MemoryError: none left")]


def test_every_size_was_worked_on_before_the_clock_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten images in batches of four: the last one holds two."""
    sizes: list[int] = []

    def remember(result: torch.Tensor) -> torch.Tensor:
        sizes.append(len(result))
        return result

    def not_timed(contenders: dict[str, Contender], **_: object) -> dict[str, Timing]:
        assert {4, 2} <= set(sizes)
        raise KeyboardInterrupt

    monkeypatch.setattr(measuring, "time_interleaved", not_timed)
    monkeypatch.setattr("onelayer.bench.accuracy.MOST", 3)
    # An interrupt is no failure of a peer: it goes on.
    with pytest.raises(KeyboardInterrupt):
        cases(batches(10), Stub(remember).peer("stub"), batch_sizes=[4], pass_seconds=math.inf)


def test_a_slow_peer_gets_fewer_batches_and_then_smaller_ones() -> None:
    images = noise(100, 3, 32, 32)
    request = Request([batches(6)], [], [1])
    series = measuring._Series(request, batches(6), images, Reference(REPORT.transform, images[:1]), Resources())
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
        assert [len(batch) for batch in measuring._batches_of_pass(series, size, seconds)] == expected
    # Whatever it takes, that is too long; one image is the least.
    (case,) = cases(batches(6), Stub().peer("slow"), batch_sizes=[4], batch_seconds=0.0)
    (row,) = case.rows
    assert (row.images, row.batch_size, case.images) == (1, 1, 6)
    assert case.timings["slow"].median == pytest.approx(6 * row.timing.median)


def test_on_cuda_only_those_take_part_that_can(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a CUDA device all of them fail, each with its error, and those that need the CPU say so."""
    if torch.cuda.is_available():
        (case,) = cases(photographs(), *PEER_NAMES.select(PEERS, ["onelayer", "torchvision"]), device="cuda")
        assert [row.peer for row in case.rows] == ["onelayer", "torchvision"]
        return
    monkeypatch.setattr(
        measuring, "floor_on_cuda", lambda images, shape, dtype: measuring.floor_on_cpu(images, shape, dtype, 1)
    )
    (case,) = cases(
        photographs(), *PEER_NAMES.select(PEERS, ["onelayer", "torchvision", "torchvision-v1"]), device="cuda"
    )
    assert (case.rows, case.device) == ((), "cuda")
    why = {one.peer: one.why for one in case.not_measured}
    assert why["torchvision-v1"] == "it works on the CPU only"
    assert "CUDA" in why["torchvision"] or "NVIDIA" in why["torchvision"]
