"""Time `onelayer`'s training loop, which is Lightning's, against a bare PyTorch loop doing the same steps.

Both see the same images in the same order, compute the ground truth on the fly, take the same Adam steps, validate
after every epoch and keep the best weights; the final weights are compared, so neither can do less. Rounds are
interleaved. The bare loop keeps its best weights in memory and shows nothing; ours writes two checkpoints, two logs and
a history per epoch and draws a progress bar.

    python benchmarks/training_loop.py --data sample --epochs 3 --rounds 3 --json docs/results/training-loop.json
"""

from __future__ import annotations

import copy
import json
import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DistributedSampler

from onelayer import pipelines
from onelayer.data import float_images, load_images
from onelayer.dense_layer import DenseLayer
from onelayer.environment import current_environment
from onelayer.pipelines import Pipeline
from onelayer.reproduction.learning.fit_interface import FitOptions
from onelayer.reproduction.learning.gradient_descent import fit
from onelayer.reproduction.learning.regression import VALIDATION_BATCH
from onelayer.reproduction.records import TrainingSettings
from onelayer.reproduction.run_folder import RunFolder


def bare(
    pipeline: Pipeline, train: NDArray[np.uint8], validation: NDArray[np.uint8], settings: TrainingSettings
) -> DenseLayer:
    """Learn in the loop that an engineer would write by hand."""
    layer = DenseLayer(pipeline.input_shape, pipeline.output_shape, torch.Generator().manual_seed(settings.seed))
    optimizer = torch.optim.Adam(layer.parameters(), lr=settings.lr, fused=True)
    sampler = DistributedSampler(range(len(train)), 1, 0, seed=settings.seed)
    best, best_state = float("inf"), layer.state_dict()
    for epoch in range(settings.epochs):
        sampler.set_epoch(epoch)
        order = np.fromiter(sampler, dtype=np.int64)
        for start in range(0, len(order), settings.batch_size):
            images = float_images(train[order[start : start + settings.batch_size]])
            loss = nn.functional.mse_loss(layer(images), pipeline(images))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        squared = 0.0
        with torch.no_grad():
            for start in range(0, len(validation), VALIDATION_BATCH):
                images = float_images(validation[start : start + VALIDATION_BATCH])
                squared += float(nn.functional.mse_loss(layer(images), pipeline(images))) * len(images)
        if squared / len(validation) < best:
            best, best_state = squared / len(validation), copy.deepcopy(layer.state_dict())
    layer.load_state_dict(best_state)
    return layer


def main(
    data: Annotated[str, typer.Option(envvar="ONELAYER_DATA", help="As `onelayer reproduce --data`.")] = "sample",
    epochs: int = 3,
    rounds: int = 3,
    json_file: Annotated[Path | None, typer.Option("--json", help="Where to write the record.")] = None,
) -> None:
    """Time both loops in turn, print the ratio of the medians, and check that the weights are the same."""
    pipeline = pipelines.named("report")
    images = load_images(data, shape=pipeline.input_shape, seed=0)
    settings = TrainingSettings(epochs=epochs, patience=epochs)
    seconds: dict[str, list[float]] = {"bare": [], "onelayer": []}
    for round_ in range(rounds + 1):  # the first does not count
        start = time.perf_counter()
        by_hand = bare(pipeline, images.train, images.validation, settings)
        middle = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            options = FitOptions(settings, RunFolder(Path(folder)), "cpu")
            ours = fit(pipeline, images.train, images.validation, options).layer
            end = time.perf_counter()
        difference = float((by_hand.weight - ours.weight).detach().abs().max())
        if difference > 1e-6:
            raise SystemExit(f"the two loops learned different weights: {difference}")
        times = f"bare {middle - start:.2f} s, onelayer {end - middle:.2f} s"
        print(f"round {round_}: {times}, weights differ by {difference:.1e}")
        if round_ > 0:
            seconds["bare"].append(middle - start)
            seconds["onelayer"].append(end - middle)
    ratios = [ours / by_hand for ours, by_hand in zip(seconds["onelayer"], seconds["bare"], strict=True)]
    print(f"onelayer / bare, median of {rounds} rounds: {np.median(ratios):.3f} ({min(ratios):.3f}…{max(ratios):.3f})")
    if json_file is not None:
        record = {
            "data": data if data in ("sample", "cifar10") else Path(data).resolve().name,
            "train_images": len(images.train),
            "epochs": epochs,
            "seconds": seconds,
            "ratio_median": float(np.median(ratios)),
            "ratios": ratios,
            "environment": current_environment().model_dump(),
        }
        json_file.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
