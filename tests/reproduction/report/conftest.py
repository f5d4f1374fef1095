"""Synthetic runs, made of the record models alone: no learning, no data, no clock.

The builders are session fixtures, so that Hypothesis may call them as often as it likes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import save_file

from onelayer.bench.record import BenchmarkRecord, Case, PeerDescription, Row
from onelayer.records import DataSummary, Environment, PipelineSummary, Timing
from onelayer.reproduction.records import (
    DirectionErrors,
    DirectionsEpoch,
    DirectionsRecord,
    Epoch,
    LayerMetrics,
    MetricsRecord,
    OtherRecipeLayer,
    OtherRecipesRecord,
    RunRecord,
    TrainingSettings,
    TrainingSummary,
    write_history,
)
from onelayer.reproduction.run_folder import RunFolder

ENVIRONMENT = Environment(
    versions={"onelayer": "0.1.0", "python": "3.12.1", "torch": "2.11.0"},
    platform="Linux x86_64",
    cpu="Example CPU 9000",
    logical_cores=16,
    torch_threads=8,
    cuda=None,
    commit="0123abcd+changes",
)
PEERS = (
    PeerDescription(name="sequential", label="sequential transforms", description="image by image"),
    PeerDescription(name="batched", label="batched transforms", description="whole batches"),
    PeerDescription(name="layer", label="the layer", description="the learned layer"),
)
ON_DEVICE = PeerDescription(
    name="layer_on_device", label="the layer, without copies", description="stays on the device", competes=False
)

DERIVED = PeerDescription(name="derived", label="the derived layer", description="read off")


def make_timing(median: float, spread: float = 0.02) -> Timing:
    """A time in seconds whose quartiles lie ``spread`` of it to either side."""
    low, high = median * (1 - spread), median * (1 + spread)
    return Timing(seconds=(low, median, high), median=median, first_quartile=low, third_quartile=high)


def make_run(**changes: object) -> RunRecord:
    training = TrainingSummary(
        device="cpu",
        epochs_run=57,
        best_epoch=47,
        best_validation_mse=2e-5,
        last_validation_mse=4e-5,
        stop_reason="early stopping",
        seconds=723.0,
        parameters=2_409_232,
    )
    values = {
        "created": "2025-03-04T05:06:07+00:00",
        "quick": False,
        "data": DataSummary(
            source="sample", description="A sample of images.", key="ab12", train=45_000, validation=5_000, test=10_000
        ),
        "pipeline": PipelineSummary(
            name="report",
            steps=("Resize((28, 28))", "Grayscale()", "RandomHorizontalFlip(p=1)", "RandomVerticalFlip(p=1)"),
            input_shape=(3, 32, 32),
            output_shape=(1, 28, 28),
        ),
        "settings": TrainingSettings(),
        "environment": ENVIRONMENT,
        "training": training,
    }
    return RunRecord.model_validate(values | changes)


def make_layer(name: str = "learned", **changes: object) -> LayerMetrics:
    values = {"layer": name, "mse": 1.9e-5, "psnr_db": 47.2, "ssim": 0.9987, "max_grey_levels": 23.1}
    return LayerMetrics.model_validate(values | {"worst_image": 4711} | changes)


def make_metrics(*layers: LayerMetrics, examples: tuple[int, ...] = (0, 1, 2, 3, 4)) -> MetricsRecord:
    return MetricsRecord(images=10_000, layers=layers or (make_layer(),), examples=examples)


def make_tensors(run: RunRecord, metrics: MetricsRecord, noise: float = 0.01) -> dict[str, np.ndarray]:
    """Random images; each layer is off by noise, and more so in the last image."""
    random = np.random.default_rng(7)
    count = len(metrics.examples) + 1
    truth = random.random((count, *run.pipeline.output_shape), dtype=np.float32)
    tensors = {"inputs": random.random((count, *run.pipeline.input_shape), dtype=np.float32), "truth": truth}
    for layer in metrics.layers:
        error = noise * random.standard_normal(truth.shape, dtype=np.float32)
        error[-1] *= 3
        tensors[f"layer.{layer.layer}"] = truth + error
    return tensors


def make_benchmark(times: dict[int, dict[str, Timing]], **changes: object) -> BenchmarkRecord:
    """A benchmark on the CPU: batch size → peer → time."""
    cases = tuple(make_case(size, timings) for size, timings in times.items())
    values = {
        "created": "2025-03-04T06:00:00+00:00",
        "quick": False,
        "burn_in": 2,
        "repeats": 9,
        "environment": ENVIRONMENT,
        "peers": PEERS,
        "cases": cases,
    }
    return BenchmarkRecord.model_validate(values | changes)


def make_case(batch_size: int, timings: dict[str, Timing], device: str = "cpu") -> Case:
    """One batch size: peer → time."""
    rows = tuple(Row(peer=name, images=10_000, batch_size=batch_size, timing=time) for name, time in timings.items())
    return Case(
        workload="report",
        title="The report",
        device=device,
        batch_size=batch_size,
        threads=8,
        images=10_000,
        rows=rows,
    )


def make_times(batched: float = 0.5, layer: float = 1.0) -> dict[int, dict[str, Timing]]:
    """The same three times at batch sizes 1024 to 8, smaller batches a little slower."""
    return {
        size: {
            "sequential": make_timing(30.0),
            "batched": make_timing(batched * (1 + 8 / size)),
            "layer": make_timing(layer * (1 + 8 / size)),
        }
        for size in (1024, 512, 256, 128, 64, 32, 16, 8)
    }


def make_history(epochs: int = 57) -> list[Epoch]:
    return [Epoch(n, 1e-2 / n**1.5, 1.2e-2 / n**1.5, 12.5) for n in range(1, epochs + 1)]


def make_errors(*roots: float, offset: float = 0.0) -> DirectionErrors:
    """Errors of four groups of 1, 2, 7 and 90 directions, whose variances are 1, 0.1, 0.01 and 0.0001."""
    squared = tuple(root**2 for root in roots)
    left = tuple(size * value * each for size, value, each in zip(SIZES, VARIANCES, squared, strict=True))
    return DirectionErrors(squared=squared, left=left, offset=offset)


SIZES, VARIANCES = (1, 2, 7, 90), (1.0, 0.1, 0.01, 0.0001)


def make_directions(*epochs: tuple[int, DirectionErrors], **changes: object) -> DirectionsRecord:
    """The direction of most variance is learned at once, the last ones never."""
    kept = epochs or (
        (0, make_errors(0.1, 0.1, 0.1, 0.1)),
        (1, make_errors(0.005, 0.08, 0.1, 0.1)),
        (47, make_errors(0.002, 0.004, 0.05, 0.095)),
        (57, make_errors(0.003, 0.003, 0.04, 0.094)),
    )
    values = {
        "recipe": "report",
        "images": 5000,
        "sizes": SIZES,
        "eigenvalues": VARIANCES,
        "epochs": tuple(DirectionsEpoch(epoch=epoch, errors=errors) for epoch, errors in kept),
    }
    return DirectionsRecord.model_validate(values | changes)


def make_others(*, known: bool = True) -> OtherRecipesRecord:
    """Least squares, which is good at all directions, and Adam on whitened images."""
    return OtherRecipesRecord(
        layers=tuple(
            OtherRecipeLayer(
                name=recipe,
                recipe=recipe,
                images=images,
                epochs=epochs,
                seconds=seconds,
                device="cpu",
                directions=make_errors(*[root] * 4) if known else None,
            )
            for recipe, images, epochs, seconds, root in (
                ("least-squares", 45_000, 1, 15.0, 1e-8),
                ("adam-whitened", 45_000, 5, 61.0, 1e-4),
            )
        )
    )


@dataclass
class Parts:
    """What to save; None leaves the file out."""

    run: RunRecord | None = field(default_factory=make_run)
    history: list[Epoch] | None = field(default_factory=make_history)
    directions: DirectionsRecord | None = None
    others: OtherRecipesRecord | None = None
    metrics: MetricsRecord | None = field(default_factory=make_metrics)
    tensors: dict[str, np.ndarray] | None = None
    benchmark: BenchmarkRecord | None = field(default_factory=lambda: make_benchmark(make_times()))

    def save(self, path: Path) -> RunFolder:
        path.mkdir(parents=True, exist_ok=True)
        folder = RunFolder(path)
        if self.run is not None:
            self.run.write(folder.record)
        if self.history is not None:
            write_history(folder.history, self.history)
        if self.directions is not None:
            self.directions.write(folder.directions)
        if self.others is not None:
            self.others.write(folder.other_recipes)
        if self.metrics is not None:
            self.metrics.write(folder.metrics)
            save_file(self.tensors or make_tensors(self.run or make_run(), self.metrics), folder.examples)
        if self.benchmark is not None:
            self.benchmark.write(folder.benchmark)
        return folder


@pytest.fixture(scope="session")
def make() -> SimpleNamespace:
    """The builders: test modules import nothing from each other."""
    return SimpleNamespace(
        parts=Parts,
        run=make_run,
        layer=make_layer,
        metrics=make_metrics,
        tensors=make_tensors,
        timing=make_timing,
        times=make_times,
        benchmark=make_benchmark,
        case=make_case,
        history=make_history,
        errors=make_errors,
        directions=make_directions,
        others=make_others,
        peers=PEERS,
        on_device=ON_DEVICE,
        derived=DERIVED,
        environment=ENVIRONMENT,
    )
