"""``onelayer identify``"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from onelayer.cli.app import app, examples
from onelayer.cli.input_options import (
    Container,
    Dtype,
    ImageOptions,
    PipelineText,
    ShapeText,
    black_image,
    parsed_sizes,
)
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
        "onelayer identify my_functions.py:preprocess --sizes 90x120,130x80,67x101 --as pil",
        "onelayer identify package.module:function --shape 1x64x64 --as numpy --dtype uint8 --budget 5000",
    )
)
def identify(
    function: PipelineText,
    shape: ShapeText = None,
    dtype: Dtype = None,
    container: Container = None,
    sizes: Annotated[
        str | None,
        typer.Option(
            help="Heights and widths, such as [bold]90x120,130x80[/bold], wide and tall: find the rule by which sizes "
            "follow, for images of every size.",
            show_default="the size of --shape alone",
        ),
    ] = None,
    budget: Annotated[
        int, typer.Option(help="Maximum number of images to call the function with, for each size.", min=1)
    ] = 2000,
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
    of_sizes = [] if sizes is None else parsed_sizes(sizes)
    if of_sizes and shape is None:
        shape = f"3x{of_sizes[0][0]}x{of_sizes[0][1]}"
    images = ImageOptions.checked(shape, dtype, container)
    images.check(function)

    import onelayer

    found = find_pipeline(function)
    spec = images.spec_for(found)
    specs = [replace(spec, shape=(spec.shape[0], *size)) for size in of_sizes] or [spec]
    layer: onelayer.OneLayer
    if of_sizes:
        of_every_size = onelayer.identify(found.transform, specs, budget=budget, seed=seed)
        results.print(of_every_size)
        layer = of_every_size.layer()
    else:
        result = onelayer.identify(found.transform, spec, budget=budget, seed=seed)
        results.print(result)
        layer = result.layer()
    if out is not None:
        onelayer.save(layer, out, pipeline=found.name, images=specs)
        print_layer(out)
    certificate = onelayer.verify(layer, found.transform, [black_image(each) for each in specs])
    results.print(certificate)
    write_certificate(certificate, json)
