"""Commands that find what a layer or a function is made of: identify, recognise."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from onelayer.cli.app import app, examples
from onelayer.cli.image_options import (
    As,
    DtypeOption,
    Holder,
    PipelineName,
    ShapeText,
    black_image,
    found_pipeline,
    kind_of_images,
)
from onelayer.console import results
from onelayer.errors import OnelayerError

if TYPE_CHECKING:
    from onelayer.algebra import Operator
    from onelayer.dense_layer import DenseLayer
    from onelayer.recognition import ImageStatistics

# What needs torch is imported inside the commands, so that --help answers at once.

LayerOut = Annotated[
    Path | None, typer.Option("--out", help="Also write the layer, into this folder.", show_default=False)
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the layer in --out.")]

_STATISTICS_OF = 5000
"""Images whose covariance is taken."""


@app.command(
    epilog=examples(
        "onelayer identify my_functions.py:preprocess --shape 3x375x500 --out layer",
        "onelayer identify my_functions.py:preprocess --shape 3x375x500 --as pil --json certificate.json",
        "onelayer identify package.module:function --shape 1x64x64 --as numpy --dtype uint8 --budget 5000",
    )
)
def identify(
    function: PipelineName,
    shape: ShapeText = None,
    dtype: DtypeOption = None,
    holder: As = Holder.tensor,
    budget: Annotated[int, typer.Option(help="Images that the function may be given.", min=1)] = 2000,
    seed: Annotated[int, typer.Option(help="Of the images.", min=0)] = 0,
    out: LayerOut = None,
    overwrite: Overwrite = False,
    json: Annotated[
        Path | None, typer.Option(help="Also write the certificate as JSON.", show_default=False, dir_okay=False)
    ] = None,
) -> None:
    """Find the layer that does what a function does, from its answers alone, and verify it.

    The function is called, never read: it may be another library, a binary or a service behind a Python function that
    takes one image and gives one.
    """
    from onelayer.identification import identify as identified
    from onelayer.serialize import save
    from onelayer.verification import verify

    _check_free(out, overwrite)
    found = found_pipeline(function)
    given = kind_of_images(found, shape, dtype, holder)
    result = identified(found.transform, given, budget=budget, seed=seed)
    results.print(result)
    layer = result.layer()
    if out is not None:
        save(layer, out, pipeline=found.name, images=[given])
        _name_layer(out)
    certificate = verify(layer, found.transform, [black_image(given)])
    results.print(certificate)
    if json is not None:
        results.print(f"The certificate: [bold]{escape(str(certificate.write(json)))}[/bold]", soft_wrap=True)


@app.command(
    epilog=examples(
        "onelayer recognise runs/best",
        "onelayer recognise runs/cifar10 --data cifar10",
        "onelayer recognise layers/learned --out layers/recognised",
    )
)
def recognise(
    layer: Annotated[Path, typer.Argument(help="A folder with a learned layer, or a run.", show_default=False)],
    data: Annotated[
        str | None,
        typer.Option(
            help="Images as for [bold]learn[/bold]: weights are then compared by what they do on these, and noise in "
            "directions that images do not have, which gradient descent leaves, does not count.",
            show_default=False,
        ),
    ] = None,
    out: LayerOut = None,
    overwrite: Overwrite = False,
) -> None:
    """Find the taps, the factors and their names in the weights of a learned layer."""
    from onelayer.recognition import comparison_table
    from onelayer.recognition import recognise as recognised
    from onelayer.serialize import load_dense, save

    _check_free(out, overwrite)
    dense = load_dense(layer)
    learned = dense.to_operator()
    statistics = None if data is None else _statistics(dense, data)
    found = recognised(learned, refit=statistics)
    results.print(found)
    true = _true_operator(layer)
    if true is not None and (true.in_shape, true.out_shape) == (learned.in_shape, learned.out_shape):
        results.print(comparison_table(learned, found.operator, true))
    if out is not None:
        save(found.layer(), out)
        _name_layer(out)


def _check_free(out: Path | None, overwrite: bool) -> None:
    if out is not None and (out / "config.json").exists() and not overwrite:
        raise OnelayerError(
            f"there is a layer in {out} already",
            expected="an empty folder, or --overwrite",
            hint="Choose another --out.",
        )


def _name_layer(out: Path) -> None:
    results.print(f"The layer: [bold]{escape(str(out))}[/bold]", soft_wrap=True)
    results.print(f"Load it with: onelayer.load({str(out)!r})", soft_wrap=True, markup=False)


def _statistics(layer: DenseLayer, data: str) -> ImageStatistics:
    import torch

    from onelayer.data import load_images
    from onelayer.pipelines import Pipeline
    from onelayer.recognition import ImageStatistics
    from onelayer.reproduction.learning.least_squares import ImageSums

    images = load_images(data, shape=layer.input_shape, seed=0).train[:_STATISTICS_OF]
    with torch.inference_mode():
        sums = ImageSums(Pipeline("layer", layer.float(), layer.input_shape), images).over()
    return ImageStatistics(sums.covariance(), sums.mean)


def _true_operator(folder: Path) -> Operator | None:
    """What a run's pipeline is, derived; None where the folder is no run, or its pipeline is not affine."""
    from onelayer import pipelines
    from onelayer.reproduction.learning.directions import affine_map
    from onelayer.reproduction.records import RunRecord
    from onelayer.reproduction.run_folder import RunFolder

    run = RunFolder(folder)
    name = RunRecord.read(run.record).pipeline.name if run.holds_run else None
    return affine_map(pipelines.named(name)) if name in pipelines.names() else None
