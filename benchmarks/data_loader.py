"""Time a `DataLoader` from JPEG files to normalised batches, with torchvision's transforms and with their layers.

Photographs, no two of one size, are written as JPEG files into a folder of classes, which `ImageFolder` reads with
Pillow; they stay PIL images, or become tensors. Each pass goes over all of them; passes of the original and of the
layer take turns, after one that does not count. Batches are compared first, bit for bit. Decoding is part of every
time, and is timed alone too.

    python benchmarks/data_loader.py --json docs/results/data-loader.json
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.table import Table
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.datasets.folder import default_loader
from torchvision.transforms import v2
from torchvision.transforms.functional import to_pil_image

import onelayer
from onelayer import pipelines
from onelayer.console import progress, results
from onelayer.data.photographs import bundled, varied_sizes
from onelayer.environment import current_environment

NAMES = ("resnet50", "clip")
TITLE = "JPEG files of photographs, no two of one size"


def write_photographs(folder: Path, count: int) -> None:
    """Write JPEG files, the same photographs in other sizes among them so that there are enough."""
    (folder / "photographs").mkdir(parents=True)
    originals = bundled()
    for number, (height, width) in enumerate(varied_sizes(count)):
        picture = to_pil_image(originals[number % len(originals)].at(height, width, 3))
        picture.save(folder / "photographs" / f"{number:05}.jpg", quality=90)


def read_tensor(path: str) -> torch.Tensor:
    """Decode a file with Pillow."""
    return v2.functional.pil_to_tensor(default_loader(path))


def loader(folder: Path, transform: Callable[[Any], Any], as_tensors: bool, workers: int) -> DataLoader[Any]:
    """Make a loader of all files, in order."""
    reading = {"loader": read_tensor} if as_tensors else {}
    return DataLoader(
        ImageFolder(str(folder), transform, **reading),
        batch_size=32,
        num_workers=workers,
        persistent_workers=workers > 0,
    )


def count_images(batches: DataLoader[Any]) -> int:
    """Load all batches, and count the images."""
    return sum(len(images) for images, _ in batches)


def measure(folder: Path, name: str, as_tensors: bool, workers: int, rounds: int) -> dict[str, Any]:
    """Measure images per second of the original, of its layer, and of decoding alone."""
    transform = pipelines.named(name).transform
    decoding = v2.Compose([v2.ToImage(), v2.CenterCrop(1)])
    with_transforms = {"original": transform, "onelayer": onelayer.compile(transform), "decoding alone": decoding}
    loaders = {who: loader(folder, one, as_tensors, workers) for who, one in with_transforms.items()}
    for (ours, _), (theirs, _) in zip(loaders["onelayer"], loaders["original"], strict=True):
        if not torch.equal(ours, theirs):
            raise SystemExit(f"{name}: the batches differ")
    rates: dict[str, list[float]] = {who: [] for who in loaders}
    for _ in range(rounds):
        for who, batches in loaders.items():
            start = time.perf_counter()
            count = count_images(batches)
            rates[who].append(count / (time.perf_counter() - start))
    ratios = [ours / theirs for ours, theirs in zip(rates["onelayer"], rates["original"], strict=True)]
    return {
        "pipeline": name,
        "images": "tensors" if as_tensors else "PIL images",
        "workers": workers,
        "images_per_second": rates,
        "ratio_median": float(np.median(ratios)),
    }


def main(
    files: int = 400,
    rounds: int = 5,
    workers: int = 2,
    json_file: Annotated[Path | None, typer.Option("--json", help="Where to write the record.")] = None,
) -> None:
    """Time the loaders in turn and print images per second."""
    rows = []
    with tempfile.TemporaryDirectory() as place, progress() as display:
        folder = Path(place) / "files"
        write_photographs(folder, files)
        cases = [(name, as_tensors) for name in NAMES for as_tensors in (False, True)]
        for name, as_tensors in display.track(cases, description="Pipelines"):
            rows.append(measure(folder, name, as_tensors, workers, rounds))
    table = Table("pipeline", "images", "original / s", "onelayer / s", "decoding alone / s", "ratio", title=TITLE)
    for row in rows:
        medians = [f"{np.median(rate):,.0f}" for rate in row["images_per_second"].values()]
        table.add_row(row["pipeline"], row["images"], *medians, f"{row['ratio_median']:.2f}")
    results.print(table)
    if json_file is not None:
        record = {"files": files, "rounds": rounds, "rows": rows, "environment": current_environment().model_dump()}
        json_file.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
