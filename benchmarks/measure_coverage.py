"""Measure how far compiled layers are from their transforms: every pipeline of the catalogue, and random compositions.

Writes `coverage.json`, with every figure, and `coverage.md`, the page, into the folder of `--out`. Takes some minutes.

    python benchmarks/measure_coverage.py --out docs/results/coverage
"""

from __future__ import annotations

import datetime as dt
import shlex
from pathlib import Path
from typing import Annotated

import typer
from coverage_table.measuring import measure_compositions, measure_pipeline
from coverage_table.page import page
from coverage_table.photographs import SIZES, of_folder
from coverage_table.records import LIMIT, CoverageRecord, Size

from onelayer import pipelines
from onelayer.atomic_write import write_whole
from onelayer.console import console, progress, results
from onelayer.data.photographs import bundled
from onelayer.environment import current_environment
from onelayer.errors import OnelayerError


def _sizes(text: str) -> tuple[Size, ...]:
    try:
        chosen = [tuple(map(int, size.split("x"))) for size in text.split(",")]
        if any(len(size) != 2 or min(size) < 1 for size in chosen):
            raise ValueError(text)
    except ValueError:
        raise OnelayerError(f"the sizes {text!r} were given", expected="height x width, as 17x11,375x500") from None
    return tuple((height, width) for height, width in chosen)


def measure(
    names: list[str], sizes: tuple[Size, ...], compositions: int, seed: int, data: Path | None, command: str
) -> CoverageRecord:
    """Measure all that the page shows."""
    photographs = of_folder(data) if data else bundled()
    chosen = [pipelines.named(name) for name in names]
    with progress() as display:
        task = display.add_task("Pipelines", total=len(chosen) * len(sizes))
        rows = [measure_pipeline(each, photographs, sizes, lambda: display.advance(task)) for each in chosen]
        measured = measure_compositions(compositions, photographs, seed)
        composed = list(display.track(measured, total=compositions, description="Compositions"))
    return CoverageRecord(
        created=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        command=command,
        photographs=tuple(photograph.name for photograph in photographs),
        sizes=sizes,
        seed=seed,
        environment=current_environment(),
        pipelines=tuple(rows),
        compositions=tuple(sorted(composed, key=lambda row: row.difference.largest, reverse=True)),
    )


def main(
    out: Annotated[Path, typer.Option(help="Folder for both files.")] = Path("docs/results/coverage"),
    names: Annotated[
        str | None, typer.Option("--pipelines", help="Names of pipelines, separated by commas.", show_default="all")
    ] = None,
    sizes: Annotated[
        str | None, typer.Option(help="Heights and widths, as 17x11,375x500.", show_default=f"{len(SIZES)} sizes")
    ] = None,
    compositions: Annotated[int, typer.Option(min=0, help="Number of random compositions.")] = 300,
    seed: Annotated[int, typer.Option(help="Seed of the random compositions.")] = 0,
    data: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="Folder of photographs.", show_default="those of scikit-image"),
    ] = None,
) -> None:
    """Measure, write the files, and list what is over the limit."""
    # Without the folders, which are this machine's.
    options = {"pipelines": names, "sizes": sizes, "compositions": compositions, "seed": seed}
    chosen_options = {name: str(value) for name, value in options.items() if value is not None}
    chosen_options |= {"data": data.resolve().name} if data else {}
    command = shlex.join(
        ["python", "benchmarks/measure_coverage.py", *(f"--{name}={value}" for name, value in chosen_options.items())]
    )
    try:
        chosen = names.split(",") if names else pipelines.names()
        record = measure(chosen, _sizes(sizes) if sizes else SIZES, compositions, seed, data, command)
        out.mkdir(parents=True, exist_ok=True)
        record.write(out / "coverage.json")
        write_whole(out / "coverage.md", page(record).encode("utf-8"))
    except OnelayerError as error:
        console.print(f"Error: {error}", markup=False)
        raise typer.Exit(2) from None
    for row in record.pipelines:
        results.print(f"{row.name:20} {row.difference.largest:.1e} of the range", highlight=False)
    over = sum(row.difference.largest > LIMIT for row in record.compositions)
    results.print(f"{over} of {len(record.compositions)} compositions over {LIMIT:.0e}", highlight=False)
    results.print(out / "coverage.md")


if __name__ == "__main__":
    typer.run(main)
