"""Train a ResNet-18 on CIFAR-10 through the transforms and through their layer, from one seed, and compare the losses.

Images are read from a Parquet file of encoded images and labels, as Hugging Face's hub has them. The network, the order
of the images and the numbers of the transforms follow from the seed. Every loss has to be the same in every digit; so
have all weights afterwards.

    python benchmarks/same_losses.py train.parquet --images 2000 --json docs/results/same-losses.json
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import PIL.Image
import pyarrow.parquet
import torch
import torchvision
import typer
from torch import nn
from torch.utils.data import DataLoader, Dataset

import onelayer
from onelayer.console import results
from onelayer.environment import current_environment
from onelayer.pipelines.training import RECIPES

SIDE, BATCH, RATE = 32, 64, 0.05


class Labelled(Dataset[tuple[Any, int]]):
    """PIL images with labels, through a transform.

    Args:
        file: Parquet file with a column of images and one of labels.
        count: Number of images.
        transform: The transform.
    """

    def __init__(self, file: Path, count: int, transform: Callable[[Any], Any]) -> None:
        rows = pyarrow.parquet.read_table(file).slice(0, count).to_pylist()
        self._images = [PIL.Image.open(io.BytesIO(_encoded(row))).convert("RGB") for row in rows]
        self._labels = [int(row["label"]) for row in rows]
        self._transform = transform

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self._transform(self._images[index]), self._labels[index]


def _encoded(row: dict[str, Any]) -> bytes:
    image = next(row[name] for name in ("img", "image") if name in row)
    encoded: bytes = image["bytes"] if isinstance(image, dict) else image
    return encoded


def train(images: Labelled, epochs: int, workers: int) -> tuple[list[float], dict[str, torch.Tensor]]:
    """Train from the seed 0; return the loss of every step, and the weights afterwards."""
    torch.manual_seed(0)
    network = torchvision.models.resnet18(num_classes=10)
    optimizer = torch.optim.SGD(network.parameters(), RATE, momentum=0.9, weight_decay=5e-4)
    loader = DataLoader(images, BATCH, shuffle=True, num_workers=workers)
    losses = []
    for _ in range(epochs):
        for pixels, labels in loader:
            loss = nn.functional.cross_entropy(network(pixels), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return losses, network.state_dict()


def main(
    file: Path,
    images: Annotated[int, typer.Option(help="Number of images.")] = 2000,
    epochs: int = 2,
    workers: Annotated[int, typer.Option(help="Workers of the loader, each with a seed of its own.")] = 2,
    json_file: Annotated[Path | None, typer.Option("--json", help="Where to write the record.")] = None,
) -> None:
    """Train twice, and compare."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(mode=True)
    recipe = RECIPES["CIFAR"](SIDE)
    losses, weights, seconds = {}, {}, {}
    for name, transform in (("original", recipe), ("onelayer", onelayer.compile(recipe))):
        begin = time.perf_counter()
        losses[name], weights[name] = train(Labelled(file, images, transform), epochs, workers)
        seconds[name] = time.perf_counter() - begin
    are_equal = losses["original"] == losses["onelayer"] and all(
        torch.equal(weight, weights["onelayer"][name]) for name, weight in weights["original"].items()
    )
    first, *_, last = losses["original"]
    results.print(f"{len(losses['original'])} losses, from {first!r} to {last!r}")
    results.print("All losses and weights are equal in every digit" if are_equal else "Losses or weights differ")
    if json_file is not None:
        record = {
            "images": images,
            "epochs": epochs,
            "workers": workers,
            "batch_size": BATCH,
            "recipe": repr(recipe),
            "losses": losses,
            "equal": are_equal,
            "seconds": seconds,
            "environment": current_environment().model_dump(),
        }
        json_file.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    if not are_equal:
        raise SystemExit(1)


if __name__ == "__main__":
    typer.run(main)
