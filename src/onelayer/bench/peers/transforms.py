"""A work in torchvision's words."""

from __future__ import annotations

from types import ModuleType

import torch
from torchvision import transforms as v1
from torchvision.transforms import v2

from onelayer.bench.peers.work import Work


def v2_transforms(work: Work) -> v2.Compose:
    """The v2 transforms for tensors [..., 3, H, W] of uint8, or of float32 in [0, 1]."""
    steps = _geometry(work, v2)
    if work.mean is not None and work.std is not None:
        steps += [v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(work.mean), list(work.std))]
    return v2.Compose(steps)


def v1_transforms(work: Work) -> v1.Compose:
    """The v1 transforms for PIL images of mode RGB; they give tensors."""
    steps = _geometry(work, v1)
    if work.mean is not None and work.std is not None:
        steps += [v1.ToTensor(), v1.Normalize(work.mean, work.std)]
    else:
        steps.append(v1.PILToTensor())
    return v1.Compose(steps)


def _geometry(work: Work, library: ModuleType) -> list[torch.nn.Module]:
    """Up to the flips; both libraries name these steps alike."""
    interpolation = library.InterpolationMode(work.interpolation)
    steps = [library.Resize(_size(work), interpolation=interpolation, antialias=True)]
    if work.crop is not None:
        steps.append(library.CenterCrop(work.crop))
    if work.grayscale:
        steps.append(library.Grayscale())
    if work.horizontal_flip:
        steps.append(library.RandomHorizontalFlip(p=1))
    if work.vertical_flip:
        steps.append(library.RandomVerticalFlip(p=1))
    return steps


def _size(work: Work) -> list[int] | int:
    return list(work.resize) if isinstance(work.resize, tuple) else work.resize
