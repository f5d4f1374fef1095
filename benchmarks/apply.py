"""Measure `onelayer apply`: its rate, resuming after SIGKILL, two nodes, and its memory.

Four parts, each alone or all one after the other; the record keeps the parts that are not run again.

- `rate`: JPEG files of photographs, no two of one size, through ResNet-50's evaluation into Parquet files, with two
  workers, against a loop by hand in two processes with the same layer, with and without writing the results to a file.
  Rates are sums of those of the two processes, each without its start. Passes take turns.
- `kill`: small JPEG files; runs that are killed with SIGKILL at random moments, the command alone or with all its
  processes, and started again until they are done. Every file is compared with that of a run that was left alone.
- `nodes`: two Ray nodes of one CPU each on this machine; every file is compared with that of a run without a cluster.
- `memory`: the largest sum of the processes' memory (proportional set size) over a data set and over a tenth of it.

    python benchmarks/apply.py --json docs/results/apply.json
    python benchmarks/apply.py --part kill --part nodes --json docs/results/apply.json
"""

from __future__ import annotations

import filecmp
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import PIL.Image
import torch
import typer
from torchvision.transforms import v2

import onelayer
from onelayer import pipelines
from onelayer.bench.loader import write_photographs
from onelayer.console import console
from onelayer.environment import current_environment
from onelayer.records import Environment, Part, Record

small = v2.Compose(
    [
        v2.ToImage(),
        v2.Resize(40),
        v2.CenterCrop(32),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ]
)
"""Pipeline for small images."""

SMALL, CLASSES, BATCH, IMAGES_PER_FILE = 64, 100, 32, 500


class PartName(StrEnum):
    """A part of the measurements."""

    rate = "rate"
    kill = "kill"
    nodes = "nodes"
    memory = "memory"


class Rate(Part):
    """Images per second, of each pass."""

    files: int
    images_per_file: int
    onelayer_apply: tuple[float, ...]
    by_hand: tuple[float, ...]
    """A loop in two processes that writes batches with numpy.save."""
    by_hand_without_writing: tuple[float, ...]
    ratio_median: float
    """Median of the ratios of neighbouring passes, of onelayer apply to the loop that writes."""
    ratio_without_writing_median: float
    environment: Environment


class Kills(Part):
    """Runs that were killed, and what became of them."""

    images: int
    files: int
    kills: int
    outputs: int
    """Outputs that were finished meanwhile, after one kill or more."""
    files_at_kills: tuple[int, ...]
    """Finished files at each kill."""
    differing_files: int
    environment: Environment


class Nodes(Part):
    """A run on two Ray nodes on one machine."""

    images: int
    files: int
    differing_files: int
    environment: Environment


class Memory(Part):
    """Largest memory of the command and all its processes, Ray's among them, in MiB."""

    images: int
    seconds: float
    peak: float
    peak_of_the_command: float
    """Of the process that was started alone."""
    peak_of_a_tenth: float
    """Of a run over a tenth of the images."""
    environment: Environment


class ApplyRecord(Record):
    """docs/results/apply.json"""

    kind: Literal["apply"] = "apply"
    rate: Rate | None = None
    kills: Kills | None = None
    nodes: Nodes | None = None
    memory: Memory | None = None


def main(
    part: Annotated[list[PartName] | None, typer.Option(help="What to measure; may be repeated.")] = None,
    photographs: Annotated[int, typer.Option(help="Files for the rate.")] = 5000,
    rounds: Annotated[int, typer.Option(help="Passes for the rate.")] = 5,
    small_images: Annotated[int, typer.Option(help="Files for kills and nodes.")] = 5000,
    kills: Annotated[int, typer.Option(help="Number of kills.")] = 20,
    many_images: Annotated[int, typer.Option(help="Files for the memory.")] = 100_000,
    seed: int = 0,
    json_file: Annotated[Path | None, typer.Option("--json", help="Record to write, or to bring up to date.")] = None,
) -> None:
    """Run the parts, and print and write their figures."""
    measures: dict[PartName, tuple[str, Callable[[Path], Part]]] = {
        PartName.rate: ("rate", lambda folder: measure_rate(folder, photographs, rounds)),
        PartName.kill: ("kills", lambda folder: measure_kills(folder, small_images, kills, seed)),
        PartName.nodes: ("nodes", lambda folder: measure_nodes(folder, small_images)),
        PartName.memory: ("memory", lambda folder: measure_memory(folder, many_images)),
    }
    for name in part or list(PartName):
        field, measure = measures[name]
        with tempfile.TemporaryDirectory() as place:
            found = measure(Path(place))
        console.print(found.model_dump(exclude={"environment"}))
        if json_file is not None:
            record = ApplyRecord.read(json_file) if json_file.exists() else ApplyRecord()
            record.model_copy(update={field: found}).write(json_file)


def measure_rate(folder: Path, files: int, rounds: int) -> Rate:
    """Time `onelayer apply` and loops by hand in turn."""
    from onelayer.offline.listing import find_data_set
    from onelayer.offline.manifest import Options
    from onelayer.offline.run import Request, apply_pipeline

    write_photographs(folder / "photographs", files)
    names = sorted(map(str, (folder / "photographs").rglob("*.jpg")))
    options = Options(
        format="parquet", encoding="arrays", quality=None, images_per_file=IMAGES_PER_FILE, container="pil", mode="RGB",
        column=None, key=None, seed=None, rounding=None,
    )  # fmt: skip
    request = Request(
        name="resnet50", transform=pipelines.named("resnet50").transform, source=None,
        files=find_data_set(folder / "photographs"), output=folder / "prepared", options=options, workers=2,
    )  # fmt: skip
    ours: list[float] = []
    writing: list[float] = []
    bare: list[float] = []
    for number in range(rounds + 1):
        shutil.rmtree(folder / "prepared", ignore_errors=True)
        rates = []
        for measure in (
            lambda: by_hand(names, folder),
            lambda: apply_pipeline(request).images_per_second or 0.0,
            lambda: by_hand(names, None),
        ):
            # What the pass before has written is on the disk, and does not slow this one down.
            os.sync()
            rates.append(measure())
        # The first pass does not count: nothing is in the page cache.
        if number:
            for each, rate in zip((writing, ours, bare), rates, strict=True):
                each.append(rate)
    return Rate(
        files=files,
        images_per_file=IMAGES_PER_FILE,
        onelayer_apply=tuple(ours),
        by_hand=tuple(writing),
        by_hand_without_writing=tuple(bare),
        ratio_median=float(np.median(np.divide(ours, writing))),
        ratio_without_writing_median=float(np.median(np.divide(ours, bare))),
        environment=current_environment(),
    )


def by_hand(names: list[str], folder: Path | None) -> float:
    """Run the loop in two processes; return the sum of their images per second, without their start."""
    context = multiprocessing.get_context("spawn")
    ready, rates = context.Barrier(2), context.SimpleQueue()
    each = [
        context.Process(target=loop, args=(names[number::2], folder and folder / f"{number}.npy", ready, rates))
        for number in range(2)
    ]
    for process in each:
        process.start()
    total = sum(rates.get() for _ in each)
    for process in each:
        process.join()
    return total


def loop(names: list[str], file: Path | None, ready: Any, rates: Any) -> None:
    """Decode files, apply the layer, and write batches, or only make them."""
    torch.set_num_threads(1)
    layer = onelayer.compile(pipelines.named("resnet50").transform, threads=1)

    def of_file(name: str) -> torch.Tensor:
        with PIL.Image.open(name) as image:
            result: torch.Tensor = layer(image.convert("RGB"))
        return result

    of_file(names[0])
    out = None if file is None else file.open("wb")
    ready.wait()
    begin = time.perf_counter()
    for start in range(0, len(names), BATCH):
        batch = np.stack([of_file(name).numpy() for name in names[start : start + BATCH]])
        if out is not None:
            np.save(out, batch)
    if out is not None:
        out.close()
    rates.put(len(names) / (time.perf_counter() - begin))


def write_small_images(folder: Path, count: int) -> Path:
    """Write JPEG files of smooth colours in class folders."""
    generator = np.random.default_rng(0)
    for number in range(CLASSES):
        (folder / f"{number:03}").mkdir(parents=True)
    for number in range(count):
        coarse = PIL.Image.fromarray(generator.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        image = coarse.resize((SMALL, SMALL - number % 7), PIL.Image.Resampling.BICUBIC)
        image.save(folder / f"{number % CLASSES:03}" / f"{number:06}.jpg", quality=90)
    return folder


def start(data: Path, output: Path, *more: str) -> subprocess.Popen[str]:
    """Start `onelayer apply` for small images."""
    program = [sys.executable, "-c", "from onelayer.cli import main; main()"]
    # Files small enough that there is something to lose and something to keep.
    arguments = ["apply", f"{__file__}:small", str(data), str(output), "--images-per-file", "100", *more]
    with _errors(output).open("w") as errors:
        return subprocess.Popen([*program, *arguments], stdout=subprocess.DEVNULL, stderr=errors, text=True)  # noqa: S603 - fixed arguments


def finish(process: subprocess.Popen[str], output: Path) -> None:
    """Wait for a command that has to succeed."""
    if process.wait():
        raise RuntimeError(_errors(output).read_text())


def _errors(output: Path) -> Path:
    return output.with_suffix(".errors")


def differing(ours: Path, theirs: Path) -> int:
    """Count files that are in one of two folders only, or differ in a byte."""
    names = {path.relative_to(root) for root in (ours, theirs) for path in root.rglob("*") if path.is_file()}
    return sum(
        not ((ours / name).is_file() and (theirs / name).is_file() and filecmp.cmp(ours / name, theirs / name, False))
        for name in names
    )


def measure_kills(folder: Path, images: int, kills: int, seed: int) -> Kills:
    """Kill runs at random moments until there were enough kills, and compare what they left with a whole run."""
    data = write_small_images(folder / "data", images)
    begin = time.monotonic()
    finish(start(data, folder / "whole"), folder / "whole")
    seconds = time.monotonic() - begin
    chance = random.Random(seed)  # noqa: S311 - no secret
    at_kills: list[int] = []
    outputs = wrong = 0
    while len(at_kills) < kills:
        output = folder / f"killed-{outputs}"
        before = len(at_kills)
        while True:
            process = start(data, output)
            if len(at_kills) == kills or not wait_for_a_moment(process, output, chance, seconds):
                finish(process, output)
                break
            # The command alone, whose orphans may go on for a moment, or all at once.
            doomed = [process.pid, *(descendants(process.pid) if len(at_kills) % 2 else ())]
            for pid in doomed:
                kill(pid)
            process.wait()
            at_kills.append(len(list(output.glob("part-*"))))
            console.print(f"kill {len(at_kills)} at {at_kills[-1]} files")
        if len(at_kills) > before:
            outputs += 1
            wrong += differing(folder / "whole", output)
        shutil.rmtree(output)
    return Kills(
        images=images,
        files=len(list((folder / "whole").glob("part-*"))),
        kills=len(at_kills),
        outputs=outputs,
        files_at_kills=tuple(at_kills),
        differing_files=wrong,
        environment=current_environment(),
    )


def wait_for_a_moment(process: subprocess.Popen[str], output: Path, chance: random.Random, seconds: float) -> bool:
    """Wait for a random moment: one in four anywhere in a run, the others while files are written.

    Returns:
        False if the command ended before.
    """
    there = len(list(output.glob("part-*")))
    if chance.random() < 0.25:
        wait = chance.uniform(0, seconds)
    else:
        while len(list(output.glob("part-*"))) == there and process.poll() is None:
            time.sleep(0.01)
        wait = chance.uniform(0, 4)
    try:
        process.wait(wait)
    except subprocess.TimeoutExpired:
        return True
    return False


def kill(pid: int) -> None:
    """Kill a process, if it is still there."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def descendants(pid: int) -> list[int]:
    """List the processes that a process started, and those that they started."""
    parents: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            # The name, in parentheses, may hold spaces.
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents.setdefault(int(fields[1]), []).append(int(folder.name))
    found = [pid]
    for each in found:
        found += parents.get(each, [])
    return found[1:]


def measure_nodes(folder: Path, images: int) -> Nodes:
    """Compare the output of two Ray nodes with that of this machine alone."""
    data = write_small_images(folder / "data", images)
    finish(start(data, folder / "alone"), folder / "alone")
    with two_nodes() as address:
        finish(start(data, folder / "nodes", "--address", address, "--workers", "2"), folder / "nodes")
    return Nodes(
        images=images,
        files=len(list((folder / "alone").glob("part-*"))),
        differing_files=differing(folder / "alone", folder / "nodes"),
        environment=current_environment(),
    )


@contextmanager
def two_nodes() -> Iterator[str]:
    """Start a Ray cluster of two nodes with a CPU each, so that two workers lie on two nodes."""
    from ray.cluster_utils import Cluster

    arguments = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 128 << 20}
    cluster = Cluster(initialize_head=True, head_node_args=arguments)
    cluster.add_node(num_cpus=1, object_store_memory=128 << 20)
    cluster.wait_for_nodes()
    try:
        yield cluster.address
    finally:
        cluster.shutdown()


def measure_memory(folder: Path, images: int) -> Memory:
    """Watch the memory of a run over many images, and of one over a tenth of them."""
    tenth = write_small_images(folder / "tenth", images // 10)
    peak_of_a_tenth, _ = watched(start(tenth, folder / "tenth-out"), folder / "tenth-out")
    data = write_small_images(folder / "data", images)
    begin = time.monotonic()
    peak, alone = watched(start(data, folder / "out"), folder / "out")
    return Memory(
        images=images,
        seconds=time.monotonic() - begin,
        peak=peak,
        peak_of_the_command=alone,
        peak_of_a_tenth=peak_of_a_tenth,
        environment=current_environment(),
    )


def watched(process: subprocess.Popen[str], output: Path) -> tuple[float, float]:
    """Return the largest memory of a command with all its processes, and alone, in MiB."""
    peak = alone = 0.0
    while process.poll() is None:
        each = [proportional_memory(pid) for pid in (process.pid, *descendants(process.pid))]
        peak, alone = max(peak, sum(each)), max(alone, each[0])
        time.sleep(0.5)
    finish(process, output)
    return peak, alone


def proportional_memory(pid: int) -> float:
    """Return a process's memory, shared pages divided by the number of processes that share them, in MiB."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


if __name__ == "__main__":
    typer.run(main)
