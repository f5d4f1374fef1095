"""Charts of a benchmark: bars of one case, and lines over batch sizes."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from onelayer.bench.record import OURS, BenchmarkRecord, Case, Row, threads_text
from onelayer.bench.table import by_time, cases_on, timed_peers
from onelayer.formats import DEVICES, factor, milliseconds
from onelayer.plotting import COLOURS, GREY, escape_dollars, label_at, label_steps, new_figure, style_axes
from onelayer.records import Timing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

_EXTRA = "bench"
_BAR_HEIGHT = 0.3
"""Height of a bar and the space around it, in inches."""
_USUAL_BATCH = 256
"""Batch size whose bars are drawn where there are several: the nearest to it."""
_MOST_LINES = 5
"""Peers in one chart over batch sizes, besides the floor: more lines cannot be told apart."""
_MARKERS = "osD^vPX"
_OTHERS = "#9a9a9a"

LINES = (OURS, "torchvision", "torchvision-batched", "torchvision-compiled", "dense")
"""Peers of charts over batch sizes, if they were measured; then the fastest of the others."""

HEADLINE_BARS = (OURS, "kornia-rs-fused", "pillow-simd", "torchvision", "opencv", "torchvision-v1")
"""Peers of the headline: the fastest of each kind, and what most people use."""

HEADLINE_WORKLOADS = ("imagenet-375x500", "report-float32")
"""Workloads of the headline: the first as bars, the second over batch sizes."""


def draw_workload(record: BenchmarkRecord, workload: str, threads: int) -> Figure:
    """Draw a workload with one number of threads: a bar for each peer, and lines where there are several batch sizes.

    Args:
        record: Record with at least one case of the workload with that number of threads.
        workload: Name of the workload.
        threads: Number of threads.
    """
    cases = _cases_of(record, workload, threads)
    shown = min(cases, key=lambda case: abs((case.batch_size or 1) - _USUAL_BATCH))
    panels = 1 if len(cases) == 1 else 2
    figure = new_figure(8.2 * panels, _height(len(shown.rows)), extra=_EXTRA)
    bars, *lines = figure.subfigures(1, panels, squeeze=False)[0]
    _draw_bars(bars, record.labels, shown, by_time(shown))
    if lines:
        _draw_lines(lines[0], record.labels, cases)
    return figure


def draw_headline(record: BenchmarkRecord) -> Figure | None:
    """Draw the workloads of :data:`HEADLINE_WORKLOADS` with the most threads, for a page of 800 pixels.

    Returns:
        None where one of them was not measured, or the second with one batch size only.
    """
    most = max((case.threads for case in record.cases), default=0)
    photographs, report = (_cases_of(record, name, most) for name in HEADLINE_WORKLOADS)
    if len(report) < 2 or not photographs:
        return None
    everybody = by_time(photographs[0])
    rows = [row for row in everybody if row.peer in HEADLINE_BARS] or everybody[: len(HEADLINE_BARS)]
    heights = [_height(len(rows)), 3.7]
    figure = new_figure(8.2, sum(heights), extra=_EXTRA)
    (bars,), (lines,) = figure.subfigures(2, 1, squeeze=False, height_ratios=heights)
    _draw_bars(bars, record.labels, photographs[0], rows)
    _draw_lines(lines, record.labels, report)
    lines.supxlabel("A selection of peers; the tables have all of them.", fontsize=8, color=GREY)
    return figure


def draw_benchmark(record: BenchmarkRecord) -> Figure:
    """Draw the median time of each peer over batch sizes, with a band from first to third quartile; a panel per device.

    Peers that do not compete are dashed.

    Args:
        record: Benchmark of a run, with at least one case.
    """
    names, competing = timed_peers(record), {peer.name for peer in record.peers if peer.competes}
    figure = new_figure(max(8.2, 5.2 * len(record.devices)), 4.6, extra="reproduce")
    panels = figure.subplots(1, len(record.devices), sharey=True, squeeze=False)[0]
    for axes, device in zip(panels, record.devices, strict=True):
        cases = cases_on(record, device)
        _prepare_batch_size_axes(axes, [case.batch_size or 1 for case in cases])
        for number, name in enumerate(names):
            style = _LineStyle(
                COLOURS[number % len(COLOURS)],
                "-" if name in competing else "--",
                marker=_MARKERS[number % len(_MARKERS)],
                marker_size=5,
                band=0.25,
            )
            times = [(case.batch_size or 1, case.timings[name]) for case in cases if name in case.timings]
            _draw_line(axes, times, record.labels[name], style)
        processor = record.environment.cpu if device == "cpu" else record.environment.cuda
        title = DEVICES[device] if processor is None else f"{DEVICES[device]}: {processor}"
        axes.set_title(escape_dollars(textwrap.fill(title, 56)), fontsize=10, fontweight="bold", loc="left")
    first = panels[0]
    label_steps(first.yaxis)
    first.set_ylabel(f"ms for {record.images:,} images of one size (log scale)")
    entries = {str(line.get_label()): line for axes in panels for line in axes.get_lines()}
    figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return figure


def _cases_of(record: BenchmarkRecord, workload: str, threads: int) -> list[Case]:
    cases = [case for case in record.cases if (case.workload, case.threads) == (workload, threads)]
    return sorted(cases, key=lambda case: case.batch_size or 1)


def _draw_bars(figure: SubFigure, labels: dict[str, str], case: Case, rows: Sequence[Row]) -> None:
    """Draw medians from the top down, the quartiles as whiskers, and the floor as a line."""
    axes = figure.subplots()
    ours = case.row(OURS)
    timings = [row.per_image for row in rows]
    medians = [1000 * timing.median for timing in timings]
    whiskers = [
        [1000 * (timing.median - timing.first_quartile) for timing in timings],
        [1000 * (timing.third_quartile - timing.median) for timing in timings],
    ]
    places = range(len(rows))
    axes.barh(places, medians, color=[_bar_colour(row.peer) for row in rows], height=0.72)
    axes.errorbar(medians, places, xerr=whiskers, fmt="none", ecolor="#333333", elinewidth=1, capsize=2)
    for place, row, timing in zip(places, rows, timings, strict=True):
        ratio = "" if ours is None or row is ours else f"  ({factor(timing.median / ours.per_image.median)}×)"
        axes.annotate(
            milliseconds(timing.median) + ratio,
            xy=(1000 * timing.third_quartile, place),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            fontweight="bold" if row is ours else "normal",
        )
    floor = case.floor_per_image
    if floor is not None:
        axes.axvline(1000 * floor.median, color=GREY, linestyle="--", linewidth=1.2)
        axes.annotate(
            f"floor: reading and writing once, {milliseconds(floor.median)}",
            xy=(1000 * floor.median, 1),
            xycoords=("data", "axes fraction"),
            xytext=(4, 3),
            textcoords="offset points",
            fontsize=9,
            color=GREY,
        )
        medians.append(1000 * floor.median)
    axes.set_yticks(places, [escape_dollars(labels[row.peer]) for row in rows])
    axes.invert_yaxis()
    style_axes(axes)
    axes.grid(visible=False, axis="y")
    axes.set_xscale("log")
    if medians:
        # Room for the numbers behind the longest bar; bars of a logarithmic axis begin somewhere below the floor.
        axes.set_xlim(min(medians) / 1.6, max(medians) * 4)
    is_wide = len(medians) > 0 and max(medians) > 300 * min(medians)
    label_steps(axes.xaxis, (1,) if is_wide else (1, 2, 5))
    axes.set_xlabel("ms per image (log scale)")
    _set_title(figure, case, "" if case.batch_size is None else f"batches of {case.batch_size:,}")


def _draw_lines(figure: SubFigure, labels: dict[str, str], cases: Sequence[Case]) -> None:
    """Draw the time of an image over batch sizes, a line for each of a few peers, and the floor."""
    axes = figure.subplots()
    _prepare_batch_size_axes(axes, [case.batch_size or 1 for case in cases])
    # In the legend as at the right end of the lines: the slowest on top.
    ends = {row.peer: row.per_image.median for case in cases for row in case.rows}
    colours = _choose_lines(ends)
    for name in sorted(colours, key=lambda name: -ends[name]):
        rows = [(case.batch_size or 1, row.per_image) for case in cases if (row := case.row(name)) is not None]
        _draw_line(axes, rows, labels[name], _LineStyle(colours[name], width=3 if name == OURS else 1.6))
    floors = [(case.batch_size or 1, case.floor_per_image) for case in cases if case.floor_per_image is not None]
    axes.plot(
        [size for size, _ in floors],
        [1000 * timing.median for _, timing in floors],
        color=GREY,
        linestyle="-.",
        linewidth=1.2,
        label="floor",
    )
    label_steps(axes.yaxis)
    axes.set_ylabel("ms per image (log scale)")
    _set_title(figure, cases[0], "")
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=9)


def _choose_lines(times: dict[str, float]) -> dict[str, str]:
    """Choose at most so many peers that their lines can be told apart, and a colour for each.

    Args:
        times: Time of each peer, by name.
    """
    # A peer of LINES has the same colour in every chart.
    colours = {name: COLOURS[place] for place, name in enumerate(LINES) if name in times}
    others = sorted((name for name in times if name not in LINES), key=lambda name: times[name])
    free = [colour for colour in COLOURS if colour not in colours.values()]
    colours |= dict(zip(others, free, strict=False))
    return dict(list(colours.items())[:_MOST_LINES])


@dataclass(frozen=True)
class _LineStyle:
    colour: str
    line: str = "-"
    width: float = 1.5
    marker: str = "o"
    marker_size: float = 4
    band: float = 0.15
    """Opacity of the band between the quartiles."""


def _draw_line(axes: Axes, times: Sequence[tuple[int, Timing]], label: str, style: _LineStyle) -> None:
    if not times:
        return
    batch_sizes = [size for size, _ in times]
    axes.fill_between(
        batch_sizes,
        [1000 * timing.first_quartile for _, timing in times],
        [1000 * timing.third_quartile for _, timing in times],
        color=style.colour,
        alpha=style.band,
        linewidth=0,
    )
    axes.plot(
        batch_sizes,
        [1000 * timing.median for _, timing in times],
        color=style.colour,
        linestyle=style.line,
        linewidth=style.width,
        marker=style.marker,
        markersize=style.marker_size,
        label=escape_dollars(label),
    )


def _prepare_batch_size_axes(axes: Axes, batch_sizes: Sequence[int]) -> None:
    style_axes(axes)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    label_at(axes.xaxis, sorted(set(batch_sizes)))
    axes.set_xlabel("batch size (log scale)")


def _height(bars: int) -> float:
    return 1.5 + _BAR_HEIGHT * max(4, bars)


def _bar_colour(peer: str) -> str:
    if peer == OURS:
        return COLOURS[0]
    if peer.startswith("onelayer"):
        return COLOURS[4]
    return COLOURS[1] if peer.startswith("torchvision") else _OTHERS


def _set_title(figure: SubFigure, case: Case, detail: str) -> None:
    # Of the figure, not of the axes: it may begin above the labels of the bars.
    text = "; ".join(part for part in (case.title, detail, threads_text(case.threads)) if part)
    title = escape_dollars(textwrap.fill(text, 92))
    figure.suptitle(title, x=0.01, ha="left", fontsize=10, fontweight="bold")
