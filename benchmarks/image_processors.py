"""Compare compiled image processors of transformers with the originals: one image per call, then several threads.

Photographs, as PIL images; no two in a row are of one size, so that nothing can be kept from one for the next. First,
in one thread, each image goes through the original and the compiled processor in turn; results are compared first, bit
for bit, and the first quarter does not count. Then 1, 2, 4 and 8 Python threads call one processor, with one thread of
PyTorch each and `return_tensors="pt"`; the rounds of both take turns.

    python benchmarks/image_processors.py --json docs/results/image-processors.json
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import PIL.Image
import torch
import transformers
import typer
from rich.table import Table
from torchvision.transforms.functional import to_pil_image

import onelayer
from onelayer.bench.timing import medians_in_turn
from onelayer.console import progress, results
from onelayer.data.photographs import bundled
from onelayer.environment import current_environment

TITLE = "Image processors, one PIL image per call, one thread; no two in a row are of one size"
THREADS_TITLE = "CLIPImageProcessor called by several Python threads, images/s"
THREADS = (1, 2, 4, 8)
ROUNDS = 5

Processor = Callable[..., Any]


@dataclass(frozen=True)
class Case:
    """A class of processors, and the range of the heights and widths of its images."""

    processor: str
    smallest: tuple[int, int]
    largest: tuple[int, int]

    @property
    def size(self) -> str:
        """Heights and widths, as text."""
        return " … ".join(f"{height}×{width}" for height, width in (self.smallest, self.largest))


CASES = [
    *(
        Case(f"{model}ImageProcessor{backend}", (300, 300), (640, 640))
        for backend in ("", "Pil")
        for model in ("CLIP", "ViT", "Siglip", "Bit", "ConvNext")
    ),
    *(
        Case(f"{model}ImageProcessor{backend}", (1080, 1920), (1100, 1940))
        for backend in ("", "Pil")
        for model in ("Qwen2VL", "Detr")
    ),
]


def photographs(case: Case, count: int) -> list[PIL.Image.Image]:
    """Make photographs of random sizes."""
    originals, generator = bundled(), np.random.default_rng(0)
    sizes = generator.integers(case.smallest, np.add(case.largest, 1), (count, 2))
    return [to_pil_image(originals[at % len(originals)].at(*map(int, size), 3)) for at, size in enumerate(sizes)]


def pair(name: str) -> dict[str, Processor]:
    """Make a processor with the configuration of its class, and what it is compiled to."""
    original = getattr(transformers, name)()
    return {"original": original, "onelayer": onelayer.compile(original)}


def check(processors: dict[str, Processor], images: Sequence[PIL.Image.Image]) -> None:
    """Compare the results, bit for bit.

    Raises:
        SystemExit: If they differ.
    """
    for image in images:
        expected, found = (processors[who](image, return_tensors="pt") for who in ("original", "onelayer"))
        if any(not torch.equal(found[name], expected[name]) for name in expected):
            raise SystemExit(f"the pixels of {type(processors['original']).__name__} differ")


def measure(case: Case, seconds: float) -> dict[str, Any]:
    """Time a processor and its original in turn."""
    images = photographs(case, 16 if case.largest[0] > 1000 else 48)
    processors = pair(case.processor)
    check(processors, images[:8])
    functions = {who: partial(processor, return_tensors="pt") for who, processor in processors.items()}
    in_turn = medians_in_turn(functions, images, seconds=seconds, turns=12)
    medians = {who: 1000 * median for who, median in in_turn.items()}
    ratio = medians["original"] / medians["onelayer"]
    return {"processor": case.processor, "size": case.size, "milliseconds": medians, "ratio": ratio}


def measure_threads(seconds: float) -> list[dict[str, Any]]:
    """Measure the images per second of several threads that share a processor: the medians of some rounds."""
    images = photographs(CASES[0], 48)
    processors = pair(CASES[0].processor)
    rates: dict[tuple[str, int], list[float]] = {(who, count): [] for who in processors for count in THREADS}
    check(processors, images[:8])
    for _ in range(ROUNDS):
        for who, count in rates:
            rates[who, count].append(_rate(processors[who], images, count, seconds / ROUNDS))
    return [{"threads": count, **{who: float(np.median(rates[who, count])) for who in processors}} for count in THREADS]


def _rate(processor: Processor, images: Sequence[PIL.Image.Image], threads: int, seconds: float) -> float:
    """Return the images per second of threads that call a processor."""
    end = time.perf_counter() + seconds

    def run(thread: int) -> int:
        done = 0
        while time.perf_counter() < end:
            processor(images[(thread * 7 + done) % len(images)], return_tensors="pt")
            done += 1
        return done

    start = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        done = sum(pool.map(run, range(threads)))
    return done / (time.perf_counter() - start)


def main(
    seconds: Annotated[float, typer.Option(help="Time for each row.")] = 4.0,
    json_file: Annotated[Path | None, typer.Option("--json", help="Where to write the record.")] = None,
) -> None:
    """Time all processors, print the ratios, and the images per second of several threads."""
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    with progress() as display:
        rows = [measure(case, seconds) for case in display.track(CASES, description="Processors")]
    table = Table("processor", "height × width", "original ms", "onelayer ms", "ratio", title=TITLE)
    for row in rows:
        medians = row["milliseconds"]
        cells = (f"{medians['original']:.3f}", f"{medians['onelayer']:.3f}", f"{row['ratio']:.2f}")
        table.add_row(row["processor"], row["size"], *cells)
    results.print(table)
    by_threads = measure_threads(seconds)
    table = Table("threads", "original", "onelayer", title=THREADS_TITLE)
    for row in by_threads:
        table.add_row(str(row["threads"]), f"{row['original']:.0f}", f"{row['onelayer']:.0f}")
    results.print(table)
    if json_file is not None:
        environment = {**current_environment().model_dump(), "transformers": transformers.__version__}
        record = {"title": TITLE, "rows": rows, "threads": by_threads, "environment": environment}
        json_file.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
