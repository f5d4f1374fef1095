"""Lay out the two tables of numbers, once for the page and the terminal."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

from onelayer.formats import (
    ABSENT,
    DEVICES,
    decibels,
    factor,
    grey_levels,
    grey_levels_at_most,
    milliseconds,
    scientific,
    similarity,
)
from onelayer.reproduction.report.ranking import (
    LAYERS,
    derived_first,
    devices,
    fastest,
    layers,
    rivals,
    rows_of,
    timed_ways,
)

if TYPE_CHECKING:
    from onelayer.reproduction.records import BenchmarkRecord, BenchmarkRow, BenchmarkWay, MetricsRecord

_SIGNS = {"fastest": "*", "tie": "=", "": " "}
_NAME_WIDTH = 10
"""Width in characters of a terminal column's name: a table of five such columns fits into 80."""
METRICS_HEADER = (
    "Layer",
    "MSE",
    "PSNR",
    "SSIM",
    "Largest error (of\N{NO-BREAK SPACE}255)",
    "Proved bound (of\N{NO-BREAK SPACE}255)",
    "Worst image",
)
METRICS_MINOR = ("MSE", "SSIM", "Worst image")
"""Columns that narrow screens leave out."""


@dataclass(frozen=True)
class TimeCell:
    """A time in ms.

    Attributes:
        median: Median.
        spread: Range from first to third quartile.
        mark: "fastest", "tie" (level with the fastest) or nothing.
    """

    median: str
    spread: str
    mark: str


@dataclass(frozen=True)
class TimeLine:
    """A row of the benchmark; None stands for a way that was not timed on its device."""

    batch_size: str
    times: tuple[TimeCell | None, ...]
    ratios: tuple[str, ...]


@dataclass(frozen=True)
class TimeTable:
    """The benchmark as a table: one group of lines per device, largest batch first; derived layers come first.

    Attributes:
        ways: Labels of the columns of times.
        ratios: Labels of the columns of ratios.
        groups: Lines by device.
        not_measured: Devices without lines, and the reason.
    """

    ways: tuple[str, ...]
    ratios: tuple[str, ...]
    groups: dict[str, tuple[TimeLine, ...]]
    not_measured: dict[str, str]


def time_table(record: BenchmarkRecord) -> TimeTable:
    """Lay the benchmark out."""
    return TimeTable(
        ways=tuple(way.label for way in _columns(record)),
        ratios=tuple(f"{rival.label} ÷ {layer.label}" for layer, rival in _pairs(record)),
        groups={
            DEVICES[device]: tuple(_time_line(record, row) for row in rows_of(record, device))
            for device in devices(record)
        },
        not_measured={DEVICES.get(device, device): _why_not(record, device) for device in record.not_measured},
    )


def _columns(record: BenchmarkRecord) -> list[BenchmarkWay]:
    return derived_first(timed_ways(record), lambda way: way.key)


def _pairs(record: BenchmarkRecord) -> list[tuple[BenchmarkWay, BenchmarkWay]]:
    """Pair each layer with the ways of doing the transforms themselves."""
    timed = derived_first(layers(record), lambda way: way.key)
    return [(layer, way) for layer in timed for way in rivals(record, layer) if way.key not in LAYERS]


def metrics_rows(record: MetricsRecord) -> list[tuple[str, ...]]:
    """Make one row of text per layer, under METRICS_HEADER; the derived layer comes first."""
    return [
        (
            layer.layer,
            scientific(layer.mse),
            decibels(layer.psnr_db),
            similarity(layer.ssim),
            grey_levels(layer.max_grey_levels),
            ABSENT if layer.bound_grey_levels is None else grey_levels_at_most(layer.bound_grey_levels),
            str(layer.worst_image),
        )
        for layer in derived_first(record.layers, lambda each: each.layer)
    ]


def metrics_table(record: MetricsRecord) -> Table:
    """Make the table of the layers against the transforms, for the terminal."""
    table = Table(
        title=f"Against the transforms, over {record.images:,} test images",
        box=box.SIMPLE_HEAD,
        collapse_padding=True,
        pad_edge=False,
    )
    for number, name in enumerate(METRICS_HEADER):
        # Names may break into lines; a number that did could not be read.
        heading = Text(textwrap.fill(name, _NAME_WIDTH))
        table.add_column(heading, justify="left" if number == 0 else "right", no_wrap=True)
    for row in metrics_rows(record):
        # Text, not str: a name in square brackets is no markup.
        table.add_row(*map(Text, row))
    return table


def benchmark_table(record: BenchmarkRecord) -> Table:
    """Make the table of the benchmark, for the terminal: medians with quartiles beneath, the fastest marked."""
    laid_out = time_table(record)
    # With several layers the ratios would not fit into a terminal; the page has them.
    ratios = laid_out.ratios if len(layers(record)) <= 1 else ()
    caption = Text("* fastest of its row; = level with the fastest (their quartile ranges overlap)")
    table = Table(
        title=f"ms for {record.images:,} images, median and quartiles of {record.repeats}",
        caption=caption,
        box=box.SIMPLE_HEAD,
        collapse_padding=True,
        pad_edge=False,
    )
    table.add_column("Device", no_wrap=True)
    table.add_column("Batch", justify="right", no_wrap=True)
    for name in (*laid_out.ways, *ratios):
        # Names may break into lines; a number that did could not be read.
        table.add_column(Text(textwrap.fill(name, _NAME_WIDTH)), justify="right", no_wrap=True)
    for device, lines in laid_out.groups.items():
        for line in lines:
            table.add_row(device, line.batch_size, *map(_rich_time, line.times), *line.ratios[: len(ratios)])
        table.add_section()
    gaps = [ABSENT] * (len(laid_out.ways) + len(ratios))
    for device, reason in laid_out.not_measured.items():
        table.add_row(Text(device), ABSENT, *gaps)
        caption.append(f"\n{device}: {reason}")
    return table


def _why_not(record: BenchmarkRecord, device: str) -> str:
    return "not measured (no such device here)" if device == "cuda" and not record.environment.cuda else "not measured"


def _time_line(record: BenchmarkRecord, row: BenchmarkRow) -> TimeLine:
    first = fastest(record, row)
    mark = "fastest" if len(first) == 1 else "tie"
    times = [
        TimeCell(
            milliseconds(timing.median),
            f"{milliseconds(timing.first_quartile)}–{milliseconds(timing.third_quartile)}",
            mark if way.key in first else "",
        )
        if (timing := row.timings.get(way.key)) is not None
        else None
        for way in _columns(record)
    ]
    ratios = [
        factor(row.timings[rival.key].median / row.timings[layer.key].median)
        if {layer.key, rival.key} <= row.timings.keys()
        else ABSENT
        for layer, rival in _pairs(record)
    ]
    return TimeLine(str(row.batch_size), tuple(times), tuple(ratios))


def _rich_time(cell: TimeCell | None) -> Text:
    if cell is None:
        return Text(ABSENT)
    median = Text(f"{cell.median} {_SIGNS[cell.mark]}", style="bold green" if cell.mark else "")
    return Text("\n").join([median, Text(cell.spread, style="dim")])
