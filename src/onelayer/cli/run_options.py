"""Options of the commands that make a run or work on one."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onelayer.cli.app import check_installed
from onelayer.cli.input_options import PIPELINE_HELP, ImageOptions, ShapeText
from onelayer.cli.pipeline_source import check_pipeline, find_pipeline, missing_shape
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


@dataclass(frozen=True)
class LearnOptions:
    """Options of the commands that learn, as the command line gives them; see :func:`takes_learn_options`.

    None stands for the default, or on resuming for the run's own value.

    Raises:
        OnelayerError: If ``shape`` is no shape, there is no such pipeline, or nothing says of which shape its images
            are.
    """

    pipeline: RunPipeline = None
    shape: ShapeText = None
    data: Data = None
    out: RunOut = None
    device: Device = DeviceChoice.auto
    epochs: Epochs = None
    batch_size: BatchSize = None
    lr: LearningRate = None
    patience: Patience = None
    min_delta: MinDelta = None
    seed: Seed = None
    devices: Devices = None
    recipe: Recipe = None
    quick: Quick = False
    resume: Resume = False
    overwrite: OverwriteRun = False
    skip_bad: SkipBad = False

    def __post_init__(self) -> None:
        has_shape = self._images.shape is not None  # refuses a wrong one, with or without a pipeline
        if self.pipeline is not None:
            check_pipeline(self.pipeline, has_shape=self.resume or has_shape)

    @cached_property
    def _images(self) -> ImageOptions:
        return ImageOptions.checked(self.shape, None, None)

    def request(self) -> LearnRequest:
        """Put the options together, after all checks that need no torch; :meth:`with_pipeline` adds the pipeline.

        Raises:
            OnelayerError: If options contradict each other or are out of range, the data do not exist, there is a run
                already, or none to go on with.
        """
        from onelayer.reproduction.records import TrainingSettings, settings_of

        if self.resume and self.overwrite:
            raise OnelayerError("both --resume and --overwrite were given", expected="one of them, or neither")
        # A run that goes on knows its data.
        data = os.environ.get("ONELAYER_DATA") if self.data is None and not self.resume else self.data
        check_data(data)
        out = self._default_folder(data) if self.out is None else self.out
        options = {name: getattr(self, name) for name in TrainingSettings.model_fields}
        if self.resume:
            check_run(out)
        else:
            settings_of(options, TrainingSettings())
            RunFolder(out).check_free(overwrite=self.overwrite, room=0)
            if data in (None, "sample"):
                check_installed("skimage", extra="reproduce", purpose="The sample of photographs")
            if self.recipe is not RecipeChoice.least_squares:
                check_gradient_descent()
        return LearnRequest(
            out=out,
            data=data,
            device=self.device,
            options=options,
            recipe=self.recipe,
            quick=self.quick,
            resume=self.resume,
            overwrite=self.overwrite,
            skip_bad=self.skip_bad,
        )

    def _default_folder(self, data: str | None) -> Path:
        names = [] if self.pipeline in (None, "report") else [str(self.pipeline).rpartition(":")[2]]
        return Path("runs") / "-".join([*names, Path(data).resolve().stem if data else "sample"])

    def with_pipeline(self, request: LearnRequest) -> LearnRequest:
        """Add the pipeline that PIPELINE names to a request; raises what :func:`pipeline_of_run` does."""
        run = RunFolder(request.out) if self.resume else None
        return replace(request, pipeline=pipeline_of_run(self.pipeline, self._images.shape, run))


def takes_learn_options(command: Callable[[LearnOptions], None]) -> Callable[..., None]:
    """Give a command the options of :class:`LearnOptions`, one parameter each, which is what Typer reads."""
    signature = inspect.signature(LearnOptions, eval_str=True)

    @wraps(command)
    def with_options(**options: Any) -> None:
        command(LearnOptions(**options))

    with_options.__signature__ = signature  # type: ignore[attr-defined]  # what inspect.signature looks for first
    with_options.__annotations__ = {name: parameter.annotation for name, parameter in signature.parameters.items()}
    return with_options


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
