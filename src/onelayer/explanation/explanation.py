"""The explanation of a pipeline: plain data that prints as tables."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from onelayer.algebra import Program, Shape
from onelayer.algebra.operator import Footprint
from onelayer.errors import require
from onelayer.explanation import tables
from onelayer.explanation.cost import CostPerImage
from onelayer.frontends import ImageSpec

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import RenderableType


@dataclass(frozen=True)
class TransformStage:
    """One of the stages that a transform became, before any was fused or dropped.

    Args:
        description: Effect of the stage, in words.
        taps: Input pixels per output value: (rows, columns), a mean number, or None for what acts on single values.
        stages: Indices of the stages of the final program that it went into; none if it was dropped.
        dropped: Reason for dropping it; None if it was not dropped.
    """

    description: str
    taps: Footprint
    stages: tuple[int, ...]
    dropped: str | None


@dataclass(frozen=True)
class TransformRow:
    """One transform of the pipeline.

    Args:
        index: Index in the pipeline, from 0, with nested containers flattened.
        name: Name of its class or function.
        text: Its ``repr`` in one line, shortened.
        input_spec: The image that arrives.
        output_spec: The image that leaves.
        parts: The stages that it became; none for a transform that changes no value.
        cost: Cost of the transform by itself.
    """

    index: int
    name: str
    text: str
    input_spec: ImageSpec
    output_spec: ImageSpec
    parts: tuple[TransformStage, ...]
    cost: CostPerImage

    @property
    def stages(self) -> tuple[int, ...]:
        """Indices of the stages of the final program that it went into; none if it changes no value or was dropped."""
        return tuple(sorted({stage for part in self.parts for stage in part.stages}))


@dataclass(frozen=True)
class StageRow:
    """One stage of the final program.

    Args:
        index: Index in the program, from 0.
        description: Effect of the stage, in words.
        taps: Input pixels per output value, as in :class:`TransformStage`.
        in_shape: Channels, height and width of its input.
        out_shape: Channels, height and width of its output.
        transforms: Indices of the transforms in it; none for the rounding of a uint8 result.
        cost: Cost of the stage.
    """

    index: int
    description: str
    taps: Footprint
    in_shape: Shape
    out_shape: Shape
    transforms: tuple[int, ...]
    cost: CostPerImage


@dataclass(frozen=True)
class Rewrite:
    """A rewrite of the program that was done, or refused.

    Args:
        rule: Name of the rule.
        done: Whether it was done.
        transforms: Indices of the transforms concerned.
        reason: Reason for doing or refusing it.
    """

    rule: str
    done: bool
    transforms: tuple[int, ...]
    reason: str


@dataclass(frozen=True)
class Explanation:
    """What a pipeline became for one kind of image.

    ``print`` shows it as tables, and so do Rich and notebooks; :meth:`figure` draws its weights.

    Args:
        input_spec: The image that arrives at the pipeline.
        output_spec: The image that leaves it.
        output: Index of the explained image among those that leave; 0 but for pipelines with a ``FiveCrop`` or
            ``TenCrop``.
        outputs: Number of images that leave.
        transforms: The transforms in order.
        stages: The stages of the final program in order.
        rewrites: The rewrites that turned the one into the other, and those that were refused.
        cost_before: Cost of the transforms, each by itself.
        cost_after: Cost of the final program.
        backend: Name of the backend, its method, and the reason for choosing it.
        sizes: What happens for images of other sizes, on the CPU.
        program: The final program itself.
    """

    input_spec: ImageSpec
    output_spec: ImageSpec
    output: int
    outputs: int
    transforms: tuple[TransformRow, ...]
    stages: tuple[StageRow, ...]
    rewrites: tuple[Rewrite, ...]
    cost_before: CostPerImage
    cost_after: CostPerImage
    backend: str
    sizes: str
    program: Program = field(repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Convert everything but the program to dictionaries, lists, numbers and strings, as in JSON."""
        fields = [each.name for each in dataclasses.fields(self) if each.name != "program"]
        plain: dict[str, Any] = json.loads(json.dumps({name: getattr(self, name) for name in fields}, default=_plain))
        return plain

    def figure(self, pixels: Sequence[tuple[int, int]] | None = None, channel: int = 0) -> Figure:
        """Draw the weights: the maps of rows and columns as matrices, and the windows that single output pixels read.

        In a program with activations between its operators, the output pixels are those of the operators up to the
        first such activation. A long axis is drawn thinned, and says so.

        Args:
            pixels: Output pixels as (row, column); by default the centre and two corners.
            channel: Output channel of these pixels.

        Raises:
            OnelayerError: If there is no such output pixel or channel, or matplotlib is not installed.
        """
        # Matplotlib takes most of a second to import, which a table does not need, and comes with an extra.
        require("matplotlib", extra="reproduce", purpose="Drawing the weights")
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
