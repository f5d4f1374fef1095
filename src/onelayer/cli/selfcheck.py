"""``onelayer selfcheck``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from onelayer.cli.app import app, examples
from onelayer.console import console, progress, results
from onelayer.errors import OnelayerError

DIFFERENT = 1
"""Status of the process where a bit differs."""


@app.command(
    epilog=examples(
        "onelayer selfcheck",
        "onelayer selfcheck --cases 20000 --json selfcheck.json",
    )
)
def selfcheck(
    cases: Annotated[int, typer.Option(min=1, max=10_000_000, help="Approximate number of random cases.")] = 400,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the cases.")] = 0,
    json: Annotated[
        Path | None,
        typer.Option(help="File to write the results into.", show_default="not written", dir_okay=False),
    ] = None,
) -> None:
    """Compare layers with the installed torchvision, PyTorch and Pillow, bit for bit.

    Ends with status 1 where any bit of any image differs. Where none of at least 400 cases does, these versions are not
    warned of again on this machine. Takes some seconds; 20,000 cases take some minutes.
    """
    if json is not None and not json.parent.is_dir():
        raise OnelayerError(f"--json {json} cannot be written", expected="a file in a folder that exists")

    from onelayer.frontends.torchvision import passed_here
    from onelayer.selfcheck import check, table

    with progress() as display:
        task = display.add_task("Cases", total=cases)
        record = check(cases, seed, lambda: display.advance(task))
    if json is not None:
        record.write(json)
    results.print(table(record))
    for family in record.families:
        if family.first_difference is not None:
            console.print(f"[red]{family.name}[/red]: {escape(family.first_difference)}", soft_wrap=True)
    if record.mismatches:
        console.print(
            "Where these transforms are used, take rounding='fused', or leave them to their library; "
            "and report the versions above.",
        )
        raise typer.Exit(DIFFERENT)
    if record.cases >= passed_here.ENOUGH_CASES:
        passed_here.record()
