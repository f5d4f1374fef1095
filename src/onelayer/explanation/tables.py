"""An explanation as tables, laid out once for the terminal, for plain text and for notebooks."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined
from rich import box
from rich.console import Console, Group, JustifyMethod, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from onelayer.algebra import Shape
from onelayer.frontends import ImageSpec

if TYPE_CHECKING:
    from onelayer.explanation.explained import Explanation, Part, StageRow, TransformRow
    from onelayer.explanation.words import Taps

_ABSENT = "–"
_WIDTH = 120
"""Characters of a line of plain text."""
_HOW_COUNTED = (
    "Counted for one image, not measured: before, each transform reads its input and writes its output; "
    "after, each stage."
)


@dataclass(frozen=True)
class Column:
    """A column of text, or of numbers, which stand to the right."""

    name: str
    numbers: bool = False
    width: int | None = None
    """Characters that it has in a terminal; None for as many as there is room for."""


@dataclass(frozen=True)
class Layout:
    """One table: a title, the columns, and rows of as many texts."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]


def for_terminal(explanation: Explanation) -> RenderableType:
    """The tables for Rich; readable from 80 columns on."""
    foot = Text(f"Backend {explanation.backend}.\n{_HOW_COUNTED}", style="dim")
    return Group(Text(_heading(explanation), style="bold"), Text(), *map(_rich_table, _layouts(explanation)), foot)


def as_text(explanation: Explanation) -> str:
    """The same without colours, in lines of 120 characters."""
    page = io.StringIO()
    # Neither a notebook nor the environment may change what a string is.
    console = Console(
        file=page, width=_WIDTH, force_terminal=False, force_jupyter=False, legacy_windows=False, _environ={}
    )
    console.print(for_terminal(explanation), highlight=False)
    return "\n".join(line.rstrip() for line in page.getvalue().splitlines())


def as_html(explanation: Explanation) -> str:
    """The same as HTML, every text escaped."""
    return _ENVIRONMENT.get_template("explanation.html.j2").render(
        heading=_heading(explanation),
        tables=_layouts(explanation),
        backend=explanation.backend,
        how_counted=_HOW_COUNTED,
    )


_ENVIRONMENT = Environment(
    loader=PackageLoader("onelayer.explanation"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def _heading(explanation: Explanation) -> str:
    which = f", image {explanation.output} of {explanation.outputs}" if explanation.outputs > 1 else ""
    transforms = _counted(len(explanation.transforms), "transform")
    stages = _counted(len(explanation.stages), "stage")
    return f"{transforms} → {stages}: {_kind(explanation.given)} → {_kind(explanation.result)}{which}"


def _layouts(explanation: Explanation) -> list[Layout]:
    layouts = [_transforms(explanation), _stages(explanation), _rewrites(explanation), _totals(explanation)]
    return [layout for layout in layouts if layout.rows]


def _transforms(explanation: Explanation) -> Layout:
    columns = (
        Column("#", numbers=True),
        Column("Transform", width=len("interpolation=bilinear,")),
        Column("Takes → gives"),
        Column("Becomes"),
        Column("Taps", numbers=True),
        Column("Multipl.", numbers=True),
        Column("In stage", numbers=True),
    )
    return Layout("Transforms", columns, tuple(map(_transform_row, explanation.transforms)))


def _transform_row(row: TransformRow) -> tuple[str, ...]:
    return (
        str(row.place),
        _name_and_arguments(row),
        _change(row.before, row.after),
        "; ".join(map(_part, row.parts)) or "nothing",
        _taps_of_parts(row.parts),
        f"{row.totals.multiplications:,}",
        ", ".join(map(str, row.stages)) or ("dropped" if row.parts else _ABSENT),
    )


def _name_and_arguments(row: TransformRow) -> str:
    arguments = row.text.removeprefix(row.name).removeprefix("(").removesuffix(")")
    return f"{row.name}\n{arguments}".rstrip()


def _part(part: Part) -> str:
    return f"{part.words} (dropped)" if part.dropped else part.words


def _taps_of_parts(parts: tuple[Part, ...]) -> str:
    every = [part.taps for part in parts if part.taps is not None]
    # Next to a resize, that a scale has one tap is no news.
    wide = [taps for taps in every if taps != (1, 1)]
    return ", ".join(dict.fromkeys(map(_taps, wide or every))) or _ABSENT


def _stages(explanation: Explanation) -> Layout:
    columns = (
        Column("Stage", numbers=True),
        Column("Does"),
        Column("Takes → gives"),
        Column("From #", numbers=True),
        Column("Taps", numbers=True),
        Column("Multipl.", numbers=True),
        Column("Bytes", numbers=True),
    )
    return Layout("Stages", columns, tuple(map(_stage_row, explanation.stages)))


def _stage_row(row: StageRow) -> tuple[str, ...]:
    shapes = (
        _shape(row.in_shape) if row.in_shape == row.out_shape else f"{_shape(row.in_shape)} → {_shape(row.out_shape)}"
    )
    return (
        str(row.place),
        row.words,
        shapes,
        _places(row.transforms) or "result",
        _taps(row.taps),
        f"{row.totals.multiplications:,}",
        f"{row.totals.bytes:,}",
    )


def _rewrites(explanation: Explanation) -> Layout:
    rows = tuple(
        (
            rewrite.rule if rewrite.done else f"not: {rewrite.rule}",
            _places(rewrite.transforms) or "result",
            rewrite.reason,
        )
        for rewrite in explanation.rewrites
    )
    return Layout("Why", (Column("Rewrite"), Column("Of #"), Column("Because")), rows)


def _totals(explanation: Explanation) -> Layout:
    before, after = explanation.before, explanation.after
    columns = (Column("Per image"), *(Column(name, numbers=True) for name in ("Before", "After", "Before ÷ after")))
    rows = (
        ("multiplications", before.multiplications, after.multiplications),
        ("values read and written", before.samples, after.samples),
        ("bytes read and written", before.bytes, after.bytes),
    )
    texts = tuple((name, f"{was:,}", f"{now:,}", f"{was / now:.2f}" if now else _ABSENT) for name, was, now in rows)
    return Layout("Cost", columns, texts)


def _change(before: ImageSpec, after: ImageSpec) -> str:
    """What arrives, and of what leaves, what is new."""
    new = [now for was, now in zip(_facts(before), _facts(after), strict=True) if was != now]
    return _kind(before) + (f"\n→ {' '.join(new)}" if new else "")


def _kind(given: ImageSpec) -> str:
    return " ".join(_facts(given))


def _facts(given: ImageSpec) -> tuple[str, str, str]:
    return _shape(given.shape), given.dtype, "PIL" if given.container == "pil" else given.container


def _shape(shape: Shape) -> str:
    return "×".join(map(str, shape))


def _taps(taps: Taps) -> str:
    match taps:
        case None:
            return _ABSENT
        case (rows, cols):
            return f"{rows} × {cols}"
        case _:
            return f"{taps:,.1f}"


def _places(places: tuple[int, ...]) -> str:
    """``0–3, 5``."""
    groups: list[list[int]] = []
    for place in places:
        if groups and place == groups[-1][-1] + 1:
            groups[-1].append(place)
        else:
            groups.append([place])
    return ", ".join(f"{group[0]}–{group[-1]}" if len(group) > 2 else ", ".join(map(str, group)) for group in groups)


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _rich_table(layout: Layout) -> RenderableType:
    table = Table(
        title=layout.title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
    )
    for column in layout.columns:
        justify: JustifyMethod = "right" if column.numbers else "left"
        table.add_column(column.name, justify=justify, no_wrap=column.numbers, overflow="fold", width=column.width)
    for row in layout.rows:
        # Text, not str: a repr in square brackets is no markup.
        table.add_row(*map(Text, row))
    return Padding(table, (0, 0, 1, 0), expand=False)
