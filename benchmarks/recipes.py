"""Measure what each recipe of learning finds in the report's pipeline, and in what time.

Least squares on 5,000 images and on all that are not for testing, Adam on whitened images with its defaults. (What the
report's own recipe finds, `onelayer reproduce` records.) Errors are over the test images; the bound is proved for all
images in [0, 1].

    python benchmarks/recipes.py --data cifar10-parquet --json docs/results/recipes.json
"""

from __future__ import annotations

import json
import resource
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.table import Table

import onelayer
from onelayer import pipelines
from onelayer.console import results
from onelayer.data import float_images, load_images
from onelayer.environment import current_environment
from onelayer.reproduction.records import Recipe

_FEW = 5000
_AT_ONCE = 1000
_CASES: tuple[tuple[str, Recipe], ...] = (
    ("few", "least-squares"),
    ("everything", "least-squares"),
    ("train", "adam-whitened"),
)


def main(
    data: Annotated[str, typer.Option(help="As for `onelayer learn`.")],
    json_file: Annotated[Path | None, typer.Option("--json", help="Where the record goes.")] = None,
) -> None:
    """Learn by each recipe, and measure."""
    rows = [_in_new_process(data, part, recipe) for part, recipe in _CASES]
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*(f"{value:.4g}" if isinstance(value, float) else str(value) for value in row.values()))
    results.print(table)
    if json_file is not None:
        record = {"rows": rows, "environment": current_environment().model_dump()}
        json_file.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _in_new_process(data: str, part: str, recipe: Recipe) -> dict[str, Any]:
    """Measure a row in a new process, because of its peak memory."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(_row, data, part, recipe).result()


def _row(data: str, part: str, recipe: Recipe) -> dict[str, Any]:
    pipeline = pipelines.named("report")
    images = load_images(data, shape=pipeline.input_shape, seed=0)
    train = images.train[:_FEW] if part == "few" else images.train
    if part == "everything":
        train = np.concatenate([images.train, images.validation])
    learned = onelayer.learn(pipeline, train, recipe=recipe, validation=images.validation[:_AT_ONCE])
    squares, largest = 0.0, 0.0
    for begin in range(0, len(images.test), _AT_ONCE):
        inputs = float_images(images.test[begin : begin + _AT_ONCE])
        errors = learned.operator.apply(inputs.numpy()) - pipeline(inputs).numpy()
        squares, largest = squares + float((errors**2).sum()), max(largest, float(np.abs(errors).max()))
    mse = squares / (len(images.test) * len(learned.operator.bias))
    return {
        "recipe": recipe,
        "images": learned.images,
        "epochs": len(learned.history),
        "seconds": learned.seconds,
        "mse": mse,
        "psnr_db": float(-10 * np.log10(mse)),
        "largest_grey_levels": 255 * largest,
        "proved_grey_levels": learned.certificate.record.bound_grey_levels,
        # Of a process that does nothing else, with Python, libraries and images.
        "peak_mebibytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


if __name__ == "__main__":
    typer.run(main)
