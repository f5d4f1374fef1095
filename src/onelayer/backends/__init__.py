"""Programs as functions on tensors, one module for each way to compute them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import torch

from onelayer.backends import reference, torch_eager
from onelayer.errors import OnelayerError
from onelayer.operators import Program

BackendName = Literal["torch", "reference"]

Lower = Callable[[Program, torch.device, torch.dtype], Callable[[torch.Tensor], torch.Tensor]]
"""Takes a program, the device of the images, and the dtype to compute in. Gives a function of images [..., C, H, W] of
any dtype to [..., C', H', W'] of the one computed in."""

_LOWER: dict[BackendName, Lower] = {"torch": torch_eager.lower, "reference": reference.lower}

WORKS_BY: dict[BackendName, str] = {
    "torch": "small matrix products and gathers in PyTorch, on the device of the image",
    "reference": "NumPy in float64, slow and simple",
}
"""What each backend does, for people."""


def lowering(name: BackendName) -> Lower:
    """The backend of that name.

    Raises:
        OnelayerError: If there is none.
    """
    if name not in _LOWER:
        raise OnelayerError(f"there is no backend {name!r}", expected=" or ".join(map(repr, get_args(BackendName))))
    return _LOWER[name]
