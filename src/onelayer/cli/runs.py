"""Commands that make a run, or work on one: reproduce, learn, compare, report."""

from __future__ import annotations

import functools
import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from onelayer.cli.app import app, examples
from onelayer.console import results
from onelayer.errors import Interrupted
from onelayer.reproduction.learn_request import DeviceChoice, LearnRequest, RecipeChoice
from onelayer.reproduction.run_folder import RunFolder

# What needs torch is imported inside the commands, so that --help answers at once.

Data = Annotated[
    str | None,
    typer.Option(
        help="[bold]sample[/bold] (patches of scikit-image's photographs), [bold]cifar10[/bold] (download), "
        "or a path: a folder of RGB images, a Parquet file with an `img` or `image` column, or a folder of such files.",
        show_default="ONELAYER_DATA, or sample",
    ),
]
MovedData = Annotated[str | None, typer.Option("--data", help="Where the run's images are now, if they have moved.")]
Out = Annotated[Path | None, typer.Option(help="The folder of the run.", show_default="runs/ and the name of the data")]
Device = Annotated[DeviceChoice, typer.Option(help="Where to work; [bold]auto[/bold] takes CUDA where there is one.")]
Epochs = Annotated[int | None, typer.Option(help="At most so many epochs.", show_default="200, or 3 with --quick")]
BatchSize = Annotated[int | None, typer.Option(help="Images per step.", show_default="128")]
LearningRate = Annotated[float | None, typer.Option("--lr", help="Adam's learning rate.", show_default="0.001")]
Patience = Annotated[int | None, typer.Option(help="Stop after so many epochs without improvement.", show_default="10")]
MinDelta = Annotated[
    float | None, typer.Option(help="How far the validation MSE must fall to be an improvement.", show_default="0.0001")
]
Seed = Annotated[int | None, typer.Option(help="Of the split, the first weights and the order.", show_default="0")]
Devices = Annotated[
    int | None, typer.Option(help="How many of them learn together, each on its own batches.", show_default="1")
]
Recipe = Annotated[
    RecipeChoice | None,
    typer.Option(
        help="[bold]report[/bold]: Adam and early stopping; [bold]least-squares[/bold]: the best layer there is, in "
        "one pass; [bold]adam-whitened[/bold]: Adam on whitened images, 5 epochs.",
        show_default="report",
    ),
]
Quick = Annotated[bool, typer.Option("--quick", help="A few epochs on fewer images: about a minute.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in --out; --epochs may grow.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the run in --out.")]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Leave out images that cannot be used, and count them.")]
Run = Annotated[Path, typer.Argument(help="The folder of a run.", show_default=False)]


def _request(
    data: Data = None,
    out: Out = None,
    device: Device = DeviceChoice.auto,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    lr: LearningRate = None,
    patience: Patience = None,
    min_delta: MinDelta = None,
    seed: Seed = None,
    devices: Devices = None,
    recipe: Recipe = None,
    quick: Quick = False,
    resume: Resume = False,
    overwrite: Overwrite = False,
    skip_bad: SkipBad = False,
) -> LearnRequest:
    if data is None and not resume:  # a run that goes on knows its data
        data = os.environ.get("ONELAYER_DATA")
    return LearnRequest(
        out=out or Path("runs") / (Path(data).resolve().stem if data else "sample"),
        data=data,
        device=device,
        options={
            "epochs": epochs,
            "batch_size": batch_size,
            "lr": lr,
            "patience": patience,
            "min_delta": min_delta,
            "seed": seed,
            "devices": devices,
        },
        recipe=recipe,
        quick=quick,
        resume=resume,
        overwrite=overwrite,
        skip_bad=skip_bad,
    )


def _taking_request(command: Callable[[LearnRequest], None]) -> Callable[..., None]:
    """A command with the options of :func:`_request`, so that those who learn share one list of options."""

    @functools.wraps(_request)
    def run(**options: Any) -> None:
        command(_request(**options))

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    return run


@app.command(
    epilog=examples(
        "onelayer reproduce",
        "onelayer reproduce --data cifar10 --out runs/cifar10",
        "onelayer reproduce --data photographs/ --epochs 50 --skip-bad",
        "onelayer reproduce --resume --out runs/cifar10",
    )
)
@_taking_request
def reproduce(request: LearnRequest) -> None:
    """Run the report from data to page: learn the layer, compare it, time it, write report.html."""
    from onelayer.reproduction.reproduce import reproduce as run

    run(request)


@app.command(
    epilog=examples(
        "onelayer learn --data cifar10 --out runs/mine",
        "onelayer learn --data cifar10 --out runs/best --recipe least-squares",
        "onelayer learn --resume --out runs/mine --epochs 400",
    )
)
@_taking_request
def learn(request: LearnRequest) -> None:
    """Learn the layer only; compare, bench and report take it from there."""
    from onelayer.reproduction.steps import learn_step

    try:
        learn_step(request)
    except Interrupted as stop:
        raise Interrupted(
            f"{stop}\nGo on with: onelayer learn --resume --out {shlex.quote(str(request.out))}"
        ) from None
    results.print(f"The layer: [bold]{escape(str(RunFolder(request.out).layer))}[/bold]", soft_wrap=True)


@app.command(epilog=examples("onelayer compare runs/sample", "onelayer compare runs/mine --data moved/photographs"))
def compare(run: Run, data: MovedData = None) -> None:
    """Compare a run's layer with the original transforms on the test images."""
    from onelayer.reproduction.records import MetricsRecord
    from onelayer.reproduction.report import metrics_table
    from onelayer.reproduction.steps import compare_step

    folder = RunFolder(run)
    compare_step(folder, data)
    results.print(metrics_table(MetricsRecord.read(folder.metrics)))
    results.print(f"Onto the page with: onelayer report {shlex.quote(str(run))}", soft_wrap=True)


@app.command(epilog=examples("onelayer report runs/sample"))
def report(run: Run) -> None:
    """Make the figures and report.html again from the saved records, without running anything."""
    from onelayer.reproduction.report import build_report

    results.print(f"The page: [bold]{escape(str(build_report(RunFolder(run))))}[/bold]", soft_wrap=True)
