"""Options of the commands that make a run or work on one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from onelayer.cli.app import check_installed
from onelayer.cli.input_options import PIPELINE_HELP
from onelayer.cli.pipeline_source import find_pipeline, missing_shape
from onelayer.errors import OnelayerError
from onelayer.reproduction.learn_request import DeviceChoice, LearnRequest, RecipeChoice
from onelayer.reproduction.run_folder import RunFolder

if TYPE_CHECKING:
    from onelayer.pipelines import Pipeline
    from onelayer.records import Shape

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
    Path | None,
    typer.Option("--out", help="Folder of the run.", show_default="runs/ and the names of pipeline and data"),
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
RunPipeline = Annotated[
    str | None,
    typer.Argument(
        metavar="PIPELINE",
        help=f"{PIPELINE_HELP} It takes float32 batches, as tensors [N, C, H, W] in [0, 1].",
        show_default="report",
    ),
]
PipelineOfRun = Annotated[
    str | None,
    typer.Argument(
        metavar="PIPELINE", help="Pipeline of the run, if it is not built in.", show_default="the one of the record"
    ),
]
Run = Annotated[Path, typer.Argument(help="Folder of a run.", show_default=False)]


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


def check_gradient_descent() -> None:
    """Refuse to learn by gradient descent where its packages are not installed."""
    check_installed("lightning", "tensorboard", extra="reproduce", purpose="Learning by gradient descent")


def check_page() -> None:
    """Refuse to make a page where its packages are not installed."""
    check_installed("jinja2", "matplotlib", extra="reproduce", purpose="The report")


def learn_request(
    pipeline: str | None,
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
    """Put the options of learning together, after all checks that need no torch.

    Args:
        pipeline: PIPELINE, for the name of the folder; :func:`pipeline_of_run` finds it.
        data: ``--data``.
        out: ``--out``.
        resume: ``--resume``.
        overwrite: ``--overwrite``.
        options: Options of learning, by the names of the training settings.
        device: ``--device``.
        recipe: ``--recipe``.
        quick: ``--quick``.
        skip_bad: ``--skip-bad``.

    Raises:
        OnelayerError: If options contradict each other or are out of range, the data do not exist, there is a run
            already, or none to go on with.
    """
    from onelayer.reproduction.records import TrainingSettings, settings_of

    if resume and overwrite:
        raise OnelayerError("both --resume and --overwrite were given", expected="one of them, or neither")
    if data is None and not resume:  # a run that goes on knows its data
        data = os.environ.get("ONELAYER_DATA")
    check_data(data)
    if out is None:
        names = [] if pipeline in (None, "report") else [str(pipeline).rpartition(":")[2]]
        out = Path("runs") / "-".join([*names, Path(data).resolve().stem if data else "sample"])
    if resume:
        check_run(out)
    else:
        settings_of(options, TrainingSettings())
        RunFolder(out).check_free(overwrite=overwrite, room=0)
        if data in (None, "sample"):
            check_installed("skimage", extra="reproduce", purpose="The sample of photographs")
        if recipe is not RecipeChoice.least_squares:
            check_gradient_descent()
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


def pipeline_of_run(text: str | None, shape: Shape | None, run: RunFolder | None) -> Pipeline | None:
    """Find the pipeline that PIPELINE names, for images of one shape.

    Args:
        text: PIPELINE; None for a run's built-in one.
        shape: ``--shape``; None for the pipeline's usual one, or that of the run.
        run: Run that exists already; None for a new one.

    Raises:
        OnelayerError: If it cannot be found, or nothing says of which shape the images are.
    """
    if text is None:
        return None

    from onelayer.pipelines import Pipeline
    from onelayer.reproduction.records import RunRecord

    found = find_pipeline(text)
    usual = shape or (found.usual_shape if run is None else RunRecord.read(run.record).pipeline.input_shape)
    if usual is None:
        raise missing_shape(text)
    return Pipeline(found.name, found.transform, usual)
