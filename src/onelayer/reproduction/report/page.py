"""Make one self-contained HTML page, and its figures, of what a run has saved."""

from __future__ import annotations

import base64
import math
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from onelayer import formats
from onelayer.atomic_write import write_whole
from onelayer.bench.table import cases_on
from onelayer.errors import require
from onelayer.reproduction.report import conclusion, learning_analysis
from onelayer.reproduction.report.ranking import derived_first, measured_peers
from onelayer.reproduction.report.saved import read_saved
from onelayer.reproduction.report.tables import METRICS_HEADER, METRICS_MINOR, metrics_rows, time_table

if TYPE_CHECKING:
    from pathlib import Path

    from onelayer.bench.record import BenchmarkRecord
    from onelayer.reproduction.records import DirectionsRecord, LayerMetrics, RunRecord
    from onelayer.reproduction.report.saved import SavedComparison, SavedRun
    from onelayer.reproduction.run_folder import RunFolder

# Matplotlib and Jinja2, optional dependencies, are imported only where a page is made.


def require_report() -> None:
    """Make sure that the packages of the report are installed.

    Raises:
        OnelayerError: If one is not.
    """
    for module in ("jinja2", "matplotlib.figure"):
        require(module, extra="reproduce", purpose="The report")


@dataclass(frozen=True)
class Figures:
    """The figures as PNG; None for a part that was not run."""

    training: bytes | None
    directions: bytes | None
    comparison: bytes | None
    predictions: bytes | None
    weights: bytes | None
    benchmark: bytes | None


def build_report(folder: RunFolder) -> Path:
    """Draw the figures, as far as there are records for them, and write report.html.

    Nothing is learned, computed from images of the data set or timed here: the page says what was saved. It holds its
    figures itself and refers to nothing outside. Parts that were not run are named, with the command that runs them.

    Args:
        folder: Folder of a run; run.json is needed, everything else may be missing.

    Returns:
        The path of the page.

    Raises:
        OnelayerError: If there is no run.json, an existing record cannot be read or contradicts another, or a package
            is missing.
    """
    require_report()
    saved = read_saved(folder)
    figures = _draw(saved)
    for path, png in (
        (folder.train_figure, figures.training),
        (folder.directions_figure, figures.directions),
        (folder.comparison_figure, figures.comparison),
        (folder.predictions_figure, figures.predictions),
        (folder.weights_figure, figures.weights),
        (folder.benchmark_figure, figures.benchmark),
    ):
        if png is not None:
            write_whole(path, png)
    write_whole(folder.page, _render(saved, figures).encode("utf-8"))
    return folder.page


def _draw(saved: SavedRun) -> Figures:
    from onelayer.reproduction.report import figures

    run, comparison, benchmark = saved.run, saved.comparison, saved.benchmark
    images, predictions, weights = None, None, None
    if comparison is not None:
        pictures, metrics = comparison.pictures, comparison.metrics
        own, others = _own_and_other_layers(saved)
        images = figures.draw_comparison(pictures, metrics, own)
        predictions = figures.draw_predictions(pictures, metrics, others) if others else None
        if metrics.weight_pixel is not None and pictures.weights:
            ordered = dict(derived_first(pictures.weights.items(), lambda item: item[0]))
            weights = figures.draw_weights(ordered, metrics.weight_pixel)
    kept = run.training.best_epoch if run.training else None
    drawn = (
        figures.draw_training(saved.history, run) if saved.history else None,
        figures.draw_directions(saved.directions, saved.other_recipes, kept) if saved.directions else None,
        images,
        predictions,
        weights,
        figures.draw_benchmark(benchmark) if benchmark and benchmark.cases else None,
    )
    return Figures(*(figures.encode_png(figure) if figure is not None else None for figure in drawn))


def _own_and_other_layers(saved: SavedRun) -> tuple[list[str], list[str]]:
    """Name the compared layers of the run itself, the derived one first, and those of other recipes."""
    compared = [layer.layer for layer in saved.comparison.metrics.layers] if saved.comparison else []
    learned_otherwise = {other.name for other in saved.other_recipes.layers} if saved.other_recipes else set()
    own = [name for name in compared if name not in learned_otherwise]
    return derived_first(own, str), [name for name in compared if name in learned_otherwise]


def _render(saved: SavedRun, figures: Figures) -> str:
    """Render the page. The same records and figures give the same text on any day and any machine."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("onelayer.reproduction.report"),
        # Not by file name: every record can be edited, and nothing of it is markup.
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        data_uri=lambda png: "data:image/png;base64," + base64.b64encode(png).decode("ascii"),
        scientific=formats.scientific,
        mse=formats.mse_with_psnr,
        duration=formats.duration,
        shape=formats.shape,
        moment=formats.moment,
        source=formats.source,
        device=lambda name: formats.DEVICES.get(name, name),
    )
    return environment.get_template("report.html.j2").render(**_content(saved), figures=figures)


def _content(saved: SavedRun) -> dict[str, Any]:
    """Put together what the template shows, without the figures."""
    run, comparison, benchmark = saved.run, saved.comparison, saved.benchmark
    directions, others = saved.directions, saved.other_recipes
    metrics = comparison.metrics if comparison else None
    own_layers, other_layers = _own_and_other_layers(saved)
    return {
        "run": run,
        "comparison": comparison,
        "benchmark": benchmark,
        "name": saved.name,
        "argument": shlex.quote(saved.name),
        "quick": run.quick or (benchmark is not None and benchmark.quick),
        "verdict": conclusion.verdict(metrics, others),
        "answer": conclusion.answer(metrics, benchmark, others),
        "headline": conclusion.headline(metrics, benchmark, others),
        "accuracy": conclusion.accuracy(metrics, others) if metrics else [],
        "speed": conclusion.speed(benchmark) if benchmark else [],
        "learning": conclusion.training(run),
        "directions": learning_analysis.directions(directions, run, saved.history, others) if directions else [],
        "spectrum_images": directions.images if directions else 0,
        "others": others,
        "others_header": learning_analysis.OTHER_RECIPES_HEADER,
        "others_minor": learning_analysis.OTHER_RECIPES_MINOR,
        "others_rows": learning_analysis.other_recipe_rows(run, metrics, others) if metrics and others else [],
        "better_recipes": learning_analysis.better_recipes(metrics, others) if metrics and others else [],
        "metrics_header": METRICS_HEADER,
        "metrics_minor": METRICS_MINOR,
        "metrics_rows": metrics_rows(metrics) if metrics else [],
        "times": time_table(benchmark) if benchmark else None,
        "peers": derived_first(measured_peers(benchmark), lambda peer: peer.name) if benchmark else [],
        "absent": formats.ABSENT,
        "training_alt": _training_alt(run),
        "directions_alt": _directions_alt(directions) if directions else "",
        "comparison_alt": _comparison_alt(comparison, own_layers) if comparison else "",
        "predictions_alt": _predictions_alt(comparison, other_layers) if comparison else "",
        "weights_alt": _weights_alt(comparison) if comparison else "",
        "benchmark_alt": _benchmark_alt(benchmark) if benchmark else "",
    }


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


def _comparison_alt(comparison: SavedComparison, names: list[str]) -> str:
    layers = "; ".join(_reached(layer) for layer in comparison.metrics.layers if layer.layer in names)
    return f"Input, ground truth, prediction and error of {len(comparison.pictures.inputs)} test images. {layers}."


def _predictions_alt(comparison: SavedComparison, names: list[str]) -> str:
    layers = "; ".join(_reached(layer) for layer in comparison.metrics.layers if layer.layer in names)
    return f"Ground truth and predictions of {len(comparison.pictures.inputs)} test images. {layers}."


def _reached(layer: LayerMetrics) -> str:
    return (
        f"{layer.layer} layer: PSNR {formats.decibels(layer.psnr_db)}, largest error "
        f"{formats.grey_levels(layer.max_grey_levels)} of 255 grey levels in test image {layer.worst_image}"
    )


def _weights_alt(comparison: SavedComparison) -> str:
    counts = ", ".join(
        f"{np.count_nonzero(planes):,} of {planes.size:,} in the {name} layer"
        for name, planes in comparison.pictures.weights.items()
    )
    return f"Weights of one output value, one panel per input channel. Not zero are {counts}."


def _benchmark_alt(record: BenchmarkRecord) -> str:
    sentences = [f"Time for {record.images:,} images against batch size, one line per peer."]
    for device in record.devices:
        cases = cases_on(record, device)
        # The ends of each line say most of what the chart shows; the table has the rest.
        for case in cases if len(cases) <= 2 else (cases[0], cases[-1]):
            times = ", ".join(
                f"{peer.label} {formats.milliseconds(case.timings[peer.name].median)} ms"
                for peer in record.peers
                if peer.name in case.timings
            )
            sentences.append(f"{formats.DEVICES[device]}, batch size {case.batch_size}: {times}.")
    return " ".join(sentences)
