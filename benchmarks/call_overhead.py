"""Measure what a call of a layer takes besides its kernel, and what a size that was never seen costs.

Pairs of photographs, of sides of 300 to 640 pixels, no two pairs of one size: the first of a pair is of a size that was
never seen, the second of the size before; their calls alternate. What a call takes besides the kernel is measured with
all in the caches, the same image again and again, and right after a JPEG file was decoded, which leaves nothing there.
One thread; medians.

    python benchmarks/call_overhead.py --json docs/results/call-overhead.json
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import PIL.Image
import torch
import typer
from rich.table import Table
from torchvision import transforms as v1
from torchvision.transforms import v2
from torchvision.transforms.functional import pil_to_tensor, to_pil_image

import onelayer
from onelayer.console import progress, results
from onelayer.data.photographs import bundled
from onelayer.environment import current_environment

TITLE = (
    "Calls of layers for photographs of sides of 300 to 640, no two pairs of one size, one thread, µs;"
    " warm: one image again and again"
)
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
V1_VALUES = [v1.ToTensor(), v1.Normalize(MEAN, STD)]
V2_VALUES = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
CASES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "ImageNet evaluation": (v1.Compose([v1.Resize(256), v1.CenterCrop(224), *V1_VALUES]), "PIL"),
    "ImageNet evaluation (v2)": (v2.Compose([v2.Resize(256), v2.CenterCrop(224), *V2_VALUES]), "tensor"),
    "RandomResizedCrop, flip": (v1.Compose([v1.RandomResizedCrop(224), v1.RandomHorizontalFlip(), *V1_VALUES]), "PIL"),
}


def photographs(count: int) -> list[PIL.Image.Image]:
    """Make pairs of photographs, no two pairs of one size."""
    originals, chance = bundled(), np.random.default_rng(0)
    sizes = list(dict.fromkeys(map(tuple, chance.integers(300, 641, (2 * count, 2)).tolist())))[:count]
    pairs = [(2 * number + second, size) for number, size in enumerate(sizes) for second in range(2)]
    return [to_pil_image(originals[at % len(originals)].at(size[0], size[1], 3)) for at, size in pairs]


class Stopwatch:
    """Measure what calls of a layer take besides its kernel.

    Args:
        layer: A layer whose pipeline runs on the kernel for bytes.
        image: An image that it takes.
    """

    def __init__(self, layer: onelayer.OneLayer, image: Any) -> None:
        layer(image)
        self._layer, self._seconds = layer, 0.0
        compute: Any = layer._of_any_size(image)._compute  # type: ignore[union-attr]
        # Some images of Pillow's have their rows resized first, in a call of its own.
        for kernel in (compute._kernel, compute._rows_alone):
            kernel._run = partial(self._timed, kernel._run)

    def _timed(self, run: Callable[..., Any], *arguments: Any) -> Any:
        start = time.perf_counter()
        outcome = run(*arguments)
        self._seconds += time.perf_counter() - start
        return outcome

    def besides(self, image: Any) -> float:
        """Return the microseconds of a call without those of the kernel."""
        self._seconds = 0.0
        whole = timed(self._layer, image)
        return whole - 1e6 * self._seconds


def timed(layer: Callable[[Any], Any], image: Any) -> float:
    """Return the microseconds of a call."""
    start = time.perf_counter()
    layer(image)
    return 1e6 * (time.perf_counter() - start)


def measure(name: str, images: list[PIL.Image.Image]) -> dict[str, Any]:
    """Measure a case."""
    transform, container = CASES[name]
    layer = onelayer.compile(transform)
    given: list[Any] = images if container == "PIL" else [pil_to_tensor(image) for image in images]
    times = np.array([timed(layer, image) for image in given]).reshape(-1, 2)[len(images) // 8 :]
    stopwatch = Stopwatch(layer, given[0])
    besides: dict[str, list[float]] = {"warm": [], "after decoding": []}
    files: list[io.BytesIO] = []
    for image in images:
        image.save(file := io.BytesIO(), "JPEG", quality=90)
        files.append(file)
    for file, image in zip(files, given, strict=True):
        besides["warm"].append([stopwatch.besides(image) for _ in range(5)][-1])
        decoded: Any = PIL.Image.open(file)
        decoded.load()
        besides["after decoding"].append(stopwatch.besides(decoded if container == "PIL" else pil_to_tensor(decoded)))
    never_seen, seen = np.median(times, axis=0).tolist()
    return {
        "case": name,
        "images": container,
        "never seen": never_seen,
        "size before": seen,
        "ratio": never_seen / seen,
        "besides the kernel": {state: float(np.median(each)) for state, each in besides.items()},
    }


def main(
    count: Annotated[int, typer.Option(help="Pairs of photographs.", min=8)] = 400,
    json_file: Annotated[Path | None, typer.Option("--json", help="Where to write the record.")] = None,
) -> None:
    """Measure all cases and print them."""
    torch.set_num_threads(1)
    with progress() as display:
        images = photographs(count)
        rows = [measure(name, images) for name in display.track(list(CASES), description="Layers")]
    table = Table("pipeline", "images", "never seen", "size before", "ratio", "besides: warm", "decoded", title=TITLE)
    for row in rows:
        numbers = [row["never seen"], row["size before"], row["ratio"], *row["besides the kernel"].values()]
        formats = "{:.0f}", "{:.0f}", "{:.2f}", "{:.0f}", "{:.0f}"
        cells = [text.format(number) for text, number in zip(formats, numbers, strict=True)]
        table.add_row(row["case"], row["images"], *cells)
    results.print(table)
    if json_file is not None:
        record = {"title": TITLE, "rows": rows, "environment": current_environment().model_dump()}
        json_file.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
