"""``onelayer explain``"""

from __future__ import annotations

import inspect

from onelayer.cli.app import app, examples
from onelayer.cli.input_options import (
    Container,
    Dtype,
    ImageOptions,
    PipelineText,
    Rounding,
    ShapeText,
    rounding_mode,
    suggesting_identify,
)
from onelayer.cli.output_options import FigurePath, check_figure, draw
from onelayer.cli.pipeline_source import find_pipeline
from onelayer.console import results


@app.command(
    epilog=examples(
        "onelayer explain report",
        "onelayer explain torchvision:ResNet50_Weights.IMAGENET1K_V2 --shape 3x375x500 --as pil",
        "onelayer explain my_transforms.py:evaluation --shape 3x480x640 --figure evaluation.png",
    )
)
def explain(
    pipeline: PipelineText,
    shape: ShapeText = None,
    dtype: Dtype = None,
    container: Container = None,
    rounding: Rounding = None,
    figure: FigurePath = None,
) -> None:
    """Show what each transform of a pipeline becomes, and how they fuse."""
    check_figure(figure)
    images = ImageOptions.checked(shape, dtype, container)
    images.check(pipeline)

    import onelayer
    from onelayer.explanation import explain as explain_pipeline

    found = find_pipeline(pipeline)
    # A function that is not known would be one opaque piece, of which there is nothing to explain.
    is_function = inspect.isroutine(found.transform)
    layer = onelayer.compile(found.transform, rounding=rounding_mode(rounding), fullgraph=is_function)
    with suggesting_identify(found):
        explanation = explain_pipeline(layer, images.spec_for(found))
    results.print(explanation)
    if figure is not None:
        draw(explanation.figure(), figure)
