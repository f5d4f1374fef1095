from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from onelayer import Pipeline, pipelines
from onelayer.layer import compile as compile_transforms
from onelayer.reproduction.benchmark import WAYS, Placed, _contenders, run_report_table
from onelayer.reproduction.records import BenchmarkRecord


class Recorder(nn.Module):
    """Stands in for a layer and gives what the transforms give."""

    def __init__(self, pipeline: Pipeline) -> None:
        super().__init__()
        self.pipeline = pipeline

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.pipeline(images)

    def __deepcopy__(self, memo: object) -> Recorder:
        return self


def test_a_record_of_every_row_and_way(tmp_path: Path, random_pixels: Callable[..., NDArray[np.uint8]]) -> None:
    pipeline = pipelines.named("report")
    record = run_report_table(
        pipeline,
        {"layer": Recorder(pipeline)},
        random_pixels(20, (3, 32, 32)),
        ["cpu"],
        batch_sizes=(16, 8),
        burn_in=0,
        repeats=2,
    )
    assert [(row.device, row.batch_size) for row in record.rows] == [("cpu", 16), ("cpu", 8)]
    for row in record.rows:
        assert list(row.timings) == ["sequential", "batched", "layer"]
        assert all(len(timing.seconds) == 2 and timing.median > 0 for timing in row.timings.values())
    assert record.not_measured == ("cuda",)
    assert record.images == 20
    assert record.environment.torch_threads == torch.get_num_threads()
    record.write(tmp_path / "benchmark.json")
    assert BenchmarkRecord.read(tmp_path / "benchmark.json") == record


def test_no_row_claims_larger_batches_than_there_are_images(random_pixels: Callable[..., NDArray[np.uint8]]) -> None:
    pipeline = pipelines.named("report")

    def rows(count: int) -> list[int]:
        pixels = random_pixels(count, (3, 32, 32))
        record = run_report_table(
            pipeline, {"layer": Recorder(pipeline)}, pixels, ["cpu"], batch_sizes=(64, 16, 8), burn_in=0, repeats=1
        )
        return [row.batch_size for row in record.rows]

    assert rows(20) == [16, 8]
    assert rows(3) == [3]


@pytest.mark.parametrize("batch_size", [1, 7, 20, 64])
def test_a_pass_takes_every_image_once(batch_size: int, random_pixels: Callable[..., NDArray[np.uint8]]) -> None:
    pipeline = pipelines.named("report")
    images = torch.from_numpy(random_pixels(20, (3, 32, 32))) / 255
    for contender in _contenders(
        pipeline, Placed({"layer": Recorder(pipeline)}, images), images, "cpu", batch_size
    ).values():
        assert torch.equal(torch.cat(list(contender.batches)), images)
        assert max(len(batch) for batch in contender.batches) == min(batch_size, 20)


def test_all_ways_do_the_same_work(random_pixels: Callable[..., NDArray[np.uint8]]) -> None:
    """Image by image, stacked, and in batches the transforms give the same pixels; a layer that is right does too."""
    pipeline = pipelines.named("report")
    images = torch.from_numpy(random_pixels(20, (3, 32, 32))) / 255
    layers = {"layer": Recorder(pipeline), "derived": compile_transforms(pipeline.transform)}
    contenders = _contenders(pipeline, Placed(layers, images), images, "cpu", 8)
    assert list(contenders) == ["sequential", "batched", "layer", "derived"]
    for contender in contenders.values():
        outputs = torch.cat([contender.apply(batch) for batch in contender.batches])  # type: ignore[misc]
        # float32 sums in different orders
        torch.testing.assert_close(outputs, pipeline(images), rtol=0, atol=3e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_rows_have_a_column_without_copies(random_pixels: Callable[..., NDArray[np.uint8]]) -> None:
    pipeline = pipelines.named("report")
    layers = {"layer": Recorder(pipeline), "derived": compile_transforms(pipeline.transform)}
    pixels = random_pixels(20, (3, 32, 32))
    record = run_report_table(pipeline, layers, pixels, ["cuda"], batch_sizes=(8,), burn_in=0, repeats=1)
    assert list(record.rows[0].timings) == [way.key for way in WAYS]
