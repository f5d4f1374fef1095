"""``onelayer compile``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from onelayer.cli.app import app, examples
from onelayer.cli.input_options import (
    SHAPE_HELP,
    Container,
    Dtype,
    ImageOptions,
    PipelineText,
    Rounding,
    rounding_mode,
    spec_text,
    suggesting_identify,
)
from onelayer.cli.output_options import OverwriteLayer, check_layer_out, print_layer
from onelayer.cli.pipeline_source import check_pipeline, find_pipeline
from onelayer.console import results


@app.command(
    name="compile",
    epilog=examples(
        "onelayer compile resnet50 --out layers/resnet50 --shape 3x375x500 --as pil",
        "onelayer compile my_transforms.py:evaluation --out layer --shape 3x480x640 --shape 3x640x480 --dtype uint8",
    ),
)
def compile_pipeline(
    pipeline: PipelineText,
    out: Annotated[Path, typer.Option(help="Folder to write the layer into.", show_default=False, file_okay=False)],
    shape: Annotated[
        list[str] | None,
        typer.Option(help=f"{SHAPE_HELP} Can be given several times.", show_default="the pipeline's usual one"),
    ] = None,
    dtype: Dtype = None,
    container: Container = None,
    rounding: Rounding = None,
    overwrite: OverwriteLayer = False,
) -> None:
    """Derive the layer of a pipeline for some image sizes and write it as config.json and safetensors."""
    check_layer_out(out, overwrite=overwrite)
    shapes: list[str | None] = [*shape] if shape else [None]
    every = [ImageOptions.checked(text, dtype, container) for text in shapes]
    check_pipeline(pipeline, has_shape=bool(shape))

    import onelayer

    found = find_pipeline(pipeline)
    specs = [images.spec_for(found) for images in every]
    layer = onelayer.compile(found.transform, rounding=rounding_mode(rounding), fullgraph=True)
    with suggesting_identify(found):
        onelayer.save(layer, out, pipeline=found.name, images=specs)
    for spec in specs:
        for output in layer.source.outputs(spec).each:
            stages = output.simplified.program.stages
            count = "1 stage" if len(stages) == 1 else f"{len(stages)} stages"
            results.print(f"{spec_text(spec)} → {spec_text(output.spec)}: {count}")
    print_layer(out)
