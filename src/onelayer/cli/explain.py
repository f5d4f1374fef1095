"""``onelayer explain``"""

from __future__ import annotations

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

    from onelayer.explanation import explain as explain_pipeline

    found = find_pipeline(pipeline)
    with suggesting_identify(found):
        explanation = explain_pipeline(found.transform, images.spec_for(found), rounding=rounding_mode(rounding))
    results.print(explanation)
    if figure is not None:
        draw(explanation.figure(), figure)
