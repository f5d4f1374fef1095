"""The fused kernel against torchvision, the matrix products in PyTorch, and the floor.

The floor is the time to read the same input and write the same output once, with the same threads, in the same rounds.
Every way is compared with real arithmetic (the NumPy reference), so that none wins by doing less. Writes
`fused-kernel.json`, with every time, and `fused-kernel.md`, the table, into the folder of `--out`.

    python benchmarks/fused_kernel.py --data cifar10-parquet --out docs/results/fused-kernel
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from coverage_table.photographs import bundled
from numpy.typing import NDArray
from torchvision.models import ResNet50_Weights

import onelayer
from onelayer import pipelines
from onelayer.backends.threads import in_threads
from onelayer.bench.harness import Contender, time_interleaved
from onelayer.console import console, progress
from onelayer.data import load_images
from onelayer.environment import measured_here
from onelayer.records import Environment, Part, Record, Timing
from onelayer.whole_file import write_whole

Apply = Callable[[torch.Tensor], torch.Tensor]

REPEATED = 50
"""How often a pass goes over a photograph of 375×500, which alone is over too soon for a clock; larger ones less."""


_SMALL = 1 << 20
"""Up to so many bytes the floor takes one thread."""


class Row(Part):
    """One way of doing a workload."""

    workload: str
    images: int
    """Of one pass."""
    threads: int
    way: str
    timing: Timing
    largest_difference: float | None
    """From real arithmetic, in grey levels; None for the floor, which computes nothing."""


class KernelRecord(Record):
    """What was measured, and where."""

    created: str
    command: str
    environment: Environment
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Workload:
    """Work to time.

    Args:
        name: For people.
        transform: The original.
        batches: Of one pass.
        grey_levels: What one unit of the output is in grey levels, per output channel.
        image_by_image: Whether to time the transforms on each image alone, too.
    """

    name: str
    transform: Apply
    batches: list[torch.Tensor]
    grey_levels: torch.Tensor
    image_by_image: bool = False

    def ways(self) -> dict[str, Apply]:
        """All ways of doing it."""
        fused = onelayer.compile(self.transform, backend="numba")
        products = onelayer.compile(self.transform, backend="torch")
        ways: dict[str, Apply] = {"onelayer": fused, "onelayer, torch": products, "torchvision": self.transform}
        if self.image_by_image:
            ways["torchvision, image by image"] = lambda batch: torch.stack([self.transform(image) for image in batch])
        return ways

    def difference(self, way: Apply) -> float:
        """The largest difference from real arithmetic on the first batch, in grey levels."""
        batch = self.batches[0][:32] if self.batches[0].ndim == 4 else self.batches[0]
        truth = onelayer.compile(self.transform, backend="reference")(batch)
        return float(((way(batch).double() - truth.double()).abs() * self.grey_levels[:, None, None]).max())


def _floor(images: torch.Tensor, output: torch.Tensor, threads: int) -> None:
    """Read all of the images, and write all of the output, once."""
    # A second thread costs more than so few bytes.
    threads = threads if images.nbytes > _SMALL else 1
    reads = np.array_split(_memory(images).view(np.uint32), threads)
    writes = np.array_split(_memory(output), threads)

    def piece(read: NDArray[np.uint32], write: NDArray[np.uint8]) -> None:
        np.bitwise_or.reduce(read)
        write.fill(1)

    in_threads([partial(piece, *both) for both in zip(reads, writes, strict=True)])


def _memory(images: torch.Tensor) -> NDArray[np.uint8]:
    # In the order in which it lies there: HWC images are no contiguous tensors.
    storage = images.untyped_storage()
    line = torch.empty(0, dtype=torch.uint8).set_(storage)  # type: ignore[call-overload]
    begin = images.storage_offset() * images.itemsize
    return np.asarray(line.numpy()[begin : begin + images.nbytes])


def _workloads(data: str, images: int) -> Iterator[Workload]:
    report = pipelines.named("report")
    pixels = torch.from_numpy(load_images(data, shape=report.input_shape, seed=0).test[:images].copy())
    unit = pixels.float() / 255
    for size in dict.fromkeys((8, 256, len(pixels))):
        batches = list(torch.split(unit, size))
        yield Workload(
            f"report, float32, batch {size:,}", report.transform, batches, torch.tensor([255.0]), size == 256
        )
    bytes_ = list(torch.split(pixels, 256))
    yield Workload("report, uint8, batch 256", report.transform, bytes_, torch.tensor([1.0]), True)
    evaluation = ResNet50_Weights.IMAGENET1K_V2.transforms()
    grey_levels = 255 * torch.tensor(evaluation.std)
    for height, width in ((375, 500), (1080, 1920), (3000, 4000)):
        photograph = bundled()[0].at(height, width, 3)
        interleaved = photograph.permute(1, 2, 0).contiguous().permute(2, 0, 1)
        repeats = max(2, REPEATED * 375 * 500 // (height * width))
        for memory, layout in ((photograph, "CHW"), (interleaved, "HWC")):
            name = f"ImageNet evaluation, {height}×{width}, {layout}"
            yield Workload(name, evaluation, [memory] * repeats, grey_levels)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _measured(workload: Workload, threads: int, repeats: int) -> list[Row]:
    ways = workload.ways()
    outputs = {batch.shape: ways["onelayer"](batch) for batch in workload.batches}
    floor: Apply = lambda batch: _floor(batch, outputs[batch.shape], threads)  # type: ignore[assignment,return-value]  # noqa: E731
    contenders = {way: Contender(apply, workload.batches) for way, apply in {"floor": floor, **ways}.items()}
    with progress() as shown:
        timings = time_interleaved(contenders, burn_in=2, repeats=repeats, progress=shown)
    return [
        Row(
            workload=workload.name,
            images=sum(batch.shape[:-3].numel() for batch in workload.batches),
            threads=threads,
            way=way,
            timing=timing,
            largest_difference=workload.difference(ways[way]) if way in ways else None,
        )
        for way, timing in timings.items()
    ]


def _page(record: KernelRecord) -> str:
    here = record.environment
    lines = [
        "# The fused kernel, measured",
        "",
        f"`{record.command}` on {here.cpu}, {here.logical_cores} cores. Medians of interleaved passes.",
        "The floor reads the input and writes the output once, into memory that is there already. Differences are from",
        "the NumPy reference in float64, in grey levels.",
        "",
        "| workload | threads | way | ms an image | times the fused kernel's | times the floor | largest difference |",
        "|---|---|---|---|---|---|---|",
    ]
    medians = {(row.workload, row.threads, row.way): row.timing.median for row in record.rows}
    for row in sorted(record.rows, key=lambda row: row.threads):
        ours, floor = (medians[row.workload, row.threads, way] for way in ("onelayer", "floor"))
        difference = "" if row.largest_difference is None else f"{row.largest_difference:.2g}"
        lines.append(
            f"| {row.workload} | {row.threads} | {row.way} | {1e3 * row.timing.median / row.images:.2g} | "
            f"{row.timing.median / ours:.2f} | {row.timing.median / floor:.1f} | {difference} |"
        )
    return "\n".join(lines) + "\n"


def main(
    out: Annotated[Path, typer.Option(help="Folder for the record and the table.")],
    data: Annotated[str, typer.Option(envvar="ONELAYER_DATA", help="As `onelayer reproduce --data`.")] = "sample",
    images: Annotated[int, typer.Option(min=8, help="Images of one pass of the report's workload.")] = 10_000,
    repeats: Annotated[int, typer.Option(min=1, help="Passes that count.")] = 9,
) -> None:
    """Time all ways of all workloads against each other, with one thread and with all."""
    rows: list[Row] = []
    with torch.inference_mode():
        for workload in _workloads(data, images):
            for threads in sorted({1, os.cpu_count() or 1}):
                console.print(f"{workload.name}, threads: {threads}")
                with _threads(threads):
                    rows += _measured(workload, threads, repeats)
    record = KernelRecord(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=shlex.join(["python", "benchmarks/fused_kernel.py", *sys.argv[1:]]),
        environment=measured_here(),
        rows=tuple(rows),
    )
    out.mkdir(parents=True, exist_ok=True)
    record.write(out / "fused-kernel.json")
    write_whole(out / "fused-kernel.md", _page(record).encode())


if __name__ == "__main__":
    typer.run(main)
