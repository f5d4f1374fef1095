from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from onelayer import Pipeline, pipelines
from onelayer.bench.peers.base import Resources
from onelayer.bench.record import BenchmarkRecord
from onelayer.reproduction.benchmark import benchmark_run, peers_of_run


class Recorder(nn.Module):
    """Stands in for a layer and gives what the transforms give; counts the images of every call."""

    def __init__(self, pipeline: Pipeline) -> None:
        super().__init__()
        self.pipeline = pipeline
        self.calls: list[int] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.calls.append(len(images))
        return self.pipeline(images)

    def __deepcopy__(self, memo: object) -> Recorder:
        return self


def test_a_record_of_every_batch_size_and_peer(tmp_path: Path, random_pixels: Callable[..., NDArray[np.uint8]]) -> None:
    pipeline = pipelines.named("report")
    layer = Recorder(pipeline)
    record = benchmark_run(
        pipeline, layer, random_pixels(20, (3, 32, 32)), ["cpu"], batch_sizes=(64, 16, 8), burn_in=0, repeats=2,
        quick=True,
    )  # fmt: skip
    # No case claims larger batches than there are images.
    assert [(case.device, case.batch_size) for case in record.cases] == [("cpu", 8), ("cpu", 16)]
    for case in record.cases:
        assert [row.peer for row in case.rows] == ["sequential", "batched", "layer", "derived"]
        assert [one.peer for one in case.not_measured] == ["layer_on_device", "derived_on_device"]
        assert case.threads == torch.get_num_threads()
        assert "repeated" in case.title
        for row in case.rows:
            assert len(row.timing.seconds) == 2
            assert row.timing.median > 0
            # The report's passes took all images, however slow a way was.
            assert (row.images, row.batch_size) == (case.images, case.batch_size) == (20, case.batch_size)
            assert row.difference is not None
            assert row.difference.largest < 1e-3
    assert {*layer.calls} >= {8, 4, 16}
    assert record.not_measured == ("cuda",)
    assert (record.images, record.quick, record.repeats) == (20, True, 2)
    assert [peer.competes for peer in record.peers] == [True] * 4 + [False] * 2
    record.write(tmp_path / "benchmark.json")
    assert BenchmarkRecord.read(tmp_path / "benchmark.json") == record


def test_fewer_images_than_the_smallest_batch_are_one_batch(random_pixels: Callable[..., NDArray[np.uint8]]) -> None:
    pipeline = pipelines.named("report")
    pixels = random_pixels(3, (3, 32, 32))
    record = benchmark_run(pipeline, Recorder(pipeline), pixels, ["cpu"], batch_sizes=(16, 8), burn_in=0, repeats=1)
    assert [case.batch_size for case in record.cases] == [3]


def test_all_peers_do_the_same_work(random_pixels: Callable[..., NDArray[np.uint8]]) -> None:
    """Image by image, stacked, and in batches the transforms give the same pixels; a layer that is right does too."""
    pipeline = pipelines.named("report")
    images = torch.from_numpy(random_pixels(20, (3, 32, 32))) / 255
    batches = torch.split(images, 8)
    competing = [peer for peer in peers_of_run(Recorder(pipeline)) if peer.competes]
    for peer in competing:
        assert peer.why_not(pipeline, batches[0]) is None
        prepared = peer.prepare(pipeline, batches, Resources())
        outputs = torch.cat([prepared.tensor(prepared.apply(one)) for one in prepared.inputs])
        # Float32 sums in different orders.
        torch.testing.assert_close(outputs, pipeline(images), rtol=0, atol=3e-6)


def test_peers_without_copies_get_what_lies_on_the_device(random_pixels: Callable[..., NDArray[np.uint8]]) -> None:
    pipeline = pipelines.named("report")
    batch = torch.from_numpy(random_pixels(4, (3, 32, 32))) / 255
    for peer in peers_of_run(Recorder(pipeline))[4:]:
        assert peer.why_not(pipeline, batch) == "it works on a CUDA device only"
        assert peer.why_not(pipeline, batch, "cuda") is None
        # On the CPU, the images are on the device already.
        prepared = peer.prepare(pipeline, [batch], Resources())
        assert prepared.inputs[0].data_ptr() == batch.data_ptr()
        torch.testing.assert_close(prepared.apply(prepared.inputs[0]), pipeline(batch), rtol=0, atol=3e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_cases_have_peers_without_copies(random_pixels: Callable[..., NDArray[np.uint8]]) -> None:
    pipeline = pipelines.named("report")
    pixels = random_pixels(20, (3, 32, 32))
    record = benchmark_run(
        pipeline, Recorder(pipeline), pixels, ["cpu", "cuda"], batch_sizes=(8,), burn_in=0, repeats=1
    )
    assert [case.device for case in record.cases] == ["cpu", "cuda"]
    assert [row.peer for row in record.cases[1].rows] == [peer.name for peer in record.peers]
