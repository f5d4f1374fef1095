"""The tables as people see them."""

from __future__ import annotations

import io
import re
from html.parser import HTMLParser

import pytest
import torch
from rich.console import Console
from torch import nn
from torchvision.transforms import v2

from onelayer import pipelines
from onelayer.algebra import Stage
from onelayer.explanation import Explanation, explain
from onelayer.frontends import ImageSpec, register
from onelayer.frontends.base import HANDLERS


class Cells(HTMLParser):
    """The texts of the cells of all tables, and the names of all elements."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.elements: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_data(self, data: str) -> None:
        if self.cells:
            self.cells[-1] += data.strip("\n")


@pytest.fixture(scope="module")
def report() -> Explanation:
    return explain(pipelines.report_transform(), (3, 32, 32))


@pytest.fixture(scope="module")
def timm() -> Explanation:
    return explain(
        pipelines.named("timm-vit").transform, (3, 375, 500), dtype="uint8", container="pil", rounding="fused"
    )


def test_the_text_has_every_transform_and_the_totals(report: Explanation) -> None:
    text = str(report)
    assert text.splitlines()[0] == "4 transforms → 1 stage: 3×32×32 float32 tensor → 1×28×28 float32 tensor"
    for name in ("Resize", "Grayscale", "RandomHorizontalFlip", "RandomVerticalFlip"):
        assert name in text
    lines = [line.split() for line in text.splitlines()]
    assert ["multiplications", "17,472", "8,112", "2.15"] in lines
    assert ["bytes", "read", "and", "written", "46,784", "15,424", "3.03"] in lines
    assert max(map(len, text.splitlines())) <= 120
    assert "\x1b" not in text


def test_the_text_does_not_depend_on_the_terminal(report: Explanation, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = str(report)
    for name, value in {"COLUMNS": "40", "FORCE_COLOR": "1", "JUPYTER_COLUMNS": "40", "TERM": "dumb"}.items():
        monkeypatch.setenv(name, value)
    assert str(report) == plain


def test_numbers_are_whole_at_any_width(report: Explanation, timm: Explanation) -> None:
    for explanation in (report, timm):
        for width in (40, 60, 80, 100, 120):
            page = io.StringIO()
            Console(file=page, width=width, _environ={}).print(explanation)
            text = page.getvalue()
            assert max(map(len, text.splitlines())) <= width
            assert not re.search(r"\S…", text), "a cell was cut off"
            every = [*explanation.transforms, *explanation.stages]
            numbers = {f"{row.cost.multiplications:,}" for row in every}
            numbers |= {f"{row.cost.bytes:,}" for row in explanation.stages}
            numbers |= {
                f"{getattr(explanation.cost_before, name):,}" for name in ("multiplications", "samples", "bytes")
            }
            numbers |= {"×".join(map(str, row.output_spec.shape)) for row in explanation.transforms}
            for number in numbers:
                assert re.search(rf"(?<![\d,]){number}(?![\d,])", text), f"{number} is broken at {width} columns"


def test_rows_become_blocks_where_a_table_is_too_wide(report: Explanation) -> None:
    def shown(width: int) -> list[str]:
        page = io.StringIO()
        Console(file=page, width=width, _environ={}).print(report)
        return [line.rstrip() for line in page.getvalue().splitlines()]

    block = ["0  Resize", "   Taps           3 × 3"]
    assert set(block) <= set(shown(80))
    assert any(line.startswith("   size=[28, 28], interpolation=") for line in shown(80))
    assert not set(block) & set(shown(120))
    # Only the tables that are too wide: the stages fit into 80 columns, not into 60.
    assert any(line.split()[:2] == ["Stage", "Does"] for line in shown(80))
    assert "0  resample 32×32 → 28×28, mix channels 3→1" in shown(60)


def test_colours_are_rich_ones(report: Explanation) -> None:
    page = io.StringIO()
    Console(file=page, width=100, force_terminal=True, _environ={"TERM": "xterm-256color"}).print(report)
    assert "\x1b[1m" in page.getvalue()


def test_html_has_what_the_text_has(timm: Explanation) -> None:
    parsed = Cells(timm._repr_html_())
    assert {"table", "tr", "td"} <= parsed.elements
    assert not {"script", "style", "link", "img"} & parsed.elements
    for cell in ("Resize\nsize=[248], interpolation=BICUBIC, antialias=True", "4,317,390", "7 × 7", "0, 1", "1–4"):
        assert cell in parsed.cells
    # As many cells as the table of transforms has columns, once per transform and in its head.
    assert parsed.cells[:7] == ["#", "Transform", "Takes → gives", "Becomes", "Taps", "Multipl.", "In stage"]


class LikeMarkup(nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image

    def extra_repr(self) -> str:
        return "<script>alert(1)</script> & [red]'\""


def test_names_are_no_markup() -> None:
    @register(LikeMarkup)
    def handler(_: LikeMarkup, given: ImageSpec) -> tuple[list[Stage], ImageSpec]:
        return [], given

    try:
        explanation = explain(v2.Compose([LikeMarkup()]), (3, 17, 11))
    finally:
        del HANDLERS[LikeMarkup]
    page = explanation._repr_html_()
    assert "<script>" not in page
    assert "LikeMarkup\n<script>alert(1)</script> & [red]'\"" in Cells(page).cells
    assert "[red]" in str(explanation)
