"""Kornia on PyTorch tensors, in batches.

Its antialiasing is a Gaussian blur before bilinear or bicubic interpolation, which is another filter than torchvision
has: values differ by more than rounding. Integers become floating point numbers first, as Kornia wants them.
"""

from __future__ import annotations

import torch

from onelayer.bench.peers.packages import missing
from onelayer.bench.peers.peer import Images
from onelayer.bench.peers.torch_peer import Function, TorchPeer, chw
from onelayer.bench.peers.work import Work


def _refuse(work: Work, images: Images) -> str | None:  # noqa: ARG001 - the signature of all refusals
    return missing("kornia")


def _make(work: Work, images: Images, device: torch.device) -> Function:
    import kornia  # only where it is installed

    ends_in_integers = work.mean is None and not images.dtype.is_floating_point
    statistics = None if work.mean is None or work.std is None else torch.tensor([work.mean, work.std], device=device)

    def apply(given: torch.Tensor) -> torch.Tensor:
        batch = given if given.ndim == 4 else given[None]
        if not batch.is_floating_point():
            batch = batch.float() / 255
        height, width = batch.shape[-2:]
        batch = kornia.geometry.resize(batch, work.resized(height, width), work.interpolation, antialias=True)
        # By slicing: kornia.geometry.center_crop samples the image anew.
        top, left, kept_height, kept_width = work.kept(height, width)
        batch = batch[..., top : top + kept_height, left : left + kept_width]
        if work.grayscale:
            batch = kornia.color.rgb_to_grayscale(batch)
        if work.horizontal_flip:
            batch = kornia.geometry.hflip(batch)
        if work.vertical_flip:
            batch = kornia.geometry.vflip(batch)
        if statistics is not None:
            batch = kornia.enhance.normalize(batch, *statistics)
        if ends_in_integers:
            batch = (batch * 255).round().clamp(0, 255).to(torch.uint8)
        result: torch.Tensor = batch if given.ndim == 4 else batch[0]
        return result

    return apply


PEER = TorchPeer("kornia", "Kornia, batches", _make, chw, _refuse, packages=("kornia", "torch"))
