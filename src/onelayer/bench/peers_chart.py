"""A benchmark against peers as pictures."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from onelayer.bench.peers.registry import OURS, PEERS
from onelayer.bench.peers_record import PeersCase
from onelayer.bench.peers_table import by_time
from onelayer.formats import factor, milliseconds
from onelayer.plotting import COLOURS, GREY, plain, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

_BAR_HEIGHT = 0.3
"""Inches."""
_USUAL_BATCH = 256
"""Whose bars are drawn where there are several batch sizes: the nearest to it."""
_LINES = ("-", "--", ":")
_OTHERS = "#9a9a9a"
_TORCHVISION = COLOURS[1]

HEADLINES = ("report-float32", "imagenet-375x500")
"""Of the headline: the first over batch sizes, the second as bars."""


def draw_workload(cases: Sequence[PeersCase]) -> Figure:
    """Draw a workload with one number of threads: a bar for each peer, and over batch sizes where there are several.

    Args:
        cases: At least one, differing in the batch size only.
    """
    shown = min(cases, key=lambda case: abs((case.batch_size or 1) - _USUAL_BATCH))
    panels = 1 if len(cases) == 1 else 2
    figure = Figure(figsize=(8.2 * panels, _height(shown)), layout="constrained")
    bars, *lines = figure.subplots(1, panels, squeeze=False)[0]
    draw_bars(bars, shown)
    if lines:
        draw_lines(lines[0], cases)
    return figure


def draw_headline(cases: Sequence[PeersCase]) -> Figure | None:
    """Draw the two workloads of :data:`HEADLINES` with the most threads, the report over batch sizes.

    Returns:
        None where one of them was not measured, or the report with one batch size only.
    """
    most = max((case.threads for case in cases), default=0)
    report, photographs = (
        [case for case in cases if (case.workload, case.threads) == (name, most)] for name in HEADLINES
    )
    if len(report) < 2 or not photographs:
        return None
    figure = Figure(figsize=(16.4, max(6.2, _height(photographs[0]))), layout="constrained")
    left, right = figure.subplots(1, 2)
    draw_lines(left, report)
    draw_bars(right, photographs[0])
    return figure


def draw_bars(axes: Axes, case: PeersCase) -> None:
    """Draw the median time of each peer, the fastest on top, the quartiles as a whisker, and the floor as a line."""
    rows = by_time(case)
    ours = case.row(OURS)
    places = range(len(rows))
    medians = [1000 * row.seconds_an_image for row in rows]
    below = [1000 * (row.timing.median - row.timing.first_quartile) / row.images for row in rows]
    above = [1000 * (row.timing.third_quartile - row.timing.median) / row.images for row in rows]
    axes.barh(places, medians, color=[_bar_colour(row.peer) for row in rows], height=0.72)
    axes.errorbar(medians, places, xerr=[below, above], fmt="none", ecolor="#333333", elinewidth=1, capsize=2)
    for place, row in zip(places, rows, strict=True):
        ratio = "" if ours is None or row is ours else f"  ({factor(row.seconds_an_image / ours.seconds_an_image)}×)"
        axes.annotate(
            milliseconds(row.seconds_an_image) + ratio,
            xy=(1000 * row.timing.third_quartile / row.images, place),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            fontweight="bold" if row is ours else "normal",
        )
    floor = 1000 * case.floor_an_image
    axes.axvline(floor, color=GREY, linestyle="--", linewidth=1.2)
    axes.annotate(
        f"floor: reading and writing once, {milliseconds(case.floor_an_image)}",
        xy=(floor, 1),
        xycoords=("data", "axes fraction"),
        xytext=(4, 3),
        textcoords="offset points",
        fontsize=9,
        color=GREY,
    )
    axes.set_yticks(places, [plain(row.label) for row in rows])
    axes.invert_yaxis()
    quiet(axes)
    axes.grid(visible=False, axis="y")
    axes.set_xscale("log")
    # Room for the numbers behind the longest bar; bars of a logarithmic axis begin somewhere below the floor.
    axes.set_xlim(floor / 1.6, max([floor, *medians]) * 4)
    _name_steps(axes.xaxis)
    axes.set_xlabel("ms an image (log scale)")
    _set_title(axes, case, "" if case.batch_size is None else f"batches of {case.batch_size:,}")


def draw_lines(axes: Axes, cases: Sequence[PeersCase]) -> None:
    """Draw the time of an image over batch sizes, a line for each peer, and the floor."""
    quiet(axes)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    ordered = sorted(cases, key=lambda case: case.batch_size or 1)
    last = {row.peer: row.label for case in ordered for row in reversed(by_time(case))}
    # In the legend as at the right end of the lines: the slowest on top.
    ends = {row.peer: row.seconds_an_image for case in ordered for row in case.rows}
    for name in sorted(last, key=lambda name: -ends[name]):
        rows = [(case.batch_size or 1, row) for case in ordered if (row := case.row(name)) is not None]
        sizes, times = [size for size, _ in rows], [1000 * row.seconds_an_image for _, row in rows]
        colour, line = _line_style(name)
        axes.fill_between(
            sizes,
            [1000 * row.timing.first_quartile / row.images for _, row in rows],
            [1000 * row.timing.third_quartile / row.images for _, row in rows],
            color=colour,
            alpha=0.15,
            linewidth=0,
        )
        axes.plot(
            sizes,
            times,
            color=colour,
            linestyle=line,
            marker="o",
            markersize=4,
            linewidth=3 if name == OURS else 1.4,
            label=plain(last[name]),
        )
    axes.plot(
        [case.batch_size or 1 for case in ordered],
        [1000 * case.floor_an_image for case in ordered],
        color=GREY,
        linestyle="-.",
        linewidth=1.2,
        label="floor",
    )
    axes.xaxis.set_major_locator(FixedLocator([case.batch_size or 1 for case in ordered]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    _name_steps(axes.yaxis)
    axes.set_xlabel("batch size (log scale)")
    axes.set_ylabel("ms an image (log scale)")
    _set_title(axes, ordered[0], "")
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=9)


def _height(case: PeersCase) -> float:
    return 1.5 + _BAR_HEIGHT * max(4, len(case.rows))


def _bar_colour(peer: str) -> str:
    if peer == OURS:
        return COLOURS[0]
    if peer.startswith("onelayer"):
        return COLOURS[4]
    return _TORCHVISION if peer.startswith("torchvision") else _OTHERS


def _line_style(peer: str) -> tuple[str, str]:
    # By its place among all peers, so that it looks the same in every picture.
    place = next((number for number, each in enumerate(PEERS) if each.name == peer), len(PEERS))
    return COLOURS[place % len(COLOURS)], _LINES[place // len(COLOURS) % len(_LINES)]


def _name_steps(axis: Axis) -> None:
    # A run of similar times may not cross a power of ten, so steps between are named as well.
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_locator(NullLocator())


def _set_title(axes: Axes, case: PeersCase, detail: str) -> None:
    threads = "1 thread" if case.threads == 1 else f"{case.threads} threads"
    text = ", ".join(part for part in (case.title, detail, threads) if part)
    axes.set_title(plain(textwrap.fill(text, 72)), fontsize=10, fontweight="bold", loc="left", pad=20)
