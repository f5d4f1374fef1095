"""Time against batch size."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from onelayer.formats import DEVICES
from onelayer.plotting import COLOURS, plain, quiet
from onelayer.reproduction.report.ranking import devices, rows_of, timed_ways

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from onelayer.reproduction.records import BenchmarkRecord, BenchmarkWay

_MARKERS = "osD^vPX"


def draw_benchmark(record: BenchmarkRecord) -> Figure:
    """Draw the median time of each way over batch sizes, with a band from first to third quartile; a panel per device.

    Ways that are no contenders are dashed.

    Args:
        record: With at least one row.
    """
    measured = devices(record)
    figure = Figure(figsize=(max(8.2, 5.2 * len(measured)), 4.6), layout="constrained")
    panels = figure.subplots(1, len(measured), sharey=True, squeeze=False)[0]
    for axes, device in zip(panels, measured, strict=True):
        quiet(axes)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        for number, way in enumerate(timed_ways(record)):
            _draw_way(axes, record, device, way, number)
        batch_sizes = sorted({row.batch_size for row in rows_of(record, device)})
        axes.xaxis.set_major_locator(FixedLocator(batch_sizes))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
        axes.set_xlabel("batch size (log scale)")
        name = record.environment.cpu if device == "cpu" else record.environment.cuda
        title = DEVICES[device] if name is None else f"{DEVICES[device]}: {name}"
        axes.set_title(plain(textwrap.fill(title, 56)), fontsize=10, fontweight="bold", loc="left")
    first = panels[0]
    # A run of similar times may not cross a power of ten, so steps between are named as well.
    first.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    first.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    first.yaxis.set_minor_locator(NullLocator())
    first.set_ylabel(f"ms for {record.images:,} images (log scale)")
    entries = {str(line.get_label()): line for axes in panels for line in axes.get_lines()}
    figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return figure


def _draw_way(axes: Axes, record: BenchmarkRecord, device: str, way: BenchmarkWay, number: int) -> None:
    rows = [row for row in rows_of(record, device) if way.key in row.timings]
    if not rows:
        return
    timings = [row.timings[way.key] for row in rows]
    batch_sizes = [row.batch_size for row in rows]
    colour = COLOURS[number % len(COLOURS)]
    axes.fill_between(
        batch_sizes,
        [1000 * timing.first_quartile for timing in timings],
        [1000 * timing.third_quartile for timing in timings],
        color=colour,
        alpha=0.25,
        linewidth=0,
    )
    axes.plot(
        batch_sizes,
        [1000 * timing.median for timing in timings],
        color=colour,
        marker=_MARKERS[number % len(_MARKERS)],
        markersize=5,
        linestyle="-" if way.contender else "--",
        label=plain(way.label),
    )
