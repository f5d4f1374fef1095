"""Turn programs into functions on tensors, and choose the backend that computes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal, get_args

import torch

from onelayer.algebra import Program
from onelayer.backends import reference
from onelayer.backends.cpu import program as cpu
from onelayer.backends.pytorch import lowering as pytorch
from onelayer.backends.segments import segment_of_pixels
from onelayer.backends.target import Apply, ComputeAnySize, LoweringTarget
from onelayer.backends.triton import launch as triton
from onelayer.backends.triton.proof import problem_on
from onelayer.errors import OnelayerError
from onelayer.frontends.placement import OPENCV, Sums
from onelayer.frontends.structure import Structure

if TYPE_CHECKING:
    from onelayer.backends.cpu.drawing import Drawing

BackendName = Literal["auto", "numba", "triton", "torch", "reference"]
Chosen = Literal["numba", "triton", "torch", "reference"]

__all__ = [
    "DESCRIPTIONS",
    "Apply",
    "BackendName",
    "Choice",
    "Chosen",
    "ComputeAnySize",
    "LoweringTarget",
    "any_size_problem",
    "check_name",
    "choose",
    "lower_any_size",
    "lower_drawing",
]


def _prepare_torch(program: Program, target: LoweringTarget) -> Callable[[], Apply]:
    return partial(pytorch.lower, program, target)


def _prepare_reference(program: Program, target: LoweringTarget) -> Callable[[], Apply]:
    return partial(reference.lower, program, target)


_PREPARE: dict[Chosen, Callable[[Program, LoweringTarget], Callable[[], Apply] | str]] = {
    "numba": cpu.prepare,
    "triton": triton.prepare,
    "torch": _prepare_torch,
    "reference": _prepare_reference,
}
"""For each backend a function that returns one which lowers a program, or the reason why the backend cannot run it."""

DESCRIPTIONS: dict[Chosen, str] = {
    "numba": "one fused kernel on the CPU",
    "triton": "one fused kernel on the GPU",
    "torch": "small matrix products and gathers in PyTorch, on the device of the image",
    "reference": "NumPy in float64, slow and simple",
}
"""What each backend does, as a phrase for users."""


@dataclass(frozen=True)
class Choice:
    """Backend that runs a program.

    Args:
        name: Name of the backend.
        reason: Reason of the choice, as a phrase for users; empty where the backend was asked for by name.
        lower: Turns the program into a function on tensors.
    """

    name: Chosen
    reason: str
    lower: Callable[[], Apply]


def choose(name: BackendName, program: Program, target: LoweringTarget) -> Choice:
    """Choose the backend for a program: the one that is named, or with ``auto`` the fastest that can run it.

    Raises:
        OnelayerError: If there is no such backend, or it cannot run the program.
    """
    check_name(name)
    if name == "auto":
        fastest: Chosen = "triton" if target.device.type == "cuda" else "numba"
        lower = _PREPARE[fastest](program, target)
        if not isinstance(lower, str) and fastest == "triton" and (problem := problem_on(target.device)) is not None:
            lower = f"the kernel has not proved itself on this device: {problem}"
        if isinstance(lower, str):
            return Choice("torch", lower, _prepare_torch(program, target))
        return Choice(fastest, "it is the fastest here", lower)
    lower = _PREPARE[name](program, target)
    if isinstance(lower, str):
        raise OnelayerError(
            f"the backend {name!r} cannot run this pipeline: {lower}",
            hint="Use backend='auto', which then takes PyTorch, or backend='torch'.",
        )
    return Choice(name, "", lower)


def any_size_problem(name: BackendName, structure: Structure, target: LoweringTarget) -> str | None:
    """Return the reason why images of each size take a program of their own, as far as it is known without lowering."""
    if name not in ("auto", "numba"):
        return f"the backend {name!r} computes programs for one size"
    if target.device.type != "cpu":
        return f"on {target.device.type} kernels compute programs for one size"
    if structure.rounding == "exact":
        return None
    if target.dtype != torch.float32:
        return f"the kernels compute in float32, not in {str(target.dtype).removeprefix('torch.')}"
    segment = segment_of_pixels(structure)
    return segment if isinstance(segment, str) else None


def lower_any_size(
    name: BackendName, structure: Structure, target: LoweringTarget
) -> tuple[ComputeAnySize, torch.dtype] | str:
    """Lower a pipeline for images of any size.

    Args:
        name: Backend.
        structure: The pipeline.
        target: What it is lowered for.

    Returns:
        A function that computes, and the dtype that it writes; or the reason why each size takes a program of its own.
    """
    if (problem := any_size_problem(name, structure, target)) is not None:
        return problem
    # Only here, because it takes half a second to import Numba.
    if structure.rounding == "exact" and _is_opencv(structure):
        from onelayer.backends.cpu.opencv_any_size import lower_any_size as lower
    elif structure.rounding == "exact":
        from onelayer.backends.cpu.any_size import lower_any_size as lower
    else:
        from onelayer.backends.cpu.float_any_size import lower_any_size as lower
    return lower(structure, target)


def lower_drawing(structure: Structure) -> Drawing | None:
    """Return what draws the moves of a pipeline, in compiled code on the CPU; None if there is nothing quicker."""
    from onelayer.backends.cpu.drawing import lower_drawing as lower

    return lower(structure)


def _is_opencv(structure: Structure) -> bool:
    """Whether a pipeline of bytes is for the kernel with OpenCV's arithmetic, which alone writes pixels."""
    if structure.sums is None:
        return structure.output_spec.container == "numpy"
    return isinstance(structure.sums, Sums) and structure.sums.name in OPENCV


def check_name(name: str) -> None:
    """Check that there is a backend of a name.

    Raises:
        OnelayerError: If there is not.
    """
    if name not in get_args(BackendName):
        raise OnelayerError(f"there is no backend {name!r}", expected=" or ".join(map(repr, get_args(BackendName))))
