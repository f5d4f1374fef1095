"""onelayer in plain PyTorch, where no kernel of its own can run."""

from __future__ import annotations

import torch

from onelayer.bench.peers.peer import Images
from onelayer.bench.peers.torch_peer import Function, TorchPeer
from onelayer.bench.peers.transforms import v2_transforms
from onelayer.bench.peers.work import Work
from onelayer.layer import compile as compile_transforms


def _make(work: Work, images: Images, device: torch.device) -> Function:  # noqa: ARG001 - a plan for each of them
    return compile_transforms(v2_transforms(work), rounding="fused", backend="torch")


PEER = TorchPeer("onelayer-torch", "onelayer, backend torch", _make, packages=("onelayer", "torch"))
