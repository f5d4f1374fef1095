"""Count what stages cost per image: multiplications, and bytes that pass between memory and processor.

Nothing is measured. An operator reads the input that it needs and writes its output once
(:class:`~onelayer.algebra.Cost`); an activation is part of the operator next to it. Where there is none, the activation
itself reads and writes the image once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onelayer.algebra import Operator, Program, Stage
from onelayer.algebra.operator import samples_of
from onelayer.frontends import Derived, ImageSpec, PixelType, Step

BYTES: dict[PixelType, int] = {"uint8": 1, "float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}
"""Bytes per value."""


@dataclass(frozen=True)
class CostPerImage:
    """The cost of one image.

    Args:
        multiplications: Multiplications by weights, as in :class:`~onelayer.algebra.Cost`.
        samples: Number of values read and written.
        bytes: Bytes read and written, in the dtypes that the values are stored in.
    """

    multiplications: int
    samples: int
    bytes: int

    def __add__(self, other: CostPerImage) -> CostPerImage:
        return CostPerImage(
            self.multiplications + other.multiplications, self.samples + other.samples, self.bytes + other.bytes
        )


FREE = CostPerImage(0, 0, 0)


def cost_of_step(step: Step, stages: Sequence[Stage]) -> CostPerImage:
    """Count the cost of a transform by itself, as the original runs it.

    Values between several stages of one transform are counted in the narrower of the transform's two dtypes, so that
    the savings of fusing are not overstated.

    Args:
        step: The transform.
        stages: All stages of the derived program.
    """
    of_step = [stages[index] for index in step.stages]
    between = min(step.input_spec.dtype, step.output_spec.dtype, key=BYTES.__getitem__)
    return total(_each(of_step, step.input_spec, step.output_spec, between), step.input_spec, step.output_spec)


def cost_before(derived: Derived) -> CostPerImage:
    """Count the cost of the transforms one after the other, each by itself."""
    return sum((cost_of_step(step, derived.program.stages) for step in derived.steps), FREE)


def costs_of_stages(program: Program, input_spec: ImageSpec, output_spec: ImageSpec) -> tuple[CostPerImage, ...]:
    """Count the cost of each stage of a simplified program, with values of the computing dtype between stages."""
    return _each(program.stages, input_spec, output_spec, _computed_in(input_spec))


def total(each: Sequence[CostPerImage], input_spec: ImageSpec, output_spec: ImageSpec) -> CostPerImage:
    """Add the costs of stages; where there are none, count the conversion of the dtype, if there is one."""
    if not each and input_spec.dtype != output_spec.dtype:
        return _pass(input_spec, output_spec)
    return sum(each, FREE)


def _each(
    stages: Sequence[Stage], input_spec: ImageSpec, output_spec: ImageSpec, between: PixelType
) -> tuple[CostPerImage, ...]:
    operators = [at for at, stage in enumerate(stages) if isinstance(stage, Operator)]
    if not operators:
        return tuple(_pass(input_spec, output_spec) if at == 0 else FREE for at in range(len(stages)))
    weight = BYTES[_computed_in(input_spec)]
    each = []
    for at, stage in enumerate(stages):
        if not isinstance(stage, Operator):
            each.append(FREE)
            continue
        written, image = samples_of(stage.out_shape), stage.bias_samples
        read = stage.cost.samples - written - image
        read_bytes = read * BYTES[input_spec.dtype if at == operators[0] else between]
        written_bytes = written * BYTES[output_spec.dtype if at == operators[-1] else between]
        moved = read_bytes + image * weight + written_bytes
        each.append(CostPerImage(stage.cost.multiplications, stage.cost.samples, moved))
    return tuple(each)


def _computed_in(input_spec: ImageSpec) -> PixelType:
    return "float64" if input_spec.dtype == "float64" else "float32"


def _pass(input_spec: ImageSpec, output_spec: ImageSpec) -> CostPerImage:
    read, written = samples_of(input_spec.shape), samples_of(output_spec.shape)
    return CostPerImage(0, read + written, read * BYTES[input_spec.dtype] + written * BYTES[output_spec.dtype])
