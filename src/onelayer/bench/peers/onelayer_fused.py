"""onelayer in real arithmetic, rounded once."""

from __future__ import annotations

from functools import cache

import torch

from onelayer.bench.peers.peer import Images
from onelayer.bench.peers.torch_peer import Function, TorchPeer
from onelayer.bench.peers.transforms import v2_transforms
from onelayer.bench.peers.work import Work
from onelayer.layer import compile as compile_transforms


def _make(work: Work, images: Images, device: torch.device) -> Function:  # noqa: ARG001 - a plan for each of them
    return compile_transforms(v2_transforms(work), rounding="fused")


def _make_there(work: Work, images: Images, device: torch.device) -> Function:
    layer = compile_transforms(v2_transforms(work), rounding="fused")

    @cache
    def memory(batch: torch.Size) -> torch.Tensor:
        example = torch.zeros((*batch, *images.shape[-3:]), dtype=images.dtype, device=device)
        return torch.empty_like(layer(example))

    return lambda one: layer(one, out=memory(one.shape[:-3]))


PEER = TorchPeer("onelayer", "onelayer", _make, packages=("onelayer", "numba"))
PEER_THERE = TorchPeer("onelayer-out", "onelayer, out= the same memory", _make_there, packages=("onelayer", "numba"))
