"""A benchmark against peers as tables: in the terminal, and as a page in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich import box
from rich.table import Table
from rich.text import Text

from onelayer.bench.peers.registry import OURS
from onelayer.bench.peers_record import PeerRow, PeersCase, PeersRecord
from onelayer.formats import factor, milliseconds, moment
from onelayer.records import Timing

HEADER = ("", "ms an image", "quartiles", "÷ onelayer", "÷ floor", "largest error", "mean error")
_SHORT_HEADER = ("", "ms an image", "÷ onelayer", "÷ floor", "largest", "mean error")

_LESS = "*"
"""Behind times of passes over fewer images, or smaller batches, than the case has."""

_EXPLAINED = (
    "The floor reads the images and writes as much as becomes of them, and does nothing else. Errors are from the "
    "NumPy reference in float64, in grey levels (1/255 of the range). On the CPU PyTorch's OpenMP threads spin for "
    "GOMP_SPINCOUNT=1000 turns, unless that was set otherwise."
)
_LESS_EXPLAINED = f"{_LESS} slow, and therefore timed over fewer images a pass, or in smaller batches"


def by_time(case: PeersCase) -> list[PeerRow]:
    """The rows of a case, the fastest first."""
    return sorted(case.rows, key=lambda row: row.seconds_an_image)


def case_table(case: PeersCase) -> Table:
    """One case, for the terminal; the page has the quartiles and the peers' long names."""
    caption = [_LESS_EXPLAINED] if any(_less(case, row) for row in case.rows) else []
    caption += [f"not measured: {line}" for line in _not_measured(case)]
    table = Table(
        title=Text(case.heading),
        caption=Text("\n".join(caption)),
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        collapse_padding=True,
        pad_edge=False,
    )
    for name in _SHORT_HEADER:
        table.add_column(Text(name), justify="right" if name else "left", no_wrap=True)
    for line in _lines(case):
        # Text, not str: a name in square brackets is no markup.
        cells = (line.peer, line.median, line.ours, line.floor, line.largest, line.mean)
        table.add_row(*map(Text, cells), style="bold green" if line.is_ours else None)
    return table


def page(record: PeersRecord) -> str:
    """All cases, as Markdown."""
    here = record.environment
    lines = [
        "# Against everything else",
        "",
        f"`{record.command}` on {here.cpu}, {here.logical_cores} cores"
        + (f", {here.cuda}" if record.device == "cuda" and here.cuda else "")
        + f", {moment(record.created)}. Medians and quartiles of {record.repeats} interleaved passes. {_EXPLAINED}"
        + (" Images start in host memory, and results end there." if record.device == "cuda" else ""),
        "",
        "Versions: " + ", ".join(f"{name} {text}" for name, text in record.versions.items()) + ".",
    ]
    title = None
    for case in record.cases:
        if case.title != title:
            title = case.title
            lines += ["", f"## {title}"]
        lines += ["", f"### {case.heading}", "", *_markdown(case)]
        if any(_less(case, row) for row in case.rows):
            lines += ["", _escaped(_LESS_EXPLAINED)]
        if case.not_measured:
            lines += ["", "Not measured:", "", *(f"- {line}" for line in _not_measured(case))]
    return "\n".join(lines) + "\n"


def _markdown(case: PeersCase) -> Iterable[str]:
    yield _joined(HEADER)
    yield _joined(["---", *["--:"] * (len(HEADER) - 1)])
    for line in _lines(case):
        label = f"**{_escaped(line.label)}**" if line.is_ours else _escaped(line.label)
        yield _joined([label, _escaped(line.median), line.quartiles, line.ours, line.floor, line.largest, line.mean])


def _joined(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    return text.replace("|", r"\|").replace("*", r"\*")


@dataclass(frozen=True)
class _Line:
    """One peer, or the floor, as text."""

    peer: str
    label: str
    median: str
    quartiles: str
    ours: str
    floor: str
    largest: str = ""
    mean: str = ""
    is_ours: bool = False


def _lines(case: PeersCase) -> Iterable[_Line]:
    ours = case.row(OURS)

    def to_ours(seconds: float) -> str:
        return "" if ours is None else factor(seconds / ours.seconds_an_image)

    yield _Line(
        peer="floor",
        label="floor",
        median=milliseconds(case.floor_an_image),
        quartiles=_span(case.floor, case.images),
        ours=to_ours(case.floor_an_image),
        floor=factor(1.0),
    )
    for row in by_time(case):
        yield _Line(
            peer=row.peer,
            label=row.label,
            median=milliseconds(row.seconds_an_image) + (_LESS if _less(case, row) else ""),
            quartiles=_span(row.timing, row.images),
            ours=to_ours(row.seconds_an_image),
            floor=factor(row.seconds_an_image / case.floor_an_image),
            largest=_error(row.difference.largest),
            mean=_error(row.difference.mean),
            is_ours=row.peer == OURS,
        )


def _span(timing: Timing, images: int) -> str:
    return f"{milliseconds(timing.first_quartile / images)}–{milliseconds(timing.third_quartile / images)}"


def _error(grey_levels: float) -> str:
    return f"{grey_levels:.0f}" if grey_levels >= 10 else f"{grey_levels:.2g}"


def _less(case: PeersCase, row: PeerRow) -> bool:
    return row.images < case.images or row.batch_size != case.batch_size


def _not_measured(case: PeersCase) -> list[str]:
    return [f"{one.label}: {one.why}" for one in case.not_measured]
