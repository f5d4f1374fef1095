"""``onelayer bench``"""

from __future__ import annotations

import os
import shlex
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from onelayer.bench.names import PEER_NAMES, WORKLOAD_NAMES
from onelayer.cli.app import app, check_installed, examples
from onelayer.cli.pipeline_source import check_pipeline
from onelayer.cli.run_options import Device, check_data, pipeline_of_run
from onelayer.console import progress, results
from onelayer.errors import Interrupted, OnelayerError
from onelayer.reproduction.learn_request import DeviceChoice
from onelayer.reproduction.run_folder import RunFolder

if TYPE_CHECKING:
    from onelayer.bench.measure import Request
    from onelayer.bench.workloads import Work

ALL, TRAINING = "all", "training"

_TRAINING_FILES = 400


@app.command(
    epilog=examples(
        "onelayer bench",
        "onelayer bench imagenet-375x500 clip-375x500 --threads 1",
        "onelayer bench report-float32 --batch-size 256,all --data cifar10",
        "onelayer bench imagenet-stream --peers onelayer,torchvision,opencv --repeats 15 --out bench/stream",
        "onelayer bench training --images 400 --out bench/training",
        "onelayer bench runs/sample --device cuda --repeats 20",
    )
)
def bench(
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="WORKLOAD",
            help="Workloads to time; [bold]all[/bold] of them; [bold]training[/bold], a loader of JPEG files with "
            "random transforms and two workers; or the folder of a run, to time its layer against the original "
            "transforms (and behind it the run's PIPELINE, if that is not built in).",
            show_default="a list of all workloads and peers",
        ),
    ] = None,
    threads: Annotated[
        str | None, typer.Option(help="Numbers of threads, such as 1,2.", show_default="1 and all cores; on CUDA all")
    ] = None,
    peers: Annotated[
        str | None, typer.Option(help="Names of peers, such as onelayer,opencv.", show_default="all")
    ] = None,
    batch_size: Annotated[
        str | None,
        typer.Option(
            help="Batch sizes of the report's workloads, such as 8,256,all, where all is one batch of all images.",
            show_default="8 to 1024, and all",
        ),
    ] = None,
    device: Device = DeviceChoice.auto,
    repeats: Annotated[
        int | None, typer.Option(help="Number of timed rounds.", min=3, max=1000, show_default="5; of a run, 3")
    ] = None,
    images: Annotated[
        int | None,
        typer.Option(
            help="Number of images per pass.",
            min=1,
            max=10_000,
            show_default="10,000 of the report's, 3 to 48 photographs",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="Images of the report's workloads, as for reproduce; of a run: the present place of its images.",
            show_default="ONELAYER_DATA, or sample",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the record, the page and the figures.", show_default="bench", file_okay=False),
    ] = None,
) -> None:
    """Time pipelines against all other ways to run them; or the layer of a run against its transforms."""
    check_data(data)
    if what and RunFolder(Path(what[0])).holds_run:
        others = {"--threads": threads, "--peers": peers, "--batch-size": batch_size, "--images": images, "--out": out}
        _bench_run(what, device, repeats, data, others)
        return
    if not what:
        _list()
        return
    if TRAINING in what:
        others = {"--threads": threads, "--peers": peers, "--batch-size": batch_size, "--data": data}
        _bench_training(what, images or _TRAINING_FILES, repeats, out or Path("bench"), others)
        return
    if what != [ALL]:
        WORKLOAD_NAMES.check(what)
    cores = os.cpu_count() or 1
    numbers = None if threads is None else _numbers(threads, "--threads", cores)
    sizes = None if batch_size is None else _batch_sizes(batch_size)
    peer_names = None if peers in (None, ALL) else _names(peers or "", "--peers")
    PEER_NAMES.check(peer_names or ())
    check_installed("matplotlib", "skimage", extra="bench", purpose="onelayer bench")
    # Before PyTorch is loaded. Its OpenMP threads spin while they wait, by default for so long that two of them on a
    # virtual machine may keep each other from one core: then every call takes 8 ms, or none, by chance.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")

    from onelayer.bench import measure
    from onelayer.bench.peers import PEERS
    from onelayer.bench.workloads import WORKLOADS
    from onelayer.reproduction.steps import resolve_device

    chosen = WORKLOADS if what == [ALL] else WORKLOAD_NAMES.select(WORKLOADS, what)
    placed = resolve_device(device)
    request = measure.Request(
        workloads=chosen,
        peers=PEERS if peer_names is None else PEER_NAMES.select(PEERS, peer_names),
        # A device does not care how many threads its host has.
        threads=numbers or sorted({1 if placed == "cpu" else cores, cores}),
        batch_sizes=sizes,
        device=placed,
        repeats=repeats or measure.REPEATS,
        images=images,
        data=data or os.environ.get("ONELAYER_DATA", "sample"),
    )
    options = {
        "--threads": threads,
        "--peers": peers,
        "--batch-size": batch_size,
        "--device": placed,
        "--repeats": repeats,
        "--images": images,
        # A page is passed on, a machine's folders are not.
        "--data": data and Path(data).name,
    }
    given = [text for name, value in options.items() if value is not None for text in (name, str(value))]
    _bench_peers(request, out or Path("bench"), shlex.join(["onelayer", "bench", *what, *given]))


def _bench_run(
    what: list[str], device: DeviceChoice, repeats: int | None, data: str | None, others: dict[str, Any]
) -> None:
    folder, pipeline = RunFolder(Path(what[0])), what[1:]
    if len(pipeline) > 1:
        raise OnelayerError(f"{folder.path} is a run, and {' '.join(pipeline)} given", expected="its pipeline at most")
    given = [name for name, value in others.items() if value is not None]
    if given:
        raise OnelayerError(
            f"{folder.path} is a run, and {', '.join(given)} given", expected="--device, --repeats and --data only"
        )
    for text in pipeline:
        check_pipeline(text)

    from onelayer.bench.record import BenchmarkRecord
    from onelayer.reproduction.report import benchmark_table
    from onelayer.reproduction.steps import bench_step, resolve_device

    own = pipeline_of_run(pipeline[0] if pipeline else None, None, folder)
    bench_step(folder, resolve_device(device), data, own, repeats=repeats)
    results.print(benchmark_table(BenchmarkRecord.read(folder.benchmark)))
    results.print(f"Onto the page with: onelayer report {shlex.quote(str(folder.path))}", soft_wrap=True)


def _bench_training(what: list[str], files: int, repeats: int | None, out: Path, others: dict[str, Any]) -> None:
    given = [name for name, value in others.items() if value is not None]
    if len(what) > 1 or given:
        raise OnelayerError(
            f"training and {', '.join([*what[1:], *given])} were given",
            expected="training alone, with --images, --repeats and --out only",
        )
    check_installed("skimage", extra="bench", purpose="onelayer bench")

    from onelayer.bench import loader, measure

    rounds = repeats or measure.REPEATS
    rows = []
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place, progress() as display:
        loader.write_photographs(Path(place) / "files", files)
        cases = [(name, each, at) for name, each in loader.training_pipelines().items() for at in (False, True)]
        for name, transform, as_tensors in display.track(cases, description="Pipelines"):
            folder = Path(place) / "files"
            row = loader.measure(folder, name, transform, as_tensors=as_tensors, workers=2, rounds=rounds)
            rows.append(row)
    results.print(loader.table_of(rows))
    loader.record_of(rows, files, rounds).write(out / "training-loader.json")
    results.print(f"Record: [bold]{escape(str(out / 'training-loader.json'))}[/bold]", soft_wrap=True)


def _bench_peers(request: Request[Work], out: Path, command: str) -> None:
    from onelayer.bench.measure import measure
    from onelayer.bench.page import write_results
    from onelayer.bench.table import case_table

    # What cannot be written is better known before anything is measured.
    out.mkdir(parents=True, exist_ok=True)
    measured = 0
    try:
        for record in measure(request, command):
            measured = len(record.cases)
            results.print(case_table(record.cases[-1]))
            write_results(record, out)
    except KeyboardInterrupt:
        count = "1 case" if measured == 1 else f"{measured} cases"
        raise Interrupted(f"{count} measured" + (f", kept in {out}." if measured else ".")) from None
    results.print(f"Record, page and figures: [bold]{escape(str(out))}[/bold]", soft_wrap=True)


def _list() -> None:
    from onelayer.bench.peers import peers_table
    from onelayer.bench.workloads import workloads_table

    results.print(workloads_table())
    results.print(peers_table())
    results.print("Time them with: onelayer bench WORKLOAD …, or onelayer bench all", markup=False)
    results.print("A loader with random transforms: onelayer bench training")


def _names(text: str, option: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise OnelayerError(f"{option} {text!r} was given", expected="names with commas between them")
    return names


def _numbers(text: str, option: str, most: int) -> list[int]:
    names = _names(text, option)
    if not all(name.isdecimal() and 1 <= int(name) <= most for name in names):
        raise OnelayerError(
            f"{option} {text} was given", expected=f"numbers from 1 to {most:,}, with commas between them"
        )
    return sorted(set(map(int, names)))


def _batch_sizes(text: str) -> list[int]:
    names = _names(text, "--batch-size")
    numbers = [name for name in names if name != ALL]
    return (_numbers(",".join(numbers), "--batch-size", 10_000) if numbers else []) + [0] * (ALL in names)
