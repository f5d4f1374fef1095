"""Tables of a benchmark: one case with peers as rows, or all batch sizes as rows with peers as columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from rich import box
from rich.table import Table
from rich.text import Text

from onelayer.bench.record import OURS, BenchmarkRecord, Case, Row
from onelayer.formats import ABSENT, DEVICES, factor, milliseconds
from onelayer.records import Timing

REDUCED = "*"
"""Mark of times of passes over fewer images, or smaller batches, than the case has."""

REDUCED_NOTE = f"{REDUCED} slow, and therefore timed over fewer images a pass, or in smaller batches"

_SIGNS = {"fastest": "*", "tie": "=", "": " "}
_NAME_WIDTH = 10
"""Characters of a terminal column's name in one line: a table of five such columns fits into 80."""


@dataclass(frozen=True)
class TimeCell:
    """A time as text.

    Args:
        median: Median in ms.
        spread: First and third quartile in ms.
        mark: "fastest", "tie" (level with the fastest) or nothing.
    """

    median: str
    spread: str
    mark: str = ""


def time_cell(timing: Timing, mark: str = "") -> TimeCell:
    """Format a time."""
    spread = f"{milliseconds(timing.first_quartile)}–{milliseconds(timing.third_quartile)}"
    return TimeCell(milliseconds(timing.median), spread, mark)


# --- one case, peers as rows ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PeerLine:
    """One peer, or the floor, as text: times of an image, ratios of medians, errors in grey levels."""

    peer: str
    time: TimeCell
    to_ours: str
    to_floor: str
    largest_error: str = ""
    mean_error: str = ""
    is_ours: bool = False
    is_reduced: bool = False


def peer_lines(case: Case) -> Iterable[PeerLine]:
    """Lay out a case: the floor first, then the peers, the fastest first."""
    ours, floor = case.row(OURS), case.floor_per_image

    def ratio(timing: Timing, base: Timing | None) -> str:
        return "" if base is None else factor(timing.median / base.median)

    our_timing = None if ours is None else ours.per_image
    if floor is not None:
        yield PeerLine("floor", time_cell(floor), ratio(floor, our_timing), ratio(floor, floor))
    for row in by_time(case):
        difference = row.difference
        yield PeerLine(
            peer=row.peer,
            time=time_cell(row.per_image),
            to_ours=ratio(row.per_image, our_timing),
            to_floor=ratio(row.per_image, floor),
            largest_error="" if difference is None else _error(difference.largest),
            mean_error="" if difference is None else _error(difference.mean),
            is_ours=row is ours,
            is_reduced=is_reduced(case, row),
        )


def by_time(case: Case) -> list[Row]:
    """Sort the rows of a case, the fastest first."""
    return sorted(case.rows, key=lambda row: row.per_image.median)


def is_reduced(case: Case, row: Row) -> bool:
    """Return whether a row was timed over fewer images, or in smaller batches, than the case has."""
    return row.images < case.images or row.batch_size != case.batch_size


def case_table(case: Case) -> Table:
    """Lay out one case for the terminal; the page has the quartiles and the peers' labels."""
    caption = [REDUCED_NOTE] if any(is_reduced(case, row) for row in case.rows) else []
    caption += [f"not measured: {missing.peer}: {missing.why}" for missing in case.not_measured]
    table = Table(
        title=Text(f"{case.title}\n{case.heading}"),
        caption=Text("\n".join(caption)),
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        collapse_padding=True,
        pad_edge=False,
    )
    for name in ("", "ms per image", f"÷ {OURS}", "÷ floor", "largest", "mean error"):
        table.add_column(Text(name), justify="right" if name else "left", no_wrap=True)
    for line in peer_lines(case):
        median = line.time.median + (REDUCED if line.is_reduced else "")
        # Text, not str: a name in square brackets is no markup.
        cells = (line.peer, median, line.to_ours, line.to_floor, line.largest_error, line.mean_error)
        table.add_row(*map(Text, cells), style="bold green" if line.is_ours else None)
    return table


def _error(grey_levels: float) -> str:
    return f"{grey_levels:.0f}" if grey_levels >= 10 else f"{grey_levels:.2g}"


# --- all cases, batch sizes as rows and peers as columns ------------------------------------------------------------


@dataclass(frozen=True)
class BatchSizeLine:
    """One batch size on one device; None stands for a peer that was not timed."""

    batch_size: str
    times: tuple[TimeCell | None, ...]
    ratios: tuple[str, ...]


@dataclass(frozen=True)
class BatchSizeTable:
    """A benchmark of one workload with one number of threads per device.

    Args:
        peers: Labels of the columns of times, in ms for all images.
        ratios: Labels of the columns of ratios.
        groups: Lines by name of the device, the largest batch size first.
        not_measured: Reasons why devices have no lines, by name of the device.
    """

    peers: tuple[str, ...]
    ratios: tuple[str, ...]
    groups: dict[str, tuple[BatchSizeLine, ...]]
    not_measured: dict[str, str]

    def without_ratios(self) -> BatchSizeTable:
        """Leave out the columns of ratios."""
        groups = {device: tuple(replace(line, ratios=()) for line in lines) for device, lines in self.groups.items()}
        return replace(self, ratios=(), groups=groups)


def batch_size_table(
    record: BenchmarkRecord, names: Sequence[str], ratios: Sequence[tuple[str, str]] = ()
) -> BatchSizeTable:
    """Lay out a benchmark by device and batch size.

    Args:
        record: Cases that differ in device and batch size only.
        names: Names of the peers, in the order of their columns.
        ratios: Names of peers whose times are divided, dividend first.
    """
    labels = record.labels
    return BatchSizeTable(
        peers=tuple(labels[name] for name in names),
        ratios=tuple(f"{labels[dividend]} ÷ {labels[divisor]}" for dividend, divisor in ratios),
        groups={
            DEVICES[device]: tuple(_batch_size_line(record, case, names, ratios) for case in cases_on(record, device))
            for device in record.devices
        },
        not_measured={DEVICES[device]: _why_not(record, device) for device in record.not_measured},
    )


def timed_peers(record: BenchmarkRecord) -> tuple[str, ...]:
    """Return the names of the peers that have a time in some case: some exist on a device that was not measured."""
    timed = {row.peer for case in record.cases for row in case.rows}
    return tuple(peer.name for peer in record.peers if peer.name in timed)


def cases_on(record: BenchmarkRecord, device: str) -> list[Case]:
    """Return the cases of one device, from the largest batch size to the smallest."""
    cases = [case for case in record.cases if case.device == device]
    return sorted(cases, key=lambda case: case.batch_size or 1, reverse=True)


def are_level(first: Timing, second: Timing) -> bool:
    """Return whether two quartile ranges overlap, so that the difference is within the spread of repeats.

    A shared end counts.
    """
    return first.first_quartile <= second.third_quartile and second.first_quartile <= first.third_quartile


def fastest(record: BenchmarkRecord, case: Case) -> tuple[str, ...]:
    """Return the names of the fastest competing peer of a case and of those level with it, in the record's order."""
    times = case.timings
    competing = {peer.name: times[peer.name] for peer in record.peers if peer.competes and peer.name in times}
    if not competing:
        return ()
    best = min(competing.values(), key=lambda timing: timing.median)
    return tuple(name for name, timing in competing.items() if are_level(timing, best))


def _batch_size_line(
    record: BenchmarkRecord, case: Case, names: Sequence[str], ratios: Sequence[tuple[str, str]]
) -> BatchSizeLine:
    times, first = case.timings, fastest(record, case)
    mark = "fastest" if len(first) == 1 else "tie"
    return BatchSizeLine(
        str(case.batch_size),
        tuple(time_cell(times[name], mark if name in first else "") if name in times else None for name in names),
        tuple(
            factor(times[dividend].median / times[divisor].median) if {dividend, divisor} <= times.keys() else ABSENT
            for dividend, divisor in ratios
        ),
    )


def _why_not(record: BenchmarkRecord, device: str) -> str:
    return "not measured (no such device here)" if device == "cuda" and not record.environment.cuda else "not measured"


def rich_table(record: BenchmarkRecord, laid_out: BatchSizeTable) -> Table:
    """Print a table of batch sizes in the terminal: medians with the quartile range beneath, the fastest marked."""
    caption = Text("* fastest of its row; = level with the fastest (their quartile ranges overlap)")
    table = Table(
        title=f"ms for {record.images:,} images of one size, median and quartiles of {record.repeats}",
        caption=caption,
        box=box.SIMPLE_HEAD,
        collapse_padding=True,
        pad_edge=False,
    )
    table.add_column("Device", no_wrap=True)
    table.add_column("Batch", justify="right", no_wrap=True)
    for name in (*laid_out.peers, *laid_out.ratios):
        # Names may break into lines; a number that did could not be read.
        table.add_column(Text(textwrap.fill(name, _NAME_WIDTH)), justify="right", no_wrap=True)
    for device, lines in laid_out.groups.items():
        for line in lines:
            table.add_row(device, line.batch_size, *map(_rich_time, line.times), *line.ratios)
        table.add_section()
    gaps = [ABSENT] * (len(laid_out.peers) + len(laid_out.ratios))
    for device, reason in laid_out.not_measured.items():
        table.add_row(Text(device), ABSENT, *gaps)
        caption.append(f"\n{device}: {reason}")
    return table


def _rich_time(cell: TimeCell | None) -> Text:
    if cell is None:
        return Text(ABSENT)
    median = Text(f"{cell.median} {_SIGNS[cell.mark]}", style="bold green" if cell.mark else "")
    return Text("\n").join([median, Text(cell.spread, style="dim")])
