"""What ``identify()`` returns: the program that does what the function does, and the evidence for it."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Literal, final

from rich import box
from rich.console import Console, Group
from rich.table import Table

from onelayer.algebra import Operator, Program, Quantize, Range, Separable, simplify
from onelayer.frontends import ImageSpec
from onelayer.identification.evidence import Evidence
from onelayer.layer import OneLayer
from onelayer.programs import Output, Outputs, SavedPrograms

How = Literal["constant", "separable", "local", "dense"]

_WIDTH = 110
"""Characters of the text form."""


@final
@dataclass(frozen=True, eq=False, repr=False)
class Identified:
    """A function that was identified by what it makes of images.

    Attributes:
        given: What the function takes.
        after: What it gives.
        program: The same in the operator algebra.
        operator: Its linear part, with what is added, in real arithmetic, in units of the output.
        how: What kind of operator it is.
        words: Name of each part → what it does, in words: ``rows``, ``columns``, ``channels``, ``rounding``, …
        largest_error: Of any output value of twenty fresh images, in units of the output.
        typical_error: Root mean square of the same.
        differing: Share of these output values that are off by more than float32 rounding, 0 … 1.
        output_range: The largest range of the outputs of one channel that was seen.
        evidence: The tests that were passed.
        images: Images that the function was given.
        calls: Times that it was called; fewer than images if it takes batches.
        seconds: That it all took, the function's own time included.
    """

    given: ImageSpec
    after: ImageSpec
    program: Program
    operator: Operator
    how: How
    words: dict[str, str]
    largest_error: float
    typical_error: float
    differing: float
    output_range: float
    evidence: tuple[Evidence, ...]
    images: int
    calls: int
    seconds: float

    def layer(self) -> OneLayer:
        """The program on the fused kernels, for what the function takes; :func:`onelayer.save` keeps it."""
        low, high = (-_ANY_FLOAT, _ANY_FLOAT) if self.given.is_float else (0.0, 255.0)
        simplified = simplify(self.program, Range.of(self.given.shape[0], low, high))
        bytes_only = self.given.dtype == "uint8" and _in_bytes(simplified.program)
        output = Output(simplified, self.after, "exact" if bytes_only else "fused")
        return OneLayer(SavedPrograms({self.given: Outputs((output,), "one")}, "identified"))

    def to_text(self) -> str:
        """The tables, as plain text."""
        console = Console(file=io.StringIO(), width=_WIDTH, color_system=None, legacy_windows=False)
        with console.capture() as capture:
            console.print(self)
        return "\n".join(line.rstrip() for line in capture.get().rstrip().splitlines())

    def __rich__(self) -> Group:
        table = Table(title="Identified", box=box.SIMPLE_HEAD, show_header=False)
        table.add_column(no_wrap=True)
        table.add_column()
        for name, kind in (("takes", self.given), ("gives", self.after)):
            table.add_row(name, f"{'×'.join(map(str, kind.shape))} {kind.dtype} ({kind.container})")
        table.add_row("kind", self.how)
        for name, words in self.words.items():
            table.add_row(name, words)
        share = self.largest_error / self.output_range if self.output_range else 0.0
        table.add_row("largest error", f"{self.largest_error:.3g}, {share:.2g} of the outputs' range, on fresh images")
        table.add_row("typical error", f"{self.typical_error:.3g}")
        table.add_row("values that differ", f"{self.differing:.3%}")
        table.add_row("took", f"{self.images:,} images in {self.calls:,} calls, {self.seconds:.1f} s")
        tests = Table("Test", box=box.SIMPLE_HEAD)
        for name in ("Measured", "Allowed"):
            tests.add_column(name, justify="right", no_wrap=True)
        for one in self.evidence:
            tests.add_row(one.test, f"{one.measured:.3g}", f"{one.allowed:.3g}")
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
