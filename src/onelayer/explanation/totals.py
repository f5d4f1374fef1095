"""What stages cost: multiplications, and bytes that pass between memory and processor.

Counted for one image, and not measured. An operator reads the input that it needs and writes its output once
(:class:`~onelayer.algebra.Cost`); an activation rides along with an operator next to it. Where there is none, the
activation itself reads and writes the image once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onelayer.algebra import Operator, Program, Separable, SpatialSparse, Stage
from onelayer.algebra.operator import samples_of
from onelayer.frontends import Derived, ImageSpec, PixelType, Step

BYTES: dict[PixelType, int] = {"uint8": 1, "float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}
"""Of one value."""


@dataclass(frozen=True)
class Totals:
    """What one image costs.

    Args:
        multiplications: By weights, as in :class:`~onelayer.algebra.Cost`.
        samples: Numbers read and written.
        bytes: The same in bytes of the dtypes that they are kept in.
    """

    multiplications: int
    samples: int
    bytes: int

    def __add__(self, other: Totals) -> Totals:
        return Totals(
            self.multiplications + other.multiplications, self.samples + other.samples, self.bytes + other.bytes
        )


NOTHING = Totals(0, 0, 0)


def totals_of_step(step: Step, stages: Sequence[Stage]) -> Totals:
    """A transform by itself, as the original runs it.

    What passes between several stages of one transform is counted in the narrower of the transform's two dtypes, so
    that what fusing saves is not overstated.

    Args:
        step: The transform.
        stages: All stages of the program that was derived.
    """
    own = [stages[index] for index in step.stages]
    between = min(step.input_spec.dtype, step.output_spec.dtype, key=BYTES.__getitem__)
    return total(_each(own, step.input_spec, step.output_spec, between), step.input_spec, step.output_spec)


def totals_before(derived: Derived) -> Totals:
    """The transforms one after the other, each by itself."""
    return sum((totals_of_step(step, derived.program.stages) for step in derived.steps), NOTHING)


def totals_after(program: Program, given: ImageSpec, after: ImageSpec) -> tuple[Totals, ...]:
    """The stages of a simplified program; what passes between them is of the dtype that layers compute in."""
    return _each(program.stages, given, after, _computed_in(given))


def total(each: Sequence[Totals], before: ImageSpec, after: ImageSpec) -> Totals:
    """The sum over stages; where there are none, what a conversion of the dtype costs, if there is one."""
    if not each and before.dtype != after.dtype:
        return _pass(before, after)
    return sum(each, NOTHING)


def _each(stages: Sequence[Stage], before: ImageSpec, after: ImageSpec, between: PixelType) -> tuple[Totals, ...]:
    operators = [at for at, stage in enumerate(stages) if isinstance(stage, Operator)]
    if not operators:
        return tuple(_pass(before, after) if at == 0 else NOTHING for at in range(len(stages)))
    weight = BYTES[_computed_in(before)]
    each = []
    for at, stage in enumerate(stages):
        if not isinstance(stage, Operator):
            each.append(NOTHING)
            continue
        written, image = samples_of(stage.out_shape), _bias_image(stage)
        read = stage.cost.samples - written - image
        read_bytes = read * BYTES[before.dtype if at == operators[0] else between]
        written_bytes = written * BYTES[after.dtype if at == operators[-1] else between]
        moved = read_bytes + image * weight + written_bytes
        each.append(Totals(stage.cost.multiplications, stage.cost.samples, moved))
    return tuple(each)


def _bias_image(operator: Operator) -> int:
    if isinstance(operator, Separable | SpatialSparse) and operator.bias.ndim == 3:
        return operator.bias.size
    return 0


def _computed_in(given: ImageSpec) -> PixelType:
    return "float64" if given.dtype == "float64" else "float32"


def _pass(before: ImageSpec, after: ImageSpec) -> Totals:
    read, written = samples_of(before.shape), samples_of(after.shape)
    return Totals(0, read + written, read * BYTES[before.dtype] + written * BYTES[after.dtype])
