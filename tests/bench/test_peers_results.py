"""What is said of a benchmark against peers, from a record made by hand."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from PIL import Image
from rich.console import Console
from rich.table import Table

from onelayer.bench.peers_chart import draw_headline, draw_workload
from onelayer.bench.peers_listing import peers_table, workloads_table
from onelayer.bench.peers_record import Difference, NotMeasured, PeerRow, PeersCase, PeersRecord
from onelayer.bench.peers_results import write_results
from onelayer.bench.peers_table import case_table, page
from onelayer.environment import measured_here
from onelayer.records import Timing
from onelayer.reproduction.report.figures import encode_png


def timing(median: float) -> Timing:
    seconds = (median * 0.9, median, median * 1.2)
    return Timing(seconds=seconds, median=median, first_quartile=median * 0.95, third_quartile=median * 1.1)


def row(
    peer: str, milliseconds: float, images: int = 100, batch_size: int | None = None, error: float = 0.5
) -> PeerRow:
    return PeerRow(
        peer=peer,
        label=f"{peer} | at [large]",
        images=images,
        batch_size=batch_size,
        timing=timing(milliseconds * images / 1000),
        difference=Difference(largest=error, mean=error / 10, images=32),
        versions={peer: "1.2.3"},
    )


def case(
    *rows: PeerRow, workload: str = "imagenet-375x500", batch_size: int | None = None, threads: int = 2
) -> PeersCase:
    return PeersCase(
        workload=workload,
        title=f"About {workload}",
        batch_size=batch_size,
        threads=threads,
        images=100,
        floor=timing(0.005),
        rows=rows,
        not_measured=(NotMeasured(peer="gone", label="Gone", why="it is not installed"),),
    )


def record(*cases: PeersCase) -> PeersRecord:
    return PeersRecord(
        created="2025-03-04T05:06:07+00:00",
        command="onelayer bench all",
        device="cpu",
        burn_in=1,
        repeats=3,
        environment=measured_here(),
        cases=cases,
    )


PHOTOGRAPHS = case(row("slow", 0.6, images=25), row("onelayer", 0.2, error=4.56e-5), row("middle", 0.3, error=12.3))
REPORT = tuple(
    case(
        row("onelayer", 0.1 + 1 / size, batch_size=size),
        row("opencv", 0.8 + 1 / size, batch_size=min(size, 16)),
        workload="report-float32",
        batch_size=size,
    )
    for size in (8, 64, 512)
)


def printed(table: Table, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(table)
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_the_table_is_sorted_by_time_and_fits_into_a_terminal() -> None:
    text = printed(case_table(PHOTOGRAPHS))
    assert "…" not in text
    lines = [line.split() for line in text.splitlines() if line.strip()]
    assert lines[0] == ["imagenet-375x500,", "one", "by", "one,", "2", "threads"]
    by_name = {line[0]: line[1:] for line in lines}
    assert [name for name in by_name if name in ("floor", "onelayer", "middle", "slow")] == [
        "floor", "onelayer", "middle", "slow",
    ]  # fmt: skip
    assert by_name["floor"] == ["0.05", "0.25", "1.00"]
    assert by_name["onelayer"] == ["0.2", "1.00", "4.00", "4.6e-05", "4.6e-06"]
    assert by_name["middle"] == ["0.3", "1.50", "6.00", "12", "1.2"]
    assert by_name["slow"] == ["0.6*", "3.00", "12.0", "0.5", "0.05"]
    assert "* slow, and therefore timed over fewer images a pass" in text
    assert "not measured: Gone: it is not installed" in text


def test_without_ours_there_is_no_ratio_to_it() -> None:
    text = printed(case_table(case(row("middle", 0.3))))
    (line,) = (line.split() for line in text.splitlines() if "middle" in line)
    assert line == ["middle", "0.3", "6.00", "0.5", "0.05"]
    assert "slow" not in text


def test_the_page() -> None:
    text = page(record(PHOTOGRAPHS, *REPORT))
    assert "`onelayer bench all`" in text
    assert "2025-03-04 05:06 UTC" in text
    assert "Versions: middle 1.2.3, onelayer 1.2.3, opencv 1.2.3, slow 1.2.3." in text
    assert text.count("## About imagenet-375x500\n") == text.count("## About report-float32\n") == 1
    assert r"| **onelayer \| at [large]** | 0.2 | 0.19–0.22 | 1.00 | 4.00 | 4.6e-05 | 4.6e-06 |" in text
    assert r"| slow \| at [large] | 0.6\* | 0.57–0.66 | 3.00 | 12.0 | 0.5 | 0.05 |" in text
    assert "- Gone: it is not installed" in text
    for line in text.splitlines():
        if line.startswith("|"):
            assert line.replace(r"\|", "").count("|") == 8
    # a batch that was cut down counts as less, too
    assert "### report-float32, batches of 64, 2 threads" in text
    assert r"0.816\*" in text
    assert r"0.925 |" in text


def words(figure: Figure) -> str:
    figure.canvas.draw()  # type: ignore[attr-defined]
    texts = [text for axes in figure.axes for text in axes.findobj(lambda each: hasattr(each, "get_text"))]
    return "\n".join(str(text.get_text()) for text in texts)  # type: ignore[attr-defined]


def test_bars_are_as_long_as_the_times_and_the_fastest_is_on_top() -> None:
    figure = draw_workload([PHOTOGRAPHS])
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([0.2, 0.3, 0.6])  # type: ignore[attr-defined]
    assert axes.yaxis_inverted()
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "onelayer | at [large]", "middle | at [large]", "slow | at [large]",
    ]  # fmt: skip
    floor = next(line for line in axes.get_lines() if line.get_linestyle() == "--")
    assert list(floor.get_xdata()) == pytest.approx([0.05, 0.05])  # type: ignore[arg-type]
    text = words(figure)
    assert "0.6  (3.00×)" in text
    assert "About imagenet-375x500, 2 threads" in text


def test_several_batch_sizes_make_lines_besides_the_bars_of_the_usual_one() -> None:
    figure = draw_workload(REPORT)
    bars, lines = figure.axes
    # 64 is nearer to 256 than 512
    assert [bar.get_width() for bar in bars.patches] == pytest.approx([0.1 + 1 / 64, 0.8 + 1 / 64])  # type: ignore[attr-defined]
    drawn = {line.get_label(): line for line in lines.get_lines()}
    assert list(drawn) == ["opencv | at [large]", "onelayer | at [large]", "floor"]
    ours = drawn["onelayer | at [large]"]
    assert list(ours.get_xdata()) == [8, 64, 512]  # type: ignore[arg-type]
    assert list(ours.get_ydata()) == pytest.approx([0.1 + 1 / size for size in (8, 64, 512)])  # type: ignore[arg-type]


def test_a_headline_needs_both_workloads() -> None:
    assert draw_headline([]) is None
    assert draw_headline([PHOTOGRAPHS, REPORT[0]]) is None
    assert draw_headline(REPORT) is None
    one_thread = PHOTOGRAPHS.model_copy(update={"threads": 1})
    figure = draw_headline([one_thread, PHOTOGRAPHS, *REPORT])
    assert figure is not None
    text = words(figure)
    assert "About report-float32, 2 threads" in text
    assert "About imagenet-375x500, 2 threads" in text


def test_a_peer_without_any_row_and_a_case_without_any() -> None:
    nobody = case()
    assert "Gone" in page(record(nobody))
    encode_png(draw_workload([nobody]))
    encode_png(draw_workload([REPORT[0], case(row("late", 1.0), workload="report-float32", batch_size=16)]))


def test_what_is_written_can_be_read(tmp_path: Path) -> None:
    whole = record(*REPORT, PHOTOGRAPHS)
    for count in range(1, len(whole.cases) + 1):
        write_results(whole.model_copy(update={"cases": whole.cases[:count]}), tmp_path)
    assert PeersRecord.read(tmp_path / "peers.json") == whole
    assert (tmp_path / "peers.md").read_text(encoding="utf-8") == page(whole)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        "peers.json", "peers.md", "headline.png", "report-float32-threads-2.png", "imagenet-375x500-threads-2.png",
    }  # fmt: skip
    with Image.open(tmp_path / "headline.png") as picture:
        assert picture.width > 1000


def test_the_lists_say_what_there_is() -> None:
    text = printed(workloads_table(), 200) + printed(peers_table(), 200)
    for name in ("report-float32", "imagenet-stream", "10,000, in batches", "torchvision-chw", "yes"):
        assert name in text
