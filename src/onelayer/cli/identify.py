"""``onelayer identify``"""

from __future__ import annotations

from typing import Annotated

import typer

from onelayer.cli.app import app, examples
from onelayer.cli.input_options import Container, Dtype, ImageOptions, PipelineText, ShapeText, black_image
from onelayer.cli.output_options import (
    CertificateJson,
    LayerOut,
    OverwriteLayer,
    check_layer_out,
    print_layer,
    write_certificate,
)
from onelayer.cli.pipeline_source import find_pipeline
from onelayer.console import results


@app.command(
    epilog=examples(
        "onelayer identify my_functions.py:preprocess --shape 3x375x500 --out layer",
        "onelayer identify my_functions.py:preprocess --shape 3x375x500 --as pil --json certificate.json",
        "onelayer identify package.module:function --shape 1x64x64 --as numpy --dtype uint8 --budget 5000",
    )
)
def identify(
    function: PipelineText,
    shape: ShapeText = None,
    dtype: Dtype = None,
    container: Container = None,
    budget: Annotated[int, typer.Option(help="Maximum number of images to call the function with.", min=1)] = 2000,
    seed: Annotated[int, typer.Option(help="Seed of the images.", min=0)] = 0,
    out: LayerOut = None,
    overwrite: OverwriteLayer = False,
    json: CertificateJson = None,
) -> None:
    """Find the layer that does what a function does, from its answers alone, and verify it.

    The function is called, never read: it may be another library, a binary or a service behind a Python function that
    takes one image and gives one.
    """
    check_layer_out(out, overwrite=overwrite)
    images = ImageOptions.checked(shape, dtype, container)
    images.check(function)

    import onelayer

    found = find_pipeline(function)
    spec = images.spec_for(found)
    result = onelayer.identify(found.transform, spec, budget=budget, seed=seed)
    results.print(result)
    layer = result.layer()
    if out is not None:
        onelayer.save(layer, out, pipeline=found.name, images=[spec])
        print_layer(out)
    certificate = onelayer.verify(layer, found.transform, [black_image(spec)])
    results.print(certificate)
    write_certificate(certificate, json)
