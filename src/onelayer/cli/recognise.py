"""``onelayer recognise``"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from onelayer.cli.app import app, examples
from onelayer.cli.input_options import check_layer
from onelayer.cli.output_options import LayerOut, OverwriteLayer, check_layer_out, print_layer
from onelayer.cli.run_options import check_data
from onelayer.console import results
from onelayer.errors import OnelayerError

if TYPE_CHECKING:
    from onelayer.algebra import Operator
    from onelayer.dense_layer import DenseLayer
    from onelayer.recognition import ImageStatistics

_STATISTICS_OF = 5000
"""Images whose covariance is computed."""


@app.command(
    epilog=examples(
        "onelayer recognise runs/best",
        "onelayer recognise runs/cifar10 --data cifar10",
        "onelayer recognise layers/learned --out layers/recognised",
    )
)
def recognise(
    layer: Annotated[Path, typer.Argument(help="Folder with a learned layer, or a run.", show_default=False)],
    data: Annotated[
        str | None,
        typer.Option(
            help="Images as for [bold]learn[/bold]: weights are then compared by their effect on these, and noise in "
            "directions that images do not have, which gradient descent leaves, does not count.",
            show_default="none",
        ),
    ] = None,
    out: LayerOut = None,
    overwrite: OverwriteLayer = False,
) -> None:
    """Find the taps, the factors and their names in the weights of a learned layer."""
    from onelayer.records import written_kind

    check_layer_out(out, overwrite=overwrite)
    if written_kind(check_layer(layer)) == "programs":
        raise OnelayerError(
            f"the layer in {layer} was compiled, identified or recognised: its structure is known",
            expected="a learned layer, which is one dense matrix",
            hint="print(onelayer.load(…)) shows a layer.",
        )
    check_data(data)

    import onelayer
    from onelayer.recognition import comparison_table
    from onelayer.serialize import load_dense

    dense = load_dense(layer)
    learned = dense.to_operator()
    found = onelayer.recognise(learned, refit=None if data is None else _statistics(dense, data))
    results.print(found)
    true = _true_operator(layer)
    if true is not None and (true.in_shape, true.out_shape) == (learned.in_shape, learned.out_shape):
        results.print(comparison_table(learned, found.operator, true))
    if out is not None:
        onelayer.save(found.layer(), out)
        print_layer(out)


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
    """Derive a run's pipeline; None where the folder is no run, or its pipeline is not affine."""
    from onelayer import pipelines
    from onelayer.reproduction.learning.directions import affine_map
    from onelayer.reproduction.records import RunRecord
    from onelayer.reproduction.run_folder import RunFolder

    run = RunFolder(folder)
    name = RunRecord.read(run.record).pipeline.name if run.holds_run else None
    return affine_map(pipelines.named(name)) if name in pipelines.names() else None
