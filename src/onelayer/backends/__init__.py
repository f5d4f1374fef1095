"""Programs as functions on tensors, one module for each way to compute them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch

from onelayer.backends import numba_cpu, reference, torch_eager
from onelayer.errors import OnelayerError
from onelayer.operators import Program

BackendName = Literal["auto", "numba", "torch", "reference"]
Chosen = Literal["numba", "torch", "reference"]

Apply = Callable[[torch.Tensor], torch.Tensor]

Lower = Callable[[Program, torch.device, torch.dtype], Apply]
"""Takes a program, the device of the images, and the dtype to compute in. Gives a function of images [..., C, H, W] of
any dtype to [..., C', H', W'] of the one computed in, or of uint8 where the program ends with a rounding to that."""

_LOWER: dict[Chosen, Lower] = {"numba": numba_cpu.lower, "torch": torch_eager.lower, "reference": reference.lower}

WORKS_BY: dict[Chosen, str] = {
    "numba": "one fused kernel on the CPU",
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
        reason = numba_cpu.why_not(program, device, dtype)
        return Choice("numba", "it is the fastest here") if reason is None else Choice("torch", reason)
    if name == "numba" and (reason := numba_cpu.why_not(program, device, dtype)) is not None:
        raise OnelayerError(
            f"the backend 'numba' cannot run this pipeline: {reason}",
            hint="Use backend='auto', which then takes PyTorch, or backend='torch'.",
        )
    return Choice(name, "")


def lower(name: Chosen, program: Program, device: torch.device, dtype: torch.dtype) -> Apply:
    """Turn a program into a function on tensors, by the backend of that name; see ``Lower``."""
    return _LOWER[name](program, device, dtype)


def check_name(name: str) -> None:
    """Make sure that there is such a backend.

    Raises:
        OnelayerError: If there is not.
    """
    if name not in get_args(BackendName):
        raise OnelayerError(f"there is no backend {name!r}", expected=" or ".join(map(repr, get_args(BackendName))))
