"""Make plans: functions that compute what a pipeline makes of images of one size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from onelayer.algebra import Range
from onelayer.any_size import AnySizePipeline
from onelayer.backends import Apply, BackendName, LoweringTarget, choose
from onelayer.backends.kernel_memory import only_for_pytorch
from onelayer.backends.portable import Step, portable_steps
from onelayer.backends.target import computes_in, with_out
from onelayer.copying import CopyPipeline
from onelayer.errors import OnelayerError
from onelayer.frontends import ImageSpec, RoundingMode
from onelayer.frontends.base import Draw
from onelayer.images.containers import TORCH_DTYPES, check_memory, format_of, image_of
from onelayer.memory_limits import refuse_impossible
from onelayer.programs import ANY_FLOAT, Output, Source, Transforms

PLANS = 64
"""Number of plans that a layer keeps: the images of a data set differ in size."""

PLAN_BYTES = 128 << 20
"""Maximum number of bytes of these plans. Most are a few arrays of O(height + width) numbers; rotations have taps for
every pixel, and constant padding has an image."""

Plan = Callable[[torch.Tensor, torch.Tensor | None], Any]
"""Takes pixels [..., C, H, W], and memory for the result or None, and returns what the transforms would."""


def lowering_target(
    spec: ImageSpec, output: Output, device: torch.device, threads: int | None = None
) -> LoweringTarget:
    """Return what the program of an output is lowered for, where the images lie on a device."""
    dtype = computes_in(spec, output.spec, output.rounding)
    return LoweringTarget(device, dtype, TORCH_DTYPES[output.spec.dtype], threads)


def new_plan(
    source: Source, spec: ImageSpec, device: torch.device, backend: BackendName, threads: int | None
) -> tuple[Plan, int]:
    """Make the plan of a pipeline for images of a spec on a device, and count its bytes.

    Raises:
        OnelayerError: If the source has nothing for such images, or the backend cannot run it.
    """
    outputs = source.outputs(spec)
    for output in outputs.each:
        refuse_impossible("a result", output.spec.shape, TORCH_DTYPES[output.spec.dtype].itemsize)
    each = [
        (_lowered(output, spec, lowering_target(spec, output, device, threads), backend), output.spec)
        for output in outputs.each
    ]

    def single(pixels: torch.Tensor, out: torch.Tensor | None) -> Any:
        ((apply, output_spec),) = each
        if out is not None:
            check_memory(out, (*pixels.shape[:-3], *output_spec.shape), output_spec, pixels)
        return image_of(apply(pixels, out), output_spec)

    def several(pixels: torch.Tensor, out: torch.Tensor | None) -> Any:
        if out is not None:
            raise OnelayerError(
                f"out= was given, and the result is a tuple of {len(each)} images", hint="Leave it out."
            )
        return tuple(image_of(apply(pixels), output_spec) for apply, output_spec in each)

    def stacked(pixels: torch.Tensor, out: torch.Tensor | None) -> Any:
        if out is None:
            return torch.stack([image_of(apply(pixels), output_spec) for apply, output_spec in each])  # type: ignore[misc]
        output_spec = each[0][1]
        check_memory(out, (len(each), *pixels.shape[:-3], *output_spec.shape), output_spec, pixels)
        for (apply, _), part in zip(each, out, strict=True):
            apply(pixels, part)
        return out

    plan: Plan = {"one": single, "tuple": several, "stacked": stacked}[outputs.joined]
    draws = source.draws(spec)
    # The kernels have numbers of their own besides the program's.
    return _drawing(plan, draws) if draws else plan, 2 * outputs.nbytes


def portable_output(source: Source, spec: ImageSpec, rounding: RoundingMode | None) -> tuple[Output, tuple[Step, ...]]:
    """Find what comes out for an image of a spec, and the steps that compute it with plain operators.

    Args:
        source: Source of the program.
        spec: The image.
        rounding: Rounding of the result; None for the source's.

    Raises:
        OnelayerError: If the source has nothing for such images, or of another rounding; if several images come out; or
            if plain operators cannot compute it.
    """
    if rounding is not None and isinstance(source, Transforms):
        source = Transforms(source.transform, rounding)
    outputs = source.outputs(spec)
    if len(outputs.each) > 1:
        raise OnelayerError(
            f"the pipeline makes {len(outputs.each)} images of each",
            expected="a pipeline that makes one",
            hint="Put the crops into pipelines of their own.",
        )
    (output,) = outputs.each
    if rounding not in (None, output.rounding):
        raise OnelayerError(f"the layer was saved with rounding={output.rounding!r}", expected="that, or None")
    low, high = (-ANY_FLOAT, ANY_FLOAT) if spec.is_float else (0.0, 255.0)
    program = output.simplified.program
    return output, portable_steps(program, Range.of(spec.shape[0], low, high), output.rounding)


def _drawing(plan: Plan, draws: Sequence[Draw]) -> Plan:
    def run(pixels: torch.Tensor, out: torch.Tensor | None) -> Any:
        result = plan(pixels, out)
        for draw in draws:
            draw()
        return result

    return run


class DrawingPipeline:
    """A pipeline for images of any size that draws the random numbers of the original, of which none matters.

    Args:
        pipeline: The pipeline.
        draws: Functions that draw.
    """

    def __init__(self, pipeline: AnySizePipeline | CopyPipeline, draws: Sequence[Draw]) -> None:
        self.pipeline = pipeline
        self._draws = draws

    def __call__(self, image: Any, out: torch.Tensor | None) -> Any:
        """Compute the result of an image, or return None; see :class:`~onelayer.any_size.AnySizePipeline`."""
        result = self.pipeline(image, out)
        if result is not None:
            for draw in self._draws:
                draw()
        return result


def _lowered(output: Output, spec: ImageSpec, target: LoweringTarget, backend: BackendName) -> Apply:
    program = output.simplified.program
    # Without stages a copy, as most transforms return one even where they change nothing.
    apply = choose(backend, program, target).lower() if program.stages else with_out(torch.clone, target)
    if spec.container in ("pil", "numpy") and output.spec.container == "tensor":
        # Their memory is HWC; what ToTensor returns is not.
        return lambda pixels, out=None: apply(pixels, out) if out is not None else apply(pixels).contiguous()
    return _keeping_channels_last(apply) if spec.container == "tensor" else apply


def _keeping_channels_last(apply: Apply) -> Apply:
    """Keep the memory format, as torchvision does: of a batch in channels_last the result is in channels_last."""

    def run(images: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
        result = apply(images, out)
        if out is not None or only_for_pytorch(images):
            return result
        return result.contiguous(memory_format=format_of(images))

    return run
