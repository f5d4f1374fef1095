"""One self-contained HTML page out of what a run has saved."""

from __future__ import annotations

import base64
import math
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from onelayer import formats
from onelayer.reproduction.report import conclusion
from onelayer.reproduction.report import learning_analysis as story
from onelayer.reproduction.report.ranking import devices, rows_of, timed_ways
from onelayer.reproduction.report.tables import METRICS_HEADER, metrics_rows, time_table

if TYPE_CHECKING:
    from onelayer.reproduction.records import (
        BenchmarkRecord,
        DirectionsRecord,
        LayerMetrics,
        OtherRecipesRecord,
        RunRecord,
    )
    from onelayer.reproduction.report.saved import Comparison, SavedRun


@dataclass(frozen=True)
class Images:
    """The figures as PNG; None for a part that was not run."""

    training: bytes | None
    directions: bytes | None
    comparison: bytes | None
    predictions: bytes | None
    weights: bytes | None
    benchmark: bytes | None


def render(saved: SavedRun, images: Images) -> str:
    """Render the page. The same records and figures give the same text on any day and any machine."""
    run, comparison, benchmark = saved.run, saved.comparison, saved.benchmark
    directions, others = saved.directions, saved.others
    metrics = comparison.metrics if comparison else None
    return _ENVIRONMENT.get_template("report.html.j2").render(
        run=run,
        comparison=comparison,
        benchmark=benchmark,
        name=saved.name,
        argument=shlex.quote(saved.name),
        quick=run.quick or (benchmark is not None and benchmark.quick),
        headline=conclusion.headline(metrics, benchmark, others),
        accuracy=conclusion.accuracy(metrics, others) if metrics else [],
        speed=conclusion.speed(benchmark) if benchmark else [],
        learning=conclusion.training(run),
        directions=story.directions(directions, run, saved.history, others) if directions else [],
        spectrum_images=directions.images if directions else 0,
        others=others,
        others_header=story.OTHERS_HEADER,
        others_rows=story.others_rows(run, metrics, others) if metrics and others else [],
        cures=story.cures(metrics, others) if metrics and others else [],
        metrics_header=METRICS_HEADER,
        metrics_rows=metrics_rows(metrics) if metrics else [],
        times=time_table(benchmark) if benchmark else None,
        ways=timed_ways(benchmark) if benchmark else (),
        absent=formats.ABSENT,
        images=images,
        training_alt=_training_alt(run),
        directions_alt=_directions_alt(directions) if directions else "",
        comparison_alt=_comparison_alt(comparison, others) if comparison else "",
        predictions_alt=_predictions_alt(comparison, others) if comparison and others else "",
        weights_alt=_weights_alt(comparison) if comparison else "",
        benchmark_alt=_benchmark_alt(benchmark) if benchmark else "",
    )


def _training_alt(run: RunRecord) -> str:
    what = "Training and validation MSE per epoch on a logarithmic scale."
    summary = run.training
    if summary is None:
        return what
    return (
        f"{what} Best validation MSE {formats.mse_with_psnr(summary.best_validation_mse)} at epoch "
        f"{summary.best_epoch}; stopped at epoch {summary.epochs_run} ({summary.stop_reason})."
    )


def _directions_alt(record: DirectionsRecord) -> str:
    last = record.epochs[-1]
    ends = [formats.scientific(math.sqrt(last.errors.squared[at])) for at in (0, -1)]
    first, smallest = (formats.scientific(record.eigenvalues[at]) for at in (0, -1))
    return (
        f"Above, the variance of the images in {sum(record.sizes):,} directions on logarithmic scales, falling from "
        f"{first} to {smallest}. Below, the error of the weights in each, one line per epoch: after epoch {last.epoch} "
        f"{ends[0]} in the first direction and {ends[1]} in the last."
    )


def _comparison_alt(comparison: Comparison, others: OtherRecipesRecord | None) -> str:
    names = {other.name for other in others.layers} if others else set()
    layers = "; ".join(_reached(layer) for layer in comparison.metrics.layers if layer.layer not in names)
    return f"Input, ground truth, prediction and error of {len(comparison.pictures.inputs)} test images. {layers}."


def _predictions_alt(comparison: Comparison, others: OtherRecipesRecord) -> str:
    names = {other.name for other in others.layers}
    layers = "; ".join(_reached(layer) for layer in comparison.metrics.layers if layer.layer in names)
    return f"Ground truth and predictions of {len(comparison.pictures.inputs)} test images. {layers}."


def _reached(layer: LayerMetrics) -> str:
    return (
        f"{layer.layer} layer: PSNR {formats.decibels(layer.psnr_db)}, largest error "
        f"{formats.grey_levels(layer.max_grey_levels)} of 255 grey levels in test image {layer.worst_image}"
    )


def _weights_alt(comparison: Comparison) -> str:
    counts = ", ".join(
        f"{np.count_nonzero(planes):,} of {planes.size:,} in the {name} layer"
        for name, planes in comparison.pictures.weights.items()
    )
    return f"Weights of one output value, one panel per input channel. Not zero are {counts}."


def _benchmark_alt(record: BenchmarkRecord) -> str:
    sentences = [f"Time for {record.images:,} images against batch size, one line per way."]
    for device in devices(record):
        rows = rows_of(record, device)
        # The ends of each line say most of what the chart shows; the table has the rest.
        for row in rows if len(rows) <= 2 else (rows[0], rows[-1]):
            times = ", ".join(
                f"{way.label} {formats.milliseconds(row.timings[way.key].median)} ms"
                for way in record.ways
                if way.key in row.timings
            )
            sentences.append(f"{formats.DEVICES[device]}, batch size {row.batch_size}: {times}.")
    return " ".join(sentences)


_ENVIRONMENT = Environment(
    loader=PackageLoader("onelayer.reproduction.report"),
    # Not by file name: every record can be edited, and nothing of it is markup.
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_ENVIRONMENT.filters.update(
    data_uri=lambda png: "data:image/png;base64," + base64.b64encode(png).decode("ascii"),
    scientific=formats.scientific,
    mse=formats.mse_with_psnr,
    duration=formats.duration,
    shape=formats.shape,
    moment=formats.moment,
    source=formats.source,
    device=lambda name: formats.DEVICES.get(name, name),
)
