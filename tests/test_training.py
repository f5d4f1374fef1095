"""A model trained through a layer has the losses that it has through the transforms, digit by digit.

The recipes of published code give the same tensors, in loaders with workers of every kind too.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms as v1
from torchvision.transforms import v2

import onelayer
from onelayer.pipelines.training import MultiCrop, installed_recipes

PUBLISHED = installed_recipes()
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


def seeded(call: Any, *inputs: Any, seed: int) -> tuple[Any, object]:
    """What a call returns with a seed, and the states of the generators afterwards."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - timm draws from it
    result = call(*inputs)
    of_numpy = str(np.random.get_state(legacy=False))  # noqa: NPY002
    return result, (torch.get_rng_state().tolist(), random.getstate(), of_numpy)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_recipes(name: str) -> None:
    recipe = PUBLISHED[name](32)
    layer = onelayer.compile(recipe)
    for number, image in enumerate(Pictures(None, 12).images):
        (ours, our_states), (theirs, states) = (seeded(call, image, seed=number) for call in (layer, recipe))
        assert torch.equal(ours, theirs), number
        assert our_states == states, number


def test_ten_views() -> None:
    views = MultiCrop(56)
    ours = views.compiled(onelayer.compile)
    for number, image in enumerate(Pictures(None, 4).images):
        (found, our_states), (expected, states) = (seeded(call, image, seed=number) for call in (ours, views))
        assert [tuple(view.shape[1:]) for view in found] == [(56, 56)] * 2 + [(24, 24)] * 8
        assert all(map(torch.equal, found, expected)), number
        assert our_states == states, number


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_workers_that_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where they are kept from one epoch to the next; the losses above come through such as are not."""
    # Where a spawned worker finds this file.
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    recipe = RECIPES["crops and colors"]

    def batches(transform: Any, context: Any) -> list[torch.Tensor]:
        loader = DataLoader(
            Pictures(transform, 12),
            batch_size=4,
            num_workers=1,
            multiprocessing_context=context,
            persistent_workers=True,
        )
        torch.manual_seed(5)
        return [images for _ in range(2) for images, _ in loader]

    theirs = batches(recipe, "fork")
    assert not torch.equal(theirs[0], theirs[3]), "each epoch has its own numbers"
    for context in ("fork", "spawn"):
        assert all(map(torch.equal, batches(onelayer.compile(recipe), context), theirs)), context
