"""The result of ``identify()``: the program that does the same as the function, and the evidence for it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

from rich import box
from rich.console import Console, Group
from rich.table import Table

from onelayer.algebra import Operator, Program, Quantize, Range, Separable, simplify
from onelayer.frontends import ImageSpec
from onelayer.frontends.placement import Size
from onelayer.identification.evidence import Evidence, NotAffineError
from onelayer.layer import OneLayer
from onelayer.programs import Output, Outputs, SavedPrograms
from onelayer.recognition import AxisSteps

OperatorKind = Literal["constant", "separable", "local", "dense"]

_WIDTH = 110
"""Width of the text form in characters."""


@final
@dataclass(frozen=True, eq=False, repr=False)
class Identified:
    """A function that was identified from its outputs.

    Attributes:
        input_spec: Images that the function takes.
        output_spec: Images that it gives.
        program: Program that does the same, in the operator algebra.
        operator: Its affine part in real arithmetic, in units of the output.
        kind: Kind of that operator.
        description: Description of each part, by name of the part: ``rows``, ``columns``, ``channels``, ``rounding``, …
        axes: What happens along rows and columns; None for each that is no known map.
        largest_error: Largest error of any output value of twenty fresh images, in units of the output.
        typical_error: Root mean square error of these output values.
        mismatch_rate: Fraction of these output values that are off by more than float32 rounding, 0 … 1.
        output_range: Largest observed range of the outputs of one channel.
        evidence: Tests that were passed.
        images: Number of images that the function was asked about.
        calls: Number of calls; fewer than images if it takes batches.
        seconds: Seconds that it all took, the function's own time included.
    """

    input_spec: ImageSpec
    output_spec: ImageSpec
    program: Program
    operator: Operator
    kind: OperatorKind
    description: dict[str, str]
    axes: tuple[AxisSteps | None, AxisSteps | None]
    largest_error: float
    typical_error: float
    mismatch_rate: float
    output_range: float
    evidence: tuple[Evidence, ...]
    images: int
    calls: int
    seconds: float

    def layer(self) -> OneLayer:
        """Make a layer that runs the program on the fused kernels; :func:`onelayer.save` keeps it."""
        low, high = (-_ANY_FLOAT, _ANY_FLOAT) if self.input_spec.is_float else (0.0, 255.0)
        simplified = simplify(self.program, Range.of(self.input_spec.shape[0], low, high))
        bytes_only = self.input_spec.dtype == "uint8" and _in_bytes(simplified.program)
        output = Output(simplified, self.output_spec, "exact" if bytes_only else "fused")
        return OneLayer(SavedPrograms({self.input_spec: Outputs((output,), "one")}, "identified"))

    def to_text(self) -> str:
        """Return the tables as plain text."""
        console = Console(file=io.StringIO(), width=_WIDTH, color_system=None, legacy_windows=False)
        with console.capture() as capture:
            console.print(self)
        return "\n".join(line.rstrip() for line in capture.get().rstrip().splitlines())

    def __rich__(self) -> Group:
        table = Table(title="Identified", box=box.SIMPLE_HEAD, show_header=False)
        table.add_column(no_wrap=True)
        table.add_column()
        for name, spec in (("takes", self.input_spec), ("gives", self.output_spec)):
            table.add_row(name, f"{'×'.join(map(str, spec.shape))} {spec.dtype} ({spec.container})")
        table.add_row("kind", self.kind)
        for name, text in self.description.items():
            table.add_row(name, text)
        share = self.largest_error / self.output_range if self.output_range else 0.0
        table.add_row("largest error", f"{self.largest_error:.3g}, {share:.2g} of the outputs' range, on fresh images")
        table.add_row("typical error", f"{self.typical_error:.3g}")
        table.add_row("mismatch rate", f"{self.mismatch_rate:.3%}")
        table.add_row("took", f"{self.images:,} images in {self.calls:,} calls, {self.seconds:.1f} s")
        tests = Table("Test", box=box.SIMPLE_HEAD)
        for name in ("Measured", "Allowed"):
            tests.add_column(name, justify="right", no_wrap=True)
        for evidence in self.evidence:
            tests.add_row(evidence.test, f"{evidence.measured:.3g}", f"{evidence.allowed:.3g}")
        return Group(table, tests)

    __str__ = __repr__ = to_text


_ANY_FLOAT = 1e30


def _in_bytes(program: Program) -> bool:
    """Whether every sum is rounded to a byte at once, which the kernel for bytes needs."""
    stages = program.stages
    rounded = all(
        isinstance(after, Quantize)
        for stage, after in zip(stages, (*stages[1:], None), strict=True)
        if isinstance(stage, Operator) and not (isinstance(stage, Separable) and stage.is_choice)
    )
    return rounded and all(not isinstance(stage, Operator) or isinstance(stage, Separable) for stage in stages)


def unexplained(problem: str, found: Sequence[Identified]) -> NotAffineError:
    """Make the error for a function whose images of several sizes follow no known rule.

    Args:
        problem: What no rule explains.
        found: What was identified at each size.
    """
    seen = "; ".join(
        f"{'×'.join(map(str, size_of(each)))}: {each.description.get('rows')}, {each.description.get('columns')}"
        for each in found
    )
    return NotAffineError(
        f"{problem} (identified at {seen})",
        expected="a resize by the short side, the long side, to one size or by one ratio, then a window",
        hint="Identify it for each size by itself, or give examples of other sizes.",
    )


def size_of(found: Identified) -> Size:
    """Return height and width of the images that a function was identified at."""
    _, height, width = found.input_spec.shape
    return height, width


def steps_of(found: Identified) -> tuple[AxisSteps, AxisSteps]:
    """Return what happens along rows and columns.

    Raises:
        NotAffineError: If that is not a resize of the whole axis, a crop, a flip and a constant padding.
    """
    rows, cols = found.axes
    if rows is None or cols is None:
        raise unexplained("an axis is no known resize, crop or padding", [found])
    for axis in (rows, cols):
        if axis.first or axis.length != found.input_spec.shape[1 if axis is rows else 2]:
            raise unexplained("it crops before it resizes", [found])
        if axis.padding not in (None, "zero"):
            raise unexplained(f"it pads with {axis.padding}", [found])
    return rows, cols
