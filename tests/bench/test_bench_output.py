"""Tables, charts and the page of a benchmark, from a record made by hand."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from PIL import Image
from rich.console import Console
from rich.table import Table

from onelayer.bench.chart import HEADLINE_BARS, LINES, draw_headline, draw_workload
from onelayer.bench.page import markdown, write_results
from onelayer.bench.peers import PEERS, peers_table
from onelayer.bench.record import BenchmarkRecord, Case, Difference, NotMeasured, PeerDescription, Row
from onelayer.bench.table import case_table
from onelayer.bench.workloads import workloads_table
from onelayer.errors import OnelayerError
from onelayer.plotting import encode_png
from onelayer.records import Environment, Timing

ENVIRONMENT = Environment(
    versions={}, platform="Linux", cpu="Example CPU", logical_cores=2, torch_threads=2, cuda=None, commit=None
)


def timing(median: float) -> Timing:
    seconds = (median * 0.9, median, median * 1.2)
    return Timing(seconds=seconds, median=median, first_quartile=median * 0.95, third_quartile=median * 1.1)


def row(peer: str, milliseconds: float, images: int = 100, batch_size: int | None = None, error: float = 0.5) -> Row:
    return Row(
        peer=peer,
        images=images,
        batch_size=batch_size,
        timing=timing(milliseconds * images / 1000),
        difference=Difference(largest=error, mean=error / 10, images=32),
        versions={peer: "1.2.3"},
    )


def case(*rows: Row, workload: str = "imagenet-375x500", batch_size: int | None = None, threads: int = 2) -> Case:
    return Case(
        workload=workload,
        title=f"About {workload}, one size, repeated",
        device="cpu",
        batch_size=batch_size,
        threads=threads,
        images=100,
        floor=timing(0.005),
        rows=rows,
        not_measured=(NotMeasured(peer="gone", why="it is not installed"),),
    )


def record(*cases: Case) -> BenchmarkRecord:
    names = dict.fromkeys(row.peer for one in cases for row in one.rows)
    return BenchmarkRecord(
        created="2025-03-04T05:06:07+00:00",
        command="onelayer bench all",
        burn_in=1,
        repeats=3,
        environment=ENVIRONMENT,
        peers=tuple(PeerDescription(name=name, label=f"{name} | at [$large$]") for name in (*names, "gone")),
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
    assert "About imagenet-375x500, one size, repeated" in text, "sizes repeat, and the title says so"
    assert "imagenet-375x500, one by one, 2 threads" in text
    by_name = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.strip()}
    assert [name for name in by_name if name in ("floor", "onelayer", "middle", "slow")] == [
        "floor", "onelayer", "middle", "slow",
    ]  # fmt: skip
    assert by_name["floor"] == ["0.05", "0.25", "1.00"]
    assert by_name["onelayer"] == ["0.2", "1.00", "4.00", "4.6e-05", "4.6e-06"]
    assert by_name["middle"] == ["0.3", "1.50", "6.00", "12", "1.2"]
    assert by_name["slow"] == ["0.6*", "3.00", "12.0", "0.5", "0.05"]
    assert "* slow, and therefore timed over fewer images a pass" in text
    assert "not measured: gone: it is not installed" in text


def test_without_ours_or_a_floor_there_are_no_ratios_to_them() -> None:
    text = printed(case_table(case(row("middle", 0.3))))
    (line,) = (line.split() for line in text.splitlines() if "middle" in line)
    assert line == ["middle", "0.3", "6.00", "0.5", "0.05"]
    assert "slow" not in text
    text = printed(case_table(PHOTOGRAPHS.model_copy(update={"floor": None})))
    (line,) = (line.split() for line in text.splitlines() if "middle" in line)
    assert line == ["middle", "0.3", "1.50", "12", "1.2"]


def test_the_page() -> None:
    text = markdown(record(PHOTOGRAPHS, *REPORT))
    assert "`onelayer bench all` on Example CPU, 2 cores, 2025-03-04 05:06 UTC" in text
    assert "Versions: middle 1.2.3, onelayer 1.2.3, opencv 1.2.3, slow 1.2.3." in text
    for name in ("imagenet-375x500", "report-float32"):
        assert text.count(f"## About {name}, one size, repeated\n") == 1
    assert r"| **onelayer \| at [$large$]** | 0.2 | 0.19–0.22 | 1.00 | 4.00 | 4.6e-05 | 4.6e-06 |" in text
    assert r"| slow \| at [$large$] | 0.6\* | 0.57–0.66 | 3.00 | 12.0 | 0.5 | 0.05 |" in text
    assert "- gone | at [$large$]: it is not installed" in text
    for line in text.splitlines():
        if line.startswith("|"):
            assert line.replace(r"\|", "").count("|") == 8
    # A batch that was cut down counts as less, too.
    assert "### report-float32, batches of 64, 2 threads" in text
    assert r"0.816\*" in text
    assert r"0.925 |" in text


def texts(figure: Figure) -> str:
    figure.canvas.draw()  # type: ignore[attr-defined]
    found = figure.findobj(lambda each: hasattr(each, "get_text"))
    return "\n".join(str(text.get_text()) for text in found)  # type: ignore[attr-defined]


def test_bars_are_as_long_as_the_times_and_the_fastest_is_on_top() -> None:
    figure = draw_workload(record(PHOTOGRAPHS), "imagenet-375x500", 2)
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([0.2, 0.3, 0.6])  # type: ignore[attr-defined]
    assert axes.yaxis_inverted()
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        rf"{name} | at [\$large\$]" for name in ("onelayer", "middle", "slow")
    ]
    floor = next(line for line in axes.get_lines() if line.get_linestyle() == "--")
    assert list(floor.get_xdata()) == pytest.approx([0.05, 0.05])  # type: ignore[arg-type]
    text = texts(figure)
    assert "0.6  (3.00×)" in text
    assert "About imagenet-375x500, one size, repeated; 2 threads" in text


def test_several_batch_sizes_make_lines_besides_the_bars_of_the_usual_one() -> None:
    # A case of another number of threads has a chart of its own.
    figure = draw_workload(record(*REPORT, REPORT[0].model_copy(update={"threads": 1})), "report-float32", 2)
    bars, lines = figure.axes
    # 64 is nearer to 256 than 512.
    assert [bar.get_width() for bar in bars.patches] == pytest.approx([0.1 + 1 / 64, 0.8 + 1 / 64])  # type: ignore[attr-defined]
    drawn = {str(line.get_label()).split()[0]: line for line in lines.get_lines()}
    assert list(drawn) == ["opencv", "onelayer", "floor"], "the slowest on top"
    assert list(drawn["onelayer"].get_xdata()) == [8, 64, 512]  # type: ignore[arg-type]
    assert list(drawn["onelayer"].get_ydata()) == pytest.approx([0.1 + 1 / size for size in (8, 64, 512)])  # type: ignore[arg-type]


def test_the_headline_shows_a_few_peers_of_both_workloads() -> None:
    names = [peer.name for peer in PEERS]
    report = [
        case(*(row(name, 1 + place, batch_size=size) for place, name in enumerate(names)),
             workload="report-float32", batch_size=size)
        for size in (8, 64)
    ]  # fmt: skip
    photographs = case(*(row(name, 1 + place) for place, name in enumerate(names)))
    one_thread = photographs.model_copy(update={"threads": 1})
    figure = draw_headline(record(one_thread, photographs, *report))
    assert figure is not None
    text = texts(figure)
    assert "About report-float32, one size, repeated; 2 threads" in text
    assert "About imagenet-375x500, one size, repeated; 2 threads" in text
    bars, lines = figure.axes
    shown = [label.get_text().split()[0] for label in bars.get_yticklabels()]
    assert set(shown) == set(HEADLINE_BARS)
    assert len(shown) == len(lines.get_lines()) == 6
    assert {str(line.get_label()).split()[0] for line in lines.get_lines()} == {*LINES, "floor"}
    widths = {str(line.get_label()).split()[0]: line.get_linewidth() for line in lines.get_lines()}
    assert max(widths, key=widths.__getitem__) == shown[0] == "onelayer", "the default is the main one"
    for cases in ([], [PHOTOGRAPHS, REPORT[0]], REPORT):
        assert draw_headline(record(*cases)) is None


def test_a_case_without_any_row_and_a_peer_without_some() -> None:
    nobody = record(case())
    assert "gone" in markdown(nobody)
    assert encode_png(draw_workload(nobody, "imagenet-375x500", 2))
    some = record(REPORT[0], case(row("late", 1.0), workload="report-float32", batch_size=16))
    _, lines = draw_workload(some, "report-float32", 2).axes
    assert {len(line.get_xdata()) for line in lines.get_lines()} == {1, 2}  # type: ignore[arg-type]


def test_a_chart_without_matplotlib_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(OnelayerError, match=r"matplotlib, which is not installed.*'onelayer\[bench\]'"):
        draw_workload(record(PHOTOGRAPHS), "imagenet-375x500", 2)


def test_what_is_written_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onelayer.plotting.DOTS_PER_INCH", 30)
    whole = record(*REPORT, PHOTOGRAPHS)
    write_results(whole.model_copy(update={"cases": whole.cases[:3]}), tmp_path)
    write_results(whole, tmp_path)
    assert BenchmarkRecord.read(tmp_path / "peers.json") == whole
    assert (tmp_path / "peers.md").read_text(encoding="utf-8") == markdown(whole)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        "peers.json", "peers.md", "headline.png", "report-float32-threads-2.png", "imagenet-375x500-threads-2.png",
    }  # fmt: skip
    with Image.open(tmp_path / "headline.png") as picture:
        assert picture.width == 246, "eight inches"


def test_the_record_scales_times_to_all_images() -> None:
    slow = PHOTOGRAPHS.row("slow")
    assert slow is not None
    assert slow.per_image.median == pytest.approx(0.0006)
    assert PHOTOGRAPHS.timings["slow"].third_quartile == pytest.approx(4 * slow.timing.third_quartile)
    assert PHOTOGRAPHS.timings["onelayer"] == PHOTOGRAPHS.rows[1].timing, "not a bit is lost"
    assert record(PHOTOGRAPHS).not_measured == ("cuda",)


def test_records_of_nothing_are_refused(tmp_path: Path) -> None:
    whole = record(PHOTOGRAPHS)
    impossible = PHOTOGRAPHS.model_copy(update={"rows": (PHOTOGRAPHS.rows[0].model_copy(update={"images": 0}),)})
    whole.model_copy(update={"cases": (impossible,)}).write(tmp_path / "peers.json")
    with pytest.raises(OnelayerError, match=r"cases\.0\.rows\.0\.images"):
        BenchmarkRecord.read(tmp_path / "peers.json")


def test_the_lists_say_what_there_is() -> None:
    text = printed(workloads_table(), 200) + printed(peers_table(), 200)
    for name in ("report-float32", "imagenet-stream", "10,000, in batches", "torchvision-chw", "yes"):
        assert name in text
