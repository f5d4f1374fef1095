"""Time a `DataLoader` from JPEG files to normalised batches, with torchvision's transforms and with their layers.

Photographs, no two of one size, are written as JPEG files into a folder of classes, which `ImageFolder` reads with
Pillow; they stay PIL images, or become tensors. Each pass goes over all of them; passes of the original and of the
layer take turns, after one that does not count. Batches are compared first, bit for bit. Decoding is part of every
time, and is timed alone too. (`onelayer bench training` does the same with random transforms.)

    python benchmarks/data_loader.py --json docs/results/data-loader.json
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from onelayer import pipelines
from onelayer.bench.loader import measure, record_of, table_of, write_photographs
from onelayer.console import progress, results

NAMES = ("resnet50", "clip")


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
            transform = pipelines.named(name).transform
            rows.append(measure(folder, name, transform, as_tensors=as_tensors, workers=workers, rounds=rounds))
    results.print(table_of(rows))
    if json_file is not None:
        record_of(rows, files, rounds).write(json_file)


if __name__ == "__main__":
    typer.run(main)
