"""Programs as functions on tensors, one module for each way to compute them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch

from onelayer.algebra import Program
from onelayer.backends import reference
from onelayer.backends.cpu import program as numba_cpu
from onelayer.backends.pytorch import lowering as pytorch
from onelayer.backends.target import Apply, Lower, LoweringTarget
from onelayer.backends.triton import launch as triton_cuda
from onelayer.errors import OnelayerError

BackendName = Literal["auto", "numba", "triton", "torch", "reference"]
Chosen = Literal["numba", "triton", "torch", "reference"]

__all__ = ["WORKS_BY", "Apply", "BackendName", "Choice", "Chosen", "LoweringTarget", "check_name", "choose", "lower"]


_LOWER: dict[Chosen, Lower] = {
    "numba": numba_cpu.lower,
    "triton": triton_cuda.lower,
    "torch": pytorch.lower,
    "reference": reference.lower,
}

_WHY_NOT: dict[Chosen, Callable[[Program, torch.device, torch.dtype], str | None]] = {
    "numba": numba_cpu.why_not,
    "triton": triton_cuda.why_not,
}
"""Why a backend cannot run a program, for those that cannot run all."""

WORKS_BY: dict[Chosen, str] = {
    "numba": "one fused kernel on the CPU",
    "triton": "one fused kernel on the GPU",
    "torch": "small matrix products and gathers in PyTorch, on the device of the image",
    "reference": "NumPy in float64, slow and simple",
}
"""What each backend does, for people."""


@dataclass(frozen=True)
class Choice:
    """The backend that runs a program.

    Args:
        name: Of the backend.
        reason: Why it, as a phrase for people; empty where it was asked for by name.
    """

    name: Chosen
    reason: str


def choose(name: BackendName, program: Program, device: torch.device, dtype: torch.dtype) -> Choice:
    """The backend for a program: the one that was named, or with ``auto`` the fastest that can run it.

    Raises:
        OnelayerError: If the named one cannot run it.
    """
    check_name(name)
    if name == "auto":
        fastest: Chosen = "triton" if device.type == "cuda" else "numba"
        reason = _WHY_NOT[fastest](program, device, dtype)
        return Choice(fastest, "it is the fastest here") if reason is None else Choice("torch", reason)
    if name in _WHY_NOT and (reason := _WHY_NOT[name](program, device, dtype)) is not None:
        raise OnelayerError(
            f"the backend {name!r} cannot run this pipeline: {reason}",
            hint="Use backend='auto', which then takes PyTorch, or backend='torch'.",
        )
    return Choice(name, "")


def lower(name: Chosen, program: Program, setting: LoweringTarget) -> Apply:
    """Turn a program into a function on tensors, by the backend of that name."""
    return _LOWER[name](program, setting)


def check_name(name: str) -> None:
    """Make sure that there is such a backend.

    Raises:
        OnelayerError: If there is not.
    """
    if name not in get_args(BackendName):
        raise OnelayerError(f"there is no backend {name!r}", expected=" or ".join(map(repr, get_args(BackendName))))
