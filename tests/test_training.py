"""A model trained through a layer has the losses that it has through the transforms, digit by digit."""

from __future__ import annotations

from typing import Any

import numpy as np
import PIL.Image
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms as v1
from torchvision.transforms import v2

import onelayer

NORMALISED = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.2] * 3)]
RECIPES = {
    "CIFAR": v1.Compose([v1.RandomCrop(32, padding=4), v1.RandomHorizontalFlip(), v1.ToTensor()]),
    "crops and colors": v2.Compose([v2.RandomResizedCrop(32), v2.ColorJitter(0.2), v2.RandomErasing(), *NORMALISED]),
}


class Pictures(Dataset[tuple[torch.Tensor, int]]):
    """Pictures of several sizes with labels."""

    def __init__(self, transform: Any, count: int = 48) -> None:
        rng = np.random.default_rng(0)
        sizes = rng.integers(32, 60, (count, 2))
        self.images = [PIL.Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in sizes]
        self.transform = transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(self.images[index]), index % 2


def losses(transform: Any, workers: int) -> list[float]:
    """Losses of two epochs of a small model, from one seed."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, stride=4), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2))
    model(torch.zeros(1, 3, 32, 32))
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    loader = DataLoader(Pictures(transform), batch_size=8, shuffle=True, num_workers=workers)
    found = []
    for _ in range(2):
        for images, labels in loader:
            loss = nn.functional.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            found.append(loss.item())
    return found


def test_the_same_losses() -> None:
    for name, transform in RECIPES.items():
        for workers in (0, 2):
            ours, theirs = (losses(call, workers) for call in (onelayer.compile(transform), transform))
            assert ours == theirs, (name, workers)
            assert len(set(ours)) > 6
