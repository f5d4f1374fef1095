"""onelayer as it is by default for uint8 images: torchvision's result in every bit."""

from __future__ import annotations

import torch

from onelayer.bench.peers.peer import Images
from onelayer.bench.peers.torch_peer import Function, TorchPeer
from onelayer.bench.peers.transforms import v2_transforms
from onelayer.bench.peers.work import Work
from onelayer.layer import compile as compile_transforms


def _make(work: Work, images: Images, device: torch.device) -> Function:  # noqa: ARG001 - a plan for each of them
    return compile_transforms(v2_transforms(work), rounding="exact")


def _why_not(work: Work, images: Images) -> str | None:  # noqa: ARG001 - the signature of all refusals
    return None if images.dtype == torch.uint8 else "its rounding is that of uint8 images"


PEER = TorchPeer("onelayer-exact", "onelayer, bit for bit", _make, refuse=_why_not, packages=("onelayer", "numba"))
