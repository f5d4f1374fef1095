"""torchvision's v2 transforms on whole batches."""

from __future__ import annotations

import torch

from onelayer.bench.peers.peer import Images
from onelayer.bench.peers.torch_peer import Function, TorchPeer, chw, hwc
from onelayer.bench.peers.transforms import v2_transforms
from onelayer.bench.peers.work import Work


def _make(work: Work, images: Images, device: torch.device) -> Function:  # noqa: ARG001 - one for all images and devices
    transforms: Function = v2_transforms(work)
    return transforms


def _refuse(work: Work, images: Images) -> str | None:  # noqa: ARG001 - the signature of all refusals
    return "the images come one by one, and one by one it does what torchvision does" if images.ndim == 3 else None


PEER = TorchPeer("torchvision-batched", "torchvision v2, batches, CHW", _make, chw, _refuse)

PEER_HWC = TorchPeer("torchvision-batched-hwc", "torchvision v2, batches, HWC", _make, hwc, _refuse)
