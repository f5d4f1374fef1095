"""What ``recognise()`` returns: the structure that was found, and how far it is from what was learned."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import final

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from onelayer.algebra import Dense, Program, Range, Separable, simplify
from onelayer.algebra.operator import FloatArray, Shape
from onelayer.frontends import ImageSpec, PixelType
from onelayer.layer import OneLayer
from onelayer.programs import Output, Outputs, SavedPrograms

_WIDTH = 100
"""Characters of the text form."""
_ANY_FLOAT = 1e30
_DTYPES: tuple[PixelType, ...] = ("float32", "float64")


@final
@dataclass(frozen=True)
class Names:
    """What was recognised, in words; ``fitted: …`` where nothing known is near enough.

    Args:
        rows: Of the vertical axis.
        cols: Of the horizontal axis.
        channels: Of the channels.
        offset: Of what is added.
    """

    rows: str
    cols: str
    channels: str
    offset: str


@final
@dataclass(frozen=True)
class Residual:
    """How far the learned weights are from the recognised ones.

    Args:
        largest: The largest difference of two weights.
        rms: The root of the mean squared difference, over all weights.
        output: Channel, row and column of the output with the largest difference.
        input: Channel, row and column of the input that it weighs.
        on_images: Root mean squared difference of the outputs on images, in units of the output, by their covariance
            and mean; None where they are not known.
    """

    largest: float
    rms: float
    output: Shape
    input: Shape
    on_images: float | None


@final
@dataclass(frozen=True, eq=False, repr=False)
class Recognised:
    """A learned layer as channel ⊗ rows ⊗ cols.

    Attributes:
        operator: With the exact taps of what has a name, and fitted ones of what has none.
        names: In words.
        snapped: The factors that have a name and hence exact taps: of ``rows``, ``cols``, ``channels``.
        noise: Standard deviation of the weights of each output, float64 [C', H', W'].
        sparsity: Share of the learned weights that do not stand out of the noise, 0 … 1.
        singular_values: The largest ones of the learned weights, arranged as [H'·H, C'·C·W'·W]: one stands out if
            they are a Kronecker product.
        share: Of the energy that stands out of the noise, or of the energy on images where their covariance was given,
            the part that is in one Kronecker product; 0 … 1.
        residual: Learned weights less recognised ones.
    """

    operator: Separable
    names: Names
    snapped: tuple[str, ...]
    noise: FloatArray
    sparsity: float
    singular_values: FloatArray
    share: float
    residual: Residual

    def layer(self) -> OneLayer:
        """The operator on the fused kernels, for tensors [..., C, H, W] of float32 or float64."""
        programs = {}
        program = Program(self.operator.in_shape, (self.operator,))
        any_value = Range.of(self.operator.in_shape[0], -_ANY_FLOAT, _ANY_FLOAT)
        for dtype in _DTYPES:
            given = ImageSpec(self.operator.in_shape, dtype, "tensor")
            after = ImageSpec(self.operator.out_shape, dtype, "tensor")
            programs[given] = Outputs((Output(simplify(program, any_value), after),), "one")
        return OneLayer(SavedPrograms(programs, "recognised"))

    def to_text(self) -> str:
        """The table, as plain text."""
        console = Console(file=io.StringIO(), width=_WIDTH, color_system=None, legacy_windows=False)
        with console.capture() as capture:
            console.print(self)
        return "\n".join(line.rstrip() for line in capture.get().rstrip().splitlines())

    def __rich__(self) -> Table:
        table = Table(title="Recognised", box=box.SIMPLE_HEAD, show_header=False)
        table.add_column(no_wrap=True)
        table.add_column()
        into, out = ("×".join(map(str, shape)) for shape in (self.operator.in_shape, self.operator.out_shape))
        table.add_row("shape", f"{into} → {out}" + (", height and width swapped first" * self.operator.transpose))
        for name in ("rows", "cols", "channels", "offset"):
            table.add_row(name, getattr(self.names, name))
        table.add_row("noise of the weights", f"{float(np.median(self.noise)):.2g}")
        table.add_row("weights within the noise", f"{self.sparsity:.2%}")
        table.add_row("singular values", ", ".join(f"{value:.4g}" for value in self.singular_values))
        table.add_row("energy in one product", f"{self.share:.6%}")
        output, source = (", ".join(map(str, place)) for place in (self.residual.output, self.residual.input))
        table.add_row("largest difference", f"{self.residual.largest:.2g}, of output ({output}) to input ({source})")
        table.add_row("RMS difference", f"{self.residual.rms:.2g}")
        if self.residual.on_images is not None:
            table.add_row("RMS difference on images", f"{self.residual.on_images:.2g}")
        return table

    __str__ = __repr__ = to_text


def residual_of(
    learned: Dense, operator: Separable, covariance: FloatArray | None, mean: FloatArray | None
) -> Residual:
    """Compare learned weights with an operator.

    Args:
        learned: As it was learned.
        operator: What was recognised in it.
        covariance: Of images, [C·H·W, C·H·W]; None where it is not known.
        mean: Of images, [C·H·W]; None where it is not known.
    """
    recognised = operator.to_dense()
    difference = learned.weight - recognised.weight
    at, of = np.unravel_index(int(np.abs(difference).argmax()), difference.shape)
    on_images = None
    if covariance is not None:
        squared = float(np.vdot(difference, difference @ covariance))
        if mean is not None:
            apart = learned.bias - recognised.bias + difference @ mean
            squared += float(apart @ apart)
        on_images = float(np.sqrt(max(squared, 0.0) / len(difference)))
    return Residual(
        float(np.abs(difference[at, of])),
        float(np.sqrt(np.mean(difference**2))),
        _place(int(at), learned.out_shape),
        _place(int(of), learned.in_shape),
        on_images,
    )


def _place(index: int, shape: Shape) -> Shape:
    channel, row, col = (int(place) for place in np.unravel_index(index, shape))
    return channel, row, col
