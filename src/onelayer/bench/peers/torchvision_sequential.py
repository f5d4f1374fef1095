"""torchvision's v2 transforms, image by image, as a data set applies them; of a batch, stacked again."""

from __future__ import annotations

import torch

from onelayer.bench.peers.peer import Images
from onelayer.bench.peers.torch_peer import Function, TorchPeer, chw, hwc
from onelayer.bench.peers.transforms import v2_transforms
from onelayer.bench.peers.work import Work


def _make(work: Work, images: Images, device: torch.device) -> Function:  # noqa: ARG001 - one for all devices
    transforms = v2_transforms(work)

    def stacked(batch: torch.Tensor) -> torch.Tensor:
        return torch.stack([transforms(image) for image in batch])

    return transforms if images.ndim == 3 else stacked


PEER = TorchPeer("torchvision", "torchvision v2, HWC", _make, hwc)

PEER_CHW = TorchPeer("torchvision-chw", "torchvision v2, CHW", _make, chw)
