"""Options of the commands that make a run or work on one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from onelayer.cli.app import check_installed
from onelayer.errors import OnelayerError
from onelayer.reproduction.learn_request import DeviceChoice, LearnRequest, RecipeChoice
from onelayer.reproduction.run_folder import RunFolder

Data = Annotated[
    str | None,
    typer.Option(
        help="[bold]sample[/bold] (patches of scikit-image's photographs), [bold]cifar10[/bold] (download), "
        "or a path: a folder of RGB images, a Parquet file with an `img` or `image` column, or a folder of such files.",
        show_default="ONELAYER_DATA, or sample",
    ),
]
MovedData = Annotated[
    str | None,
    typer.Option("--data", help="Present place of the run's images.", show_default="where they were"),
]
RunOut = Annotated[
    Path | None, typer.Option("--out", help="Folder of the run.", show_default="runs/ and the name of the data")
]
Device = Annotated[
    DeviceChoice, typer.Option(help="Device to work on; [bold]auto[/bold] takes CUDA where there is one.")
]
Epochs = Annotated[int | None, typer.Option(help="Maximum number of epochs.", show_default="200, or 3 with --quick")]
BatchSize = Annotated[int | None, typer.Option(help="Images per step.", show_default="128")]
LearningRate = Annotated[float | None, typer.Option("--lr", help="Adam's learning rate.", show_default="0.001")]
Patience = Annotated[int | None, typer.Option(help="Epochs without improvement before stopping.", show_default="10")]
MinDelta = Annotated[
    float | None, typer.Option(help="Fall of the validation MSE that counts as an improvement.", show_default="0.0001")
]
Seed = Annotated[
    int | None, typer.Option(help="Seed of the split, the first weights and the order of the images.", show_default="0")
]
Devices = Annotated[
    int | None,
    typer.Option(help="Number of devices that learn together, each on its own batches.", show_default="1"),
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
OverwriteRun = Annotated[bool, typer.Option("--overwrite", help="Replace the run in --out.")]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Leave out images that cannot be used, and count them.")]
Run = Annotated[Path, typer.Argument(help="Folder of a run.", show_default=False)]

_EXTRA = ("lightning", "matplotlib", "jinja2", "skimage", "tensorboard", "torchmetrics")
"""Modules of the extra ``reproduce``."""


def check_reproduction(command: str) -> None:
    """Refuse a command of which a package is not installed."""
    check_installed(*_EXTRA, extra="reproduce", purpose=f"onelayer {command}")


def check_run(folder: Path) -> RunFolder:
    """Refuse a folder without a run."""
    run = RunFolder(folder)
    if not run.holds_run:
        raise OnelayerError(
            f"there is no run in {folder}",
            expected="the folder of a run, as given to --out",
            hint="onelayer reproduce and onelayer learn make runs.",
        )
    return run


def check_data(data: str | None) -> None:
    """Refuse data that do not exist, without importing torch."""
    if data not in (None, "sample", "cifar10") and not (data and os.path.lexists(data)):
        raise OnelayerError(
            f"there is no data called {data!r}",
            expected="sample, cifar10, a folder of images or Parquet files, or a Parquet file",
            hint="Check what was given to --data for a typo.",
        )


def learn_request(
    *,
    data: str | None,
    out: Path | None,
    resume: bool,
    overwrite: bool,
    options: Mapping[str, float | None],
    device: DeviceChoice,
    recipe: RecipeChoice | None,
    quick: bool,
    skip_bad: bool,
) -> LearnRequest:
    """Put the options of learning together, after what can be checked without importing torch.

    Raises:
        OnelayerError: If options contradict each other or are out of range, the data do not exist, there is a run
            already, or none to go on with.
    """
    if resume and overwrite:
        raise OnelayerError("both --resume and --overwrite were given", expected="one of them, or neither")
    if data is None and not resume:  # a run that goes on knows its data
        data = os.environ.get("ONELAYER_DATA")
    check_data(data)
    out = out or Path("runs") / (Path(data).resolve().stem if data else "sample")
    if resume:
        check_run(out)
    else:
        from onelayer.reproduction.records import TrainingSettings, settings_of

        settings_of(options, TrainingSettings())
        RunFolder(out).check_free(overwrite=overwrite, room=0)
    return LearnRequest(
        out=out,
        data=data,
        device=device,
        options=options,
        recipe=recipe,
        quick=quick,
        resume=resume,
        overwrite=overwrite,
        skip_bad=skip_bad,
    )
