"""Lay an explanation out as tables: for the terminal, as plain text, and as HTML for notebooks."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, JustifyMethod, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from onelayer.algebra import Shape
from onelayer.frontends import ImageSpec

if TYPE_CHECKING:
    from onelayer.algebra.operator import Footprint
    from onelayer.explanation.explanation import Explanation, StageRow, TransformRow, TransformStage
    from onelayer.explanation.pieces import PiecewiseExplanation

_ABSENT = "–"
_WIDTH = 120
"""Characters per line of plain text."""
_BETWEEN = 3
"""Characters between two columns."""
_LONGEST_WORD = 24
"""Length above which a word may be broken."""
_PIECES = "The pipeline runs in pieces: what cannot be compiled is called as it is, and the result is the same."
_HOW_COUNTED = (
    "Counted for one image, not measured: before, each transform reads its input and writes its output; "
    "after, each stage."
)


@dataclass(frozen=True)
class Column:
    """A column of text, or of numbers, which are aligned right and never broken.

    Args:
        name: Heading.
        least: Width that text needs to be readable; None for numbers.
    """

    name: str
    least: int | None = None

    @property
    def is_numbers(self) -> bool:
        """Whether the column holds numbers."""
        return self.least is None


@dataclass(frozen=True)
class Layout:
    """A table that becomes a list of blocks where it would be too wide.

    Args:
        title: Title.
        columns: Columns.
        rows: Rows with one cell per column.
        named_by: Number of columns, from the left, that name a row; they head its block.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    named_by: int

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        widths = self._widths(options.max_width)
        yield Text(self.title, style="bold")
        yield Padding(self._blocks() if widths is None else self._table(widths), (0, 0, 1, 0), expand=False)

    def _widths(self, available: int) -> list[int] | None:
        """Share the width out between the columns; None where it is not enough."""
        every = [(column, [column.name, *(row[at] for row in self.rows)]) for at, column in enumerate(self.columns)]
        wanted = [max(cell_len(line) for cell in cells for line in cell.splitlines()) for _, cells in every]
        least = [
            wide if column.least is None else min(wide, max(column.least, min(_longest_word(cells), _LONGEST_WORD)))
            for wide, (column, cells) in zip(wanted, every, strict=True)
        ]
        spare = available - sum(least) - _BETWEEN * (len(least) - 1)
        if spare < 0:
            return None
        missing = sum(wanted) - sum(least)
        share = min(1.0, spare / missing) if missing else 0.0
        return [low + int(share * (wide - low)) for wide, low in zip(wanted, least, strict=True)]

    def _table(self, widths: list[int]) -> Table:
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
        for column, width in zip(self.columns, widths, strict=True):
            justify: JustifyMethod = "right" if column.is_numbers else "left"
            table.add_column(column.name, justify=justify, overflow="fold", width=width)
        for row in self.rows:
            # Text, not str: a repr in square brackets is no markup.
            table.add_row(*map(Text, row))
        return table

    def _blocks(self) -> Group:
        blocks: list[RenderableType] = []
        for row in self.rows:
            cells = Table.grid(padding=(0, 2, 0, 0))
            cells.add_column(style="dim", no_wrap=True)
            cells.add_column(overflow="fold")
            for column, cell in zip(self.columns[self.named_by :], row[self.named_by :], strict=True):
                cells.add_row(column.name, Text(" ".join(cell.split())))
            heading = Table.grid(*[""] * self.named_by, padding=(0, 2, 0, 0))
            heading.add_row(*map(Text, row[: self.named_by]))
            blocks += [heading, Padding(cells, (0, 0, 0, 3), expand=False)]
        return Group(*blocks)


def _longest_word(cells: list[str]) -> int:
    return max(cell_len(word) for cell in cells for word in cell.split())


def for_terminal(explanation: Explanation) -> RenderableType:
    """Make the tables for Rich; where one is too wide, its rows become blocks, and no number is ever cut."""
    foot = Text(f"Backend {explanation.backend}.\nSizes: {explanation.sizes}.\n{_HOW_COUNTED}", style="dim")
    return Group(Text(_heading(explanation), style="bold"), Text(), *_layouts(explanation), foot)


def pieces_for_terminal(explanation: PiecewiseExplanation) -> RenderableType:
    """Make the table of the pieces for Rich, and behind it the tables of each that is compiled."""
    each = [
        part for piece in explanation.pieces if piece.explanation is not None for part in (Text(), piece.explanation)
    ]
    return Group(Text(_PIECES, style="bold"), Text(), _pieces(explanation), *each)


def pieces_as_html(explanation: PiecewiseExplanation) -> str:
    """Format the table of the pieces as HTML, and behind it the tables of each that is compiled."""
    each = "".join(as_html(piece.explanation) for piece in explanation.pieces if piece.explanation is not None)
    return f"<div>\n<p><strong>{escape(_PIECES)}</strong></p>\n{_html_table(_pieces(explanation))}{each}\n</div>"


def _pieces(explanation: PiecewiseExplanation) -> Layout:
    columns = (
        Column("#"),
        Column("Transforms", least=16),
        Column("Run", least=8),
        Column("Takes → gives", least=19),
        Column("ms"),
        Column("Because", least=24),
    )
    rows = tuple(
        (
            _ranges(piece.transforms),
            ", ".join(piece.names),
            "as it is" if piece.reason else "compiled" if piece.explanation is not None else "kernel",
            f"{piece.takes}\n→ {piece.gives}",
            f"{piece.milliseconds:.3f}",
            piece.reason or _ABSENT,
        )
        for piece in explanation.pieces
    )
    return Layout("Pieces", columns, rows, named_by=2)


def as_text(explanation: Explanation | PiecewiseExplanation) -> str:
    """Format the tables without colours, in lines of 120 characters."""
    page = io.StringIO()
    # Neither a notebook nor the environment may change what a string is.
    console = Console(
        file=page, width=_WIDTH, force_terminal=False, force_jupyter=False, legacy_windows=False, _environ={}
    )
    console.print(explanation, highlight=False)
    return "\n".join(line.rstrip() for line in page.getvalue().splitlines())


def as_html(explanation: Explanation) -> str:
    """Format the tables as HTML, every text escaped."""
    tables = "".join(map(_html_table, _layouts(explanation)))
    lines = f"Backend {explanation.backend}.", f"Sizes: {explanation.sizes}.", _HOW_COUNTED
    foot = f"<p>{'<br>'.join(map(escape, lines))}</p>"
    return f"<div>\n<p><strong>{escape(_heading(explanation))}</strong></p>\n{tables}{foot}\n</div>"


def _html_table(layout: Layout) -> str:
    sides = ["right" if column.is_numbers else "left" for column in layout.columns]
    head = "".join(
        f'<th style="text-align: {side};">{escape(column.name)}</th>'
        for side, column in zip(sides, layout.columns, strict=True)
    )
    rows = "".join(
        "<tr>"
        + "".join(
            f'<td style="text-align: {side}; vertical-align: top; white-space: pre-line;">{escape(cell)}</td>'
            for side, cell in zip(sides, row, strict=True)
        )
        + "</tr>\n"
        for row in layout.rows
    )
    return (
        '<table style="margin: 0 0 1em 0; border-collapse: collapse;">\n'
        f'<caption style="caption-side: top; text-align: left; font-weight: bold;">{escape(layout.title)}</caption>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table>\n"
    )


def _heading(explanation: Explanation) -> str:
    which = f", image {explanation.output} of {explanation.outputs}" if explanation.outputs > 1 else ""
    transforms = _counted(len(explanation.transforms), "transform")
    stages = _counted(len(explanation.stages), "stage")
    return f"{transforms} → {stages}: {_describe(explanation.input_spec)} → {_describe(explanation.output_spec)}{which}"


def _layouts(explanation: Explanation) -> list[Layout]:
    layouts = [_transforms(explanation), _stages(explanation), _rewrites(explanation), _totals(explanation)]
    return [layout for layout in layouts if layout.rows]


def _transforms(explanation: Explanation) -> Layout:
    columns = (
        Column("#"),
        Column("Transform", least=20),
        Column("Takes → gives", least=19),
        Column("Becomes", least=20),
        Column("Taps"),
        Column("Multipl."),
        Column("In stage"),
    )
    return Layout("Transforms", columns, tuple(map(_transform_row, explanation.transforms)), named_by=2)


def _transform_row(row: TransformRow) -> tuple[str, ...]:
    return (
        str(row.index),
        _name_and_arguments(row),
        _change(row.input_spec, row.output_spec),
        "; ".join(map(_part, row.parts)) or "nothing",
        _taps_of_parts(row.parts),
        f"{row.cost.multiplications:,}",
        _ranges(row.stages) or ("dropped" if row.parts else _ABSENT),
    )


def _name_and_arguments(row: TransformRow) -> str:
    arguments = row.text.removeprefix(row.name).removeprefix("(").removesuffix(")")
    return f"{row.name}\n{arguments}".rstrip()


def _part(part: TransformStage) -> str:
    return f"{part.description} (dropped)" if part.dropped else part.description


def _taps_of_parts(parts: tuple[TransformStage, ...]) -> str:
    every = [part.taps for part in parts if part.taps is not None]
    # Next to a resize, that a scale has one tap is no news.
    wide = [taps for taps in every if taps != (1, 1)]
    return ", ".join(dict.fromkeys(map(_taps, wide or every))) or _ABSENT


def _stages(explanation: Explanation) -> Layout:
    columns = (
        Column("Stage"),
        Column("Does", least=16),
        Column("Takes → gives", least=10),
        Column("From #"),
        Column("Taps"),
        Column("Multipl."),
        Column("Bytes"),
    )
    return Layout("Stages", columns, tuple(map(_stage_row, explanation.stages)), named_by=2)


def _stage_row(row: StageRow) -> tuple[str, ...]:
    shapes = (
        _shape(row.in_shape) if row.in_shape == row.out_shape else f"{_shape(row.in_shape)} → {_shape(row.out_shape)}"
    )
    return (
        str(row.index),
        row.description,
        shapes,
        _ranges(row.transforms) or "result",
        _taps(row.taps),
        f"{row.cost.multiplications:,}",
        f"{row.cost.bytes:,}",
    )


def _rewrites(explanation: Explanation) -> Layout:
    rows = tuple(
        (
            rewrite.rule if rewrite.done else f"not: {rewrite.rule}",
            _ranges(rewrite.transforms) or "result",
            rewrite.reason,
        )
        for rewrite in explanation.rewrites
    )
    columns = (Column("Rewrite", least=10), Column("Of #"), Column("Because", least=20))
    return Layout("Why", columns, rows, named_by=1)


def _totals(explanation: Explanation) -> Layout:
    before, after = explanation.cost_before, explanation.cost_after
    columns = (Column("Per image", least=14), *map(Column, ("Before", "After", "Before ÷ after")))
    rows = (
        ("multiplications", before.multiplications, after.multiplications),
        ("values read and written", before.samples, after.samples),
        ("bytes read and written", before.bytes, after.bytes),
    )
    texts = tuple((name, f"{was:,}", f"{now:,}", f"{was / now:.2f}" if now else _ABSENT) for name, was, now in rows)
    return Layout("Cost", columns, texts, named_by=1)


def _change(input_spec: ImageSpec, output_spec: ImageSpec) -> str:
    """Describe the image that arrives, and what differs in the one that leaves."""
    new = [now for was, now in zip(_facts(input_spec), _facts(output_spec), strict=True) if was != now]
    return _describe(input_spec) + (f"\n→ {' '.join(new)}" if new else "")


def _describe(spec: ImageSpec) -> str:
    return " ".join(_facts(spec))


def _facts(spec: ImageSpec) -> tuple[str, str, str]:
    return _shape(spec.shape), spec.dtype, "PIL" if spec.container == "pil" else spec.container


def _shape(shape: Shape) -> str:
    return "×".join(map(str, shape))


def _taps(taps: Footprint) -> str:
    match taps:
        case None:
            return _ABSENT
        case (rows, cols):
            return f"{rows} × {cols}"
        case _:
            return f"{taps:,.1f}"


def _ranges(indices: tuple[int, ...]) -> str:
    """Format indices: ``0–3, 5``."""
    groups: list[list[int]] = []
    for index in indices:
        if groups and index == groups[-1][-1] + 1:
            groups[-1].append(index)
        else:
            groups.append([index])
    return ", ".join(f"{group[0]}–{group[-1]}" if len(group) > 2 else ", ".join(map(str, group)) for group in groups)


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
