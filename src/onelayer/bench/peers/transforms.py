"""A work in torchvision's words."""

from __future__ import annotations

import torch
from torchvision import transforms as v1
from torchvision.transforms import v2

from onelayer.bench.peers.work import Work


def v2_transforms(work: Work) -> v2.Compose:
    """The v2 transforms for tensors [..., 3, H, W] of uint8, or of float32 in [0, 1]."""
    steps: list[torch.nn.Module] = [
        v2.Resize(_size(work), interpolation=v2.InterpolationMode(work.interpolation), antialias=True)
    ]
    if work.crop is not None:
        steps.append(v2.CenterCrop(work.crop))
    if work.grayscale:
        steps.append(v2.Grayscale())
    if work.horizontal_flip:
        steps.append(v2.RandomHorizontalFlip(p=1))
    if work.vertical_flip:
        steps.append(v2.RandomVerticalFlip(p=1))
    if work.mean is not None and work.std is not None:
        steps += [v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(work.mean), list(work.std))]
    return v2.Compose(steps)


def v1_transforms(work: Work) -> v1.Compose:
    """The v1 transforms for PIL images of mode RGB; they give tensors."""
    steps: list[object] = [v1.Resize(_size(work), interpolation=v1.InterpolationMode(work.interpolation))]
    if work.crop is not None:
        steps.append(v1.CenterCrop(work.crop))
    if work.grayscale:
        steps.append(v1.Grayscale())
    if work.horizontal_flip:
        steps.append(v1.RandomHorizontalFlip(p=1))
    if work.vertical_flip:
        steps.append(v1.RandomVerticalFlip(p=1))
    if work.mean is not None and work.std is not None:
        steps += [v1.ToTensor(), v1.Normalize(work.mean, work.std)]
    else:
        steps.append(v1.PILToTensor())
    return v1.Compose(steps)


def _size(work: Work) -> list[int] | int:
    return list(work.resize) if isinstance(work.resize, tuple) else work.resize
