"""``onelayer export``"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from onelayer.cli.app import app, check_installed, examples
from onelayer.cli.input_options import (
    SHAPE_HELP,
    Container,
    DtypeName,
    ImageOptions,
    PipelineText,
    Rounding,
    rounding_mode,
    suggesting_identify,
)
from onelayer.cli.pipeline_source import find_pipeline
from onelayer.console import results
from onelayer.errors import OnelayerError


class LayoutName(StrEnum):
    """Order of the dimensions of the input."""

    NHWC = "NHWC"
    HWC = "HWC"
    NCHW = "NCHW"
    CHW = "CHW"


@app.command(
    epilog=examples(
        "onelayer export resnet50 --as pil --shape 3x375x500 --out preprocessing.onnx",
        "onelayer export resnet50 --as pil --any-size --layout HWC --model resnet50.onnx --out photographs.onnx",
    )
)
def export(
    pipeline: PipelineText,
    out: Annotated[Path, typer.Option(help="ONNX file to write.", show_default=False, dir_okay=False)],
    shape: Annotated[
        str | None, typer.Option("--shape", help=SHAPE_HELP, show_default="the pipeline's usual one")
    ] = None,
    any_size: Annotated[
        bool, typer.Option("--any-size", help="Take images of any height and width; only their channels count.")
    ] = False,
    dtype: Annotated[DtypeName, typer.Option("--dtype", help="Type of the values.")] = DtypeName.uint8,
    container: Container = None,
    layout: Annotated[
        LayoutName, typer.Option(help="Order of the dimensions of the input; without N for one image at a time.")
    ] = LayoutName.NHWC,
    model: Annotated[
        Path | None,
        typer.Option(
            help="ONNX model to put the preprocessing before.",
            show_default="the preprocessing alone",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    rounding: Rounding = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file in --out.")] = False,
) -> None:
    """Write a pipeline as an ONNX file of plain operators, alone or in front of a model, and check it at once."""
    if out.exists() and not overwrite:
        raise OnelayerError(f"there is a file {out} already", expected="another --out, or --overwrite")
    check_installed("onnx", extra="export", purpose="onelayer export")
    options = ImageOptions.checked(shape, dtype, container)
    options.check(pipeline)

    import onelayer

    found = find_pipeline(pipeline)
    spec = options.spec_for(found)
    height, width = (None, None) if any_size else spec.shape[1:]
    layer = onelayer.compile(found.transform, rounding=rounding_mode(rounding), fullgraph=True)
    with suggesting_identify(found):
        written = onelayer.export(layer, out, like=spec, height=height, width=width, layout=layout.value, model=model)
    results.print(str(written), soft_wrap=True, markup=False, highlight=False)
