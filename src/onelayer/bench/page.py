"""The page of a benchmark in Markdown, and the folder that it is written to with the record and the charts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from onelayer.atomic_write import write_whole
from onelayer.bench.chart import draw_headline, draw_workload
from onelayer.bench.record import OURS, BenchmarkRecord, Case
from onelayer.bench.table import REDUCED, REDUCED_NOTE, is_reduced, peer_lines
from onelayer.formats import moment
from onelayer.plotting import encode_png

_HEADER = ("", "ms per image", "quartiles", f"÷ {OURS}", "÷ floor", "largest error", "mean error")

_EXPLANATION = (
    "The floor reads the images and writes as many bytes as the results have, and does nothing else. Errors are from "
    "the NumPy reference in float64, in grey levels (1/255 of the range). On the CPU PyTorch's OpenMP threads spin for "
    "GOMP_SPINCOUNT=1000 turns, unless that was set otherwise."
)


def write_results(record: BenchmarkRecord, folder: Path) -> None:
    """Write the record and the page, and draw the workload of the last case; and the headline, where there is one.

    To be called after each case: so whatever ends a benchmark early, what was measured is kept.

    Args:
        record: Record with at least one case.
        folder: Folder for ``peers.json``, ``peers.md``, and the charts.
    """
    record.write(folder / "peers.json")
    write_whole(folder / "peers.md", markdown(record).encode("utf-8"))
    last = record.cases[-1]
    chart = folder / f"{last.workload}-threads-{last.threads}.png"
    write_whole(chart, encode_png(draw_workload(record, last.workload, last.threads)))
    headline = draw_headline(record)
    if headline is not None:
        write_whole(folder / "headline.png", encode_png(headline))


def markdown(record: BenchmarkRecord) -> str:
    """Write all cases as Markdown."""
    here = record.environment
    on_cuda = "cuda" in record.devices
    lines = [
        "# Against everything else",
        "",
        (f"`{record.command}` on " if record.command else "On ")
        + f"{here.cpu}, {here.logical_cores} cores"
        + (f", {here.cuda}" if on_cuda and here.cuda else "")
        + f", {moment(record.created)}. Medians and quartiles of {record.repeats} interleaved passes. {_EXPLANATION}"
        + (" Images start in host memory, and results end there." if on_cuda else ""),
        "",
        "Versions: " + ", ".join(f"{name} {text}" for name, text in record.versions.items()) + ".",
    ]
    title = None
    for case in record.cases:
        if case.title != title:
            title = case.title
            lines += ["", f"## {title}"]
        lines += ["", f"### {case.heading}", "", *_table(record, case)]
        if any(is_reduced(case, row) for row in case.rows):
            lines += ["", _escaped(REDUCED_NOTE)]
        if case.not_measured:
            labels = record.labels
            lines += [
                "",
                "Not measured:",
                "",
                *(f"- {labels[missing.peer]}: {missing.why}" for missing in case.not_measured),
            ]
    return "\n".join(lines) + "\n"


def _table(record: BenchmarkRecord, case: Case) -> Iterable[str]:
    labels = record.labels
    yield _joined(_HEADER)
    yield _joined(["---", *["--:"] * (len(_HEADER) - 1)])
    for line in peer_lines(case):
        label = _escaped(labels.get(line.peer, line.peer))
        median = line.time.median + (REDUCED if line.is_reduced else "")
        yield _joined(
            [
                f"**{label}**" if line.is_ours else label,
                _escaped(median),
                line.time.spread,
                line.to_ours,
                line.to_floor,
                line.largest_error,
                line.mean_error,
            ]
        )


def _joined(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    return text.replace("|", r"\|").replace("*", r"\*")
