"""The whole work as one matrix product in PyTorch: what a learned layer does, with weights that are right."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from onelayer.bench.peers import dense_weights
from onelayer.bench.peers.peer import Images
from onelayer.bench.peers.torch_peer import Function, TorchPeer, chw
from onelayer.bench.peers.work import Work


def _make(work: Work, images: Images, device: torch.device) -> Function:
    channels, height, width = images.shape[-3:]
    weight, bias = (
        torch.from_numpy(values).to(device)
        for values in dense_weights.of(work, (channels, height, width), images.dtype)
    )
    out_shape = dense_weights.out_shape(work, height, width)

    def product(given: torch.Tensor) -> torch.Tensor:
        return F.linear(given.flatten(-3).float(), weight, bias).view(*given.shape[:-3], *out_shape)

    def rounded(given: torch.Tensor) -> torch.Tensor:
        return product(given).round_().clamp_(0, 255).to(torch.uint8)

    return rounded if images.dtype == torch.uint8 and work.mean is None else product


PEER = TorchPeer("dense", "dense layer, torch", _make, chw, dense_weights.why_not, packages=("torch",))
