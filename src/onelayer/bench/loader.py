"""Time a `DataLoader` from JPEG files to batches: through transforms, through their layer, and decoding alone.

The layer preprocesses each image in the data set, as the transforms do, or all of a batch in the collate function.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from rich.table import Table
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.datasets.folder import default_loader
from torchvision.transforms import v2
from torchvision.transforms.functional import to_pil_image

from onelayer.bench.timing import torch_threads
from onelayer.data.photographs import bundled, varied_sizes
from onelayer.environment import current_environment
from onelayer.errors import OnelayerError
from onelayer.layer import compile as compiled
from onelayer.pipelines.training import RECIPES
from onelayer.records import Environment, Part, Record

BATCH, SIDE, QUALITY = 32, 224, 90

ORIGINAL, LAYER, COLLATED, DECODING = "original", "onelayer", "onelayer, collate", "decoding alone"

TITLE = "JPEG files of photographs to batches; no two files are of one size"


class LoaderRow(Part):
    """Images per second of a pipeline, of its layer and of decoding alone."""

    pipeline: str
    images: str
    """What files are decoded to: "PIL images" or "tensors"."""
    workers: int
    images_per_second: dict[str, tuple[float, ...]]
    ratio_medians: dict[str, float]
    """Medians of the ratios of neighbouring passes, of the layer in either place to the original."""


class LoaderRecord(Record):
    """Rows of several pipelines."""

    kind: Literal["loader"] = "loader"
    title: str = TITLE
    files: int
    rounds: int
    rows: tuple[LoaderRow, ...]
    environment: Environment


def training_pipelines() -> dict[str, Callable[[Any], Any]]:
    """Make the recipes for training that are timed: geometry alone, and with colors."""
    recipe = RECIPES["ImageNet, v2"](SIDE)
    crop, flip, *normalised = recipe.transforms
    return {
        "RandomResizedCrop, flip, Normalize": recipe,
        "RandomResizedCrop, flip, ColorJitter, Normalize": v2.Compose(
            [crop, flip, v2.ColorJitter(0.4, 0.4, 0.4), *normalised]
        ),
    }


def write_photographs(folder: Path, count: int) -> None:
    """Write JPEG files, the same photographs in other sizes among them so that there are enough."""
    (folder / "photographs").mkdir(parents=True)
    originals = bundled()
    for number, (height, width) in enumerate(varied_sizes(count)):
        picture = to_pil_image(originals[number % len(originals)].at(height, width, 3))
        picture.save(folder / "photographs" / f"{number:05}.jpg", quality=QUALITY)


def read_tensor(path: str) -> torch.Tensor:
    """Decode a file with Pillow to a tensor."""
    pixels: torch.Tensor = v2.functional.pil_to_tensor(default_loader(path))
    return pixels


def loader(
    folder: Path,
    transform: Callable[[Any], Any] | None,
    collate: Callable[[Any], Any] | None = None,
    *,
    as_tensors: bool,
    workers: int,
) -> DataLoader[Any]:
    """Make a loader of all files, in order."""
    reading = {"loader": read_tensor} if as_tensors else {}
    return DataLoader(
        ImageFolder(str(folder), transform, **reading),
        batch_size=BATCH,
        num_workers=workers,
        persistent_workers=workers > 0,
        collate_fn=collate,
    )


def measure(
    folder: Path, name: str, transform: Callable[[Any], Any], *, as_tensors: bool, workers: int, rounds: int
) -> LoaderRow:
    """Measure images per second. Batches of equal seeds are compared first, in every bit, and that pass does not count.

    Raises:
        OnelayerError: If they differ.
    """
    decoding = v2.Compose([v2.ToImage(), v2.CenterCrop(1)])
    layer = compiled(transform)
    each = {ORIGINAL: (transform,), LAYER: (layer,), COLLATED: (None, layer.collate), DECODING: (decoding,)}
    # One thread, as workers have where there are any.
    with torch_threads(1):
        loaders = {who: loader(folder, *how, as_tensors=as_tensors, workers=workers) for who, how in each.items()}
        expected = _seeded(loaders[ORIGINAL])
        if not all(all(map(torch.equal, _seeded(loaders[who]), expected)) for who in (LAYER, COLLATED)):
            raise OnelayerError(f"{name}: the batches differ from the original's")
        for _ in loaders[DECODING]:
            pass
        rates: dict[str, list[float]] = {who: [] for who in loaders}
        for _ in range(rounds):
            for who, batches in loaders.items():
                start = time.perf_counter()
                count = sum(len(images) for images, _ in batches)
                rates[who].append(count / (time.perf_counter() - start))

    def ratio_to_original(who: str) -> float:
        return float(np.median([ours / theirs for ours, theirs in zip(rates[who], rates[ORIGINAL], strict=True)]))

    return LoaderRow(
        pipeline=name,
        images="tensors" if as_tensors else "PIL images",
        workers=workers,
        images_per_second={who: tuple(each) for who, each in rates.items()},
        ratio_medians={who: ratio_to_original(who) for who in (LAYER, COLLATED)},
    )


def _seeded(batches: DataLoader[Any]) -> list[torch.Tensor]:
    """Load all batches; what is random in them follows from one seed."""
    torch.manual_seed(0)
    return [images for images, _ in batches]


def record_of(rows: list[LoaderRow], files: int, rounds: int) -> LoaderRecord:
    """Make the record of rows."""
    return LoaderRecord(files=files, rounds=rounds, rows=tuple(rows), environment=current_environment())


def table_of(rows: list[LoaderRow]) -> Table:
    """Lay out rows for the terminal: medians of images per second."""
    names = ORIGINAL, LAYER, COLLATED, DECODING
    table = Table("pipeline", "images", *(f"{who} / s" for who in names), "ratio", "ratio, collate", title=TITLE)
    for row in rows:
        medians = [f"{np.median(row.images_per_second[who]):,.0f}" for who in names]
        ratios = [f"{row.ratio_medians[who]:.2f}" for who in (LAYER, COLLATED)]
        table.add_row(row.pipeline, row.images, *medians, *ratios)
    return table
