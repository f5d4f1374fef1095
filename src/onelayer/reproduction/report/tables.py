"""Lay out the two tables of numbers, once for the page and the terminal."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

from onelayer.bench.table import BatchSizeTable, batch_size_table, rich_table, timed_peers
from onelayer.formats import ABSENT, decibels, grey_levels, grey_levels_at_most, scientific, similarity
from onelayer.reproduction.report.ranking import LAYERS, derived_first, layers, rivals

if TYPE_CHECKING:
    from onelayer.bench.record import BenchmarkRecord
    from onelayer.reproduction.records import MetricsRecord

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


def time_table(record: BenchmarkRecord) -> BatchSizeTable:
    """Lay the benchmark out, with the ratios of the transforms' times to those of each layer."""
    pairs = [
        (rival.name, layer.name)
        for layer in derived_first(layers(record), lambda peer: peer.name)
        for rival in rivals(record, layer)
        if rival.name not in LAYERS
    ]
    return batch_size_table(record, derived_first(timed_peers(record), str), pairs)


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
    return rich_table(record, laid_out if len(layers(record)) <= 1 else laid_out.without_ratios())
