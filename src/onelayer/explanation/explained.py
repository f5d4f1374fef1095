"""An explanation: plain data, and how it shows itself."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from onelayer.algebra import Program, Shape
from onelayer.explanation import tables
from onelayer.explanation.totals import Totals
from onelayer.explanation.words import Taps
from onelayer.frontends import ImageSpec

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import RenderableType


@dataclass(frozen=True)
class Part:
    """One of the stages that a transform became, before any was fused or dropped.

    Args:
        words: What it does.
        taps: Its taps: (rows, columns), a mean number, or None for what acts on single values.
        stages: The stages of the final program that it went into, counted from 0; none if it was dropped.
        dropped: Why it was dropped; None if it was not.
    """

    words: str
    taps: Taps
    stages: tuple[int, ...]
    dropped: str | None


@dataclass(frozen=True)
class TransformRow:
    """One transform of the pipeline.

    Args:
        place: Counted from 0, out of nested containers.
        name: Its class or function.
        text: Its ``repr`` in one line, shortened.
        before: What arrives at it.
        after: What leaves it.
        parts: What it became; nothing for a transform that changes no value.
        totals: What it costs by itself.
    """

    place: int
    name: str
    text: str
    before: ImageSpec
    after: ImageSpec
    parts: tuple[Part, ...]
    totals: Totals

    @property
    def stages(self) -> tuple[int, ...]:
        """The stages of the final program that it went into; none if it changes no value or was dropped."""
        return tuple(sorted({stage for part in self.parts for stage in part.stages}))


@dataclass(frozen=True)
class StageRow:
    """One stage of the final program.

    Args:
        place: Counted from 0.
        words: What it does.
        taps: As for :class:`Part`.
        in_shape: Channels, height and width of what it takes.
        out_shape: Channels, height and width of what it gives.
        transforms: Places of the transforms in it; none for the rounding of a uint8 result.
        totals: What it costs.
    """

    place: int
    words: str
    taps: Taps
    in_shape: Shape
    out_shape: Shape
    transforms: tuple[int, ...]
    totals: Totals


@dataclass(frozen=True)
class Rewrite:
    """A rewrite that was done, or refused.

    Args:
        rule: Its name.
        done: Whether it was done.
        transforms: Places of the transforms concerned.
        reason: Why, or why not.
    """

    rule: str
    done: bool
    transforms: tuple[int, ...]
    reason: str


@dataclass(frozen=True)
class Explanation:
    """What a pipeline became for one kind of image.

    ``print`` shows it as tables, Rich and notebooks too; :meth:`figure` draws its weights.

    Args:
        given: What arrives at the pipeline.
        result: What leaves it.
        output: Which image, of those that come out; 0 but for pipelines with a ``FiveCrop`` or ``TenCrop``.
        outputs: How many images come out.
        transforms: The transforms in order.
        stages: The stages of the final program in order.
        rewrites: What turned the one into the other, and what was refused.
        before: What the transforms cost, each by itself.
        after: What the final program costs.
        backend: What runs it, and how.
        program: The final program itself.
    """

    given: ImageSpec
    result: ImageSpec
    output: int
    outputs: int
    transforms: tuple[TransformRow, ...]
    stages: tuple[StageRow, ...]
    rewrites: tuple[Rewrite, ...]
    before: Totals
    after: Totals
    backend: str
    program: Program = field(repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the program, as dictionaries, lists, numbers and texts that JSON has."""
        fields = [each.name for each in dataclasses.fields(self) if each.name != "program"]
        plain: dict[str, Any] = json.loads(json.dumps({name: getattr(self, name) for name in fields}, default=_plain))
        return plain

    def figure(self, pixels: Sequence[tuple[int, int]] | None = None, channel: int = 0) -> Figure:
        """Draw the weights: the maps of rows and columns as matrices, and what single output pixels read.

        Of a program with activations between its operators, the output pixels are those of the operators up to the
        first such activation, and so is what they read. A long axis is drawn thinned, and says so.

        Args:
            pixels: Output pixels as (row, column); by default the centre and two corners.
            channel: The output channel of these pixels.

        Raises:
            OnelayerError: If there is no such output pixel or channel.
        """
        # Matplotlib takes most of a second to import, which a table does not need.
        from onelayer.explanation.figure import draw

        return draw(self.program, pixels, channel)

    def __rich__(self) -> RenderableType:
        return tables.for_terminal(self)

    def __str__(self) -> str:
        return tables.as_text(self)

    def _repr_html_(self) -> str:
        return tables.as_html(self)


def _plain(value: Any) -> dict[str, Any]:
    return {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
