from __future__ import annotations

import io

import pytest
from rich.console import Console

from onelayer.reproduction.report import benchmark_table, metrics_table
from onelayer.reproduction.report.tables import METRICS_HEADER, metrics_rows, time_table


def marks(make, times) -> list[dict[str, str]]:
    table = time_table(make.benchmark(times))
    return [
        {peer: cell.mark for peer, cell in zip(table.peers, line.times, strict=True) if cell and cell.mark}
        for line in table.groups["CPU"]
    ]


@pytest.mark.parametrize(
    ("batched", "layer", "expected"),
    [
        (1.0, 2.0, {"batched transforms": "fastest"}),
        (2.0, 1.0, {"the layer": "fastest"}),
        (1.0, 1.01, {"batched transforms": "tie", "the layer": "tie"}),
    ],
)
def test_the_fastest_of_a_row_is_marked(make, batched, layer, expected):
    times = {8: {"sequential": make.timing(30.0), "batched": make.timing(batched), "layer": make.timing(layer)}}
    assert marks(make, times) == [expected]


def test_what_is_no_contender_is_never_marked(make):
    times = {8: {"layer": make.timing(1.0), "layer_on_device": make.timing(0.1)}}
    (line,) = time_table(make.benchmark(times, peers=(*make.peers, make.on_device))).groups["CPU"]
    assert [cell.mark for cell in line.times] == ["fastest", ""]


def test_rows_go_from_the_largest_batch_to_the_smallest(make):
    times = {size: {"layer": make.timing(1.0)} for size in (8, 1024, 64)}
    assert [line.batch_size for line in time_table(make.benchmark(times)).groups["CPU"]] == ["1024", "64", "8"]


def test_times_spreads_and_ratios(make):
    times = {
        16: {"sequential": make.timing(30.0), "batched": make.timing(0.5), "layer": make.timing(1.0, spread=0.1)},
        8: {"sequential": make.timing(20.0), "layer": make.timing(1.0)},
    }
    table = time_table(make.benchmark(times))
    assert table.peers == ("sequential transforms", "batched transforms", "the layer")
    assert table.ratios == ("sequential transforms ÷ the layer", "batched transforms ÷ the layer")
    first, second = table.groups["CPU"]
    assert [(cell.median, cell.spread) for cell in first.times] == [
        ("30,000", "29,400–30,600"),
        ("500.0", "490.0–510.0"),
        ("1,000", "900.0–1,100"),
    ]
    assert first.ratios == ("30.0", "0.50")
    assert second.times[1] is None
    assert second.ratios == ("20.0", "–")


def test_a_way_that_was_timed_nowhere_has_no_column(make):
    record = make.benchmark(make.times(), peers=(*make.peers, make.on_device))
    assert len(time_table(record).peers) == 3


def test_without_the_layer_there_are_no_ratios(make):
    table = time_table(make.benchmark({8: {"batched": make.timing(1.0)}}))
    assert (table.peers, table.ratios) == (("batched transforms",), ())


def test_devices_that_were_not_measured_say_why_where_it_is_known(make):
    times = {8: {"layer": make.timing(1.0)}}
    assert time_table(make.benchmark(times)).not_measured == {"CUDA": "not measured (no such device here)"}
    with_device = make.environment.model_copy(update={"cuda": "Example GPU"})
    assert time_table(make.benchmark(times, environment=with_device)).not_measured == {"CUDA": "not measured"}


def printed(table) -> str:
    console = Console(width=120, color_system=None)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_the_terminal_shows_the_benchmark(make):
    text = printed(benchmark_table(make.benchmark(make.times(batched=0.5, layer=1.0))))
    (row,) = [line for line in text.splitlines() if " 1024 " in line]
    assert row.split() == ["CPU", "1024", "30,000", "503.9", "*", "1,008", "29.8", "0.50"]
    assert "CUDA: not measured (no such device here)" in text
    tie = printed(benchmark_table(make.benchmark(make.times(batched=1.0, layer=1.0))))
    (row,) = [line for line in tie.splitlines() if " 1024 " in line]
    assert row.split()[2:6] == ["30,000", "1,008", "=", "1,008"]


def test_the_metrics_fit_into_80_columns(make):
    exact = make.layer("derived", mse=3.3e-15, ssim=0.99999, bound_grey_levels=1.6e-4)
    layers = make.layer(bound_grey_levels=2990.0), exact
    console = Console(file=io.StringIO(), width=80)
    console.print(metrics_table(make.metrics(*layers)))
    text = console.file.getvalue()
    assert "…" not in text
    assert "3.30×10⁻¹⁵" in text


def test_the_terminal_shows_the_metrics(make):
    exact = make.layer(
        "derived", mse=0.0, psnr_db=None, ssim=None, max_grey_levels=0.0, worst_image=0, bound_grey_levels=0.1401
    )
    record = make.metrics(make.layer(), exact)
    assert metrics_rows(record) == [
        ("derived", "0", "∞ dB", "not defined", "0", "0.15", "0"),
        ("learned", "1.90×10⁻⁵", "47.2 dB", "0.9987", "23.1", "–", "4711"),
    ]
    text = printed(metrics_table(record))
    # A heading breaks into lines between its words.
    for word in (*" ".join(METRICS_HEADER).split(), *metrics_rows(record)[0], *metrics_rows(record)[1]):
        assert word in text


def test_names_in_brackets_are_no_markup(make):
    assert "[bold]x[/]" in printed(metrics_table(make.metrics(make.layer("[bold]x[/]"))))
    peer = make.peers[0].model_copy(update={"label": "[red]y"})
    record = make.benchmark({8: {"sequential": make.timing(1.0)}}, peers=(peer,))
    assert "[red]y" in printed(benchmark_table(record))
