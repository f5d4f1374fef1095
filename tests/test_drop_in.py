"""A layer in the place of transforms, in data sets and loaders: the same batches, bit for bit."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import models, tv_tensors
from torchvision import transforms as v1
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

import onelayer
from onelayer.selfcheck.checking import difference_of

IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
TRANSFORMS: dict[str, Any] = {
    "v1": v1.Compose([v1.Resize(40), v1.CenterCrop(32), v1.ToTensor(), v1.Normalize(*IMAGENET)]),
    "v2": v2.Compose(
        [v2.ToImage(), v2.Resize(40), v2.CenterCrop(32), v2.ToDtype(torch.float32, scale=True), v2.Normalize(*IMAGENET)]
    ),
    "preset": models.ResNet50_Weights.IMAGENET1K_V2.transforms(resize_size=40, crop_size=32),
}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    random = np.random.default_rng(0)
    for number, (height, width) in enumerate([(60, 80), (80, 60), (41, 95), (60, 80), (50, 50)]):
        place = folder / f"class{number % 2}"
        place.mkdir(exist_ok=True)
        coarse = Image.fromarray(random.integers(0, 256, (6, 7, 3), dtype=np.uint8))
        coarse.resize((width, height)).save(place / f"{number}.jpg")
    return folder


def read_tensor(path: str) -> torch.Tensor:
    return v2.functional.pil_to_tensor(Image.open(path))


def assert_same_batches(folder: Path, name: str, how: dict[str, Any], **workers: Any) -> None:
    """Loads with the transforms in this process, and with the layer in workers."""
    layer = onelayer.compile(TRANSFORMS[name])
    theirs = list(DataLoader(ImageFolder(str(folder), TRANSFORMS[name], **how), batch_size=2))
    ours = list(DataLoader(ImageFolder(str(folder), layer, **how), batch_size=2, **workers))
    assert len(theirs) == 3
    for (original, labels), (batch, our_labels) in zip(theirs, ours, strict=True):
        assert difference_of(batch, original) is None, name
        assert torch.equal(labels, our_labels), name


def test_loaders_give_the_same_batches(photographs: Path) -> None:
    for name in TRANSFORMS:
        for how in ({}, {"loader": read_tensor}) if name != "v1" else ({},):
            assert_same_batches(photographs, name, how)


def test_forked_workers(photographs: Path) -> None:
    # The parent has used its threads before.
    assert_same_batches(photographs, "v2", {"loader": read_tensor}, num_workers=2, multiprocessing_context="fork")


def test_spawned_workers(photographs: Path) -> None:
    assert_same_batches(photographs, "v1", {}, num_workers=1, multiprocessing_context="spawn")


@pytest.mark.exhaustive
def test_workers_of_every_transform(photographs: Path) -> None:
    for name in TRANSFORMS:
        for context, workers in (("fork", 2), ("spawn", 1)):
            assert_same_batches(photographs, name, {}, num_workers=workers, multiprocessing_context=context)


def test_a_layer_travels() -> None:
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (70, 50, 3), dtype=np.uint8))
    for transform in TRANSFORMS.values():
        layer = pickle.loads(pickle.dumps(onelayer.compile(transform)))
        assert difference_of(layer(image), transform(image)) is None


def test_wrapping_stays() -> None:
    image = tv_tensors.Image(torch.randint(0, 256, (3, 70, 50), dtype=torch.uint8))
    ours, theirs = onelayer.compile(TRANSFORMS["v2"])(image), TRANSFORMS["v2"](image)
    assert type(ours) is type(theirs) is tv_tensors.Image
    assert difference_of(ours, theirs) is None


def test_an_exact_layer_that_was_saved(tmp_path: Path) -> None:
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (70, 50, 3), dtype=np.uint8))
    for name, transform in TRANSFORMS.items():
        for kind in (image, v2.functional.pil_to_tensor(image)):
            if name == "v1" and isinstance(kind, torch.Tensor):
                continue
            layer = onelayer.compile(transform)
            onelayer.save(layer, tmp_path / name / type(kind).__name__, images=[kind])
            loaded = onelayer.load(tmp_path / name / type(kind).__name__)
            assert difference_of(loaded(kind), transform(kind)) is None


CHANNELS_LAST: dict[str, Any] = {
    "resize": v2.Resize((9, 14)),
    "normalised": v2.Compose([v2.Resize(14), v2.CenterCrop(9), v2.ToDtype(torch.float32, scale=True)]),
    "preset": models.ResNet18_Weights.DEFAULT.transforms(crop_size=9, resize_size=12),
    "flip": v2.RandomHorizontalFlip(p=1.0),
    "pad": v2.Pad(3),
    "grey": v2.Grayscale(),
}


def test_channels_last_stay_last() -> None:
    batch = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (4, 3, 17, 21), dtype=np.uint8))
    last = batch.contiguous(memory_format=torch.channels_last)
    for name, transform in CHANNELS_LAST.items():
        for images in (batch, last):
            ours, theirs = onelayer.compile(transform)(images), transform(images)
            assert torch.equal(ours, theirs), name
            for memory in (torch.contiguous_format, torch.channels_last):
                same = ours.is_contiguous(memory_format=memory) == theirs.is_contiguous(memory_format=memory)
                assert same, (name, memory, ours.stride(), theirs.stride())
