"""Measure what the first image costs in a new process, its kernels compiled before.

Each row is the median of new processes: importing PyTorch and torchvision, the original's first image, importing Numba,
then importing onelayer, compiling and the layer's first image together, and an image of another size after it. The
processes of all pipelines take turns. The first round does not count: it compiles kernels that are not there yet.

    python benchmarks/first_call.py --json docs/results/first-call.json
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

TITLE = "The first image in a new process, kernels compiled before, ms"
STAGES = {
    "torch": "import torch, torchvision",
    "original": "the original's first image",
    "numba": "import Numba",
    "layer": "import onelayer, compile, first image",
    "other size": "an image of another size",
}
PIPELINES = ("resnet50", "resnet50 (tensor)", "clip", "cifar-10 in training")
SIZE, OTHER_SIZE = (375, 500), (480, 333)


def main(
    rounds: Annotated[int, typer.Option(help="Processes of each pipeline.", min=2)] = 12,
    json_file: Annotated[Path | None, typer.Option("--json", help="Where to write the record.")] = None,
) -> None:
    """Measure all pipelines and print them."""
    from rich.table import Table

    from onelayer.console import progress, results
    from onelayer.environment import current_environment

    times: dict[str, list[dict[str, float]]] = {name: [] for name in PIPELINES}
    with progress() as display:
        for number in display.track(range(rounds), description="Rounds of processes"):
            for name in PIPELINES:
                command = [sys.executable, __file__, "in-new-process", name]
                output = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603 - this file
                if number:
                    times[name].append(json.loads(output))
    medians = {
        name: {stage: float(np.median([each[stage] for each in of_processes])) for stage in STAGES}
        for name, of_processes in times.items()
    }
    table = Table("pipeline", *STAGES.values(), title=TITLE)
    for name, row in medians.items():
        table.add_row(name, *(f"{1e3 * row[stage]:.0f}" for stage in STAGES))
    results.print(table)
    if json_file is not None:
        environment = current_environment().model_dump()
        record = {"title": TITLE, "stages": STAGES, "seconds": medians, "environment": environment}
        json_file.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


class Stopwatch:
    """Take times from one stage to the next."""

    def __init__(self) -> None:
        self.stages: dict[str, float] = {}
        self._begin = time.perf_counter()

    def __call__(self, stage: str) -> None:
        """End a stage."""
        self.stages[stage] = time.perf_counter() - self._begin
        self._begin = time.perf_counter()


def measure(name: str) -> dict[str, float]:
    """Measure a pipeline in this process, which has imported nothing yet that takes long."""
    stopwatch = Stopwatch()
    import_module("torch")
    import_module("torchvision.transforms.v2")
    stopwatch("torch")
    transform, images = example(name)
    stopwatch("")
    transform(images[0])
    stopwatch("original")
    import_module("numba")
    stopwatch("numba")
    layer = import_module("onelayer").compile(transform)
    layer(images[0])
    stopwatch("layer")
    layer(images[1])
    stopwatch("other size")
    return stopwatch.stages


def example(name: str) -> tuple[Callable[[Any], Any], list[Any]]:
    """Make a pipeline and images for it."""
    import PIL.Image
    import torch
    from torchvision import transforms as v1
    from torchvision.transforms import v2
    from torchvision.transforms.functional import pil_to_tensor

    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    values = [v1.ToTensor(), v1.Normalize(mean, std)]
    v2_values = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std)]
    transform = {
        "resnet50": v1.Compose([v1.Resize(256), v1.CenterCrop(224), *values]),
        "resnet50 (tensor)": v2.Compose([v2.Resize(256), v2.CenterCrop(224), *v2_values]),
        "clip": v1.Compose([v1.Resize(224, v1.InterpolationMode.BICUBIC), v1.CenterCrop(224), *values]),
        "cifar-10 in training": v1.Compose([v1.RandomCrop(32, padding=4), v1.RandomHorizontalFlip(), *values]),
    }[name]
    generator = np.random.default_rng(0)
    sizes = [(32, 32), (40, 36)] if name.startswith("cifar") else [SIZE, OTHER_SIZE]
    images = [PIL.Image.fromarray(generator.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in sizes]
    return transform, [pil_to_tensor(image) for image in images] if "tensor" in name else images


if __name__ == "__main__":
    if sys.argv[1:2] == ["in-new-process"]:
        print(json.dumps(measure(sys.argv[2])))
    else:
        typer.run(main)
