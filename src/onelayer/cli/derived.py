"""Commands on a pipeline of transforms: explain, compile, verify."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from onelayer.cli.app import app, examples
from onelayer.cli.image_options import (
    SHAPE_HELP,
    As,
    Dtype,
    DtypeOption,
    Holder,
    PipelineName,
    ShapeText,
    black_image,
    found_pipeline,
    kind_of_images,
    size_text,
    value_type,
)
from onelayer.console import results
from onelayer.errors import OnelayerError

if TYPE_CHECKING:
    from onelayer.frontends import RoundingMode

# What needs torch is imported inside the commands, so that --help answers at once.


class RoundingName(StrEnum):
    """How values are rounded."""

    exact = "exact"
    fused = "fused"


RoundingOption = Annotated[
    RoundingName | None,
    typer.Option(
        help="Every rounding of the original, bit for bit; or real arithmetic, rounded once.",
        show_default="exact for uint8, or fused",
    ),
]
Figure = Annotated[
    Path | None, typer.Option(help="Also draw it, into a PNG, PDF or SVG file.", show_default=False, dir_okay=False)
]


@app.command(
    epilog=examples(
        "onelayer explain report",
        "onelayer explain torchvision:ResNet50_Weights.IMAGENET1K_V2 --shape 3x375x500 --as pil",
        "onelayer explain my_transforms.py:evaluation --figure evaluation.png",
    )
)
def explain(
    pipeline: PipelineName,
    shape: ShapeText = None,
    dtype: DtypeOption = None,
    holder: As = Holder.tensor,
    rounding: RoundingOption = None,
    figure: Figure = None,
) -> None:
    """Show what each transform of a pipeline becomes, and how they fuse."""
    from onelayer.explanation import explain as explained

    _check_figure(figure)
    found = found_pipeline(pipeline)
    explanation = explained(found.transform, kind_of_images(found, shape, dtype, holder), rounding=_rounding(rounding))
    results.print(explanation)
    if figure is not None:
        _draw(explanation.figure(), figure)


@app.command(
    name="compile",
    epilog=examples(
        "onelayer compile resnet50 --out layers/resnet50 --shape 3x375x500 --as pil",
        "onelayer compile my_transforms.py:evaluation --out layer --shape 3x480x640 --shape 3x640x480 --dtype uint8",
    ),
)
def compile_pipeline(
    pipeline: PipelineName,
    out: Annotated[Path, typer.Option(help="The folder to write.", show_default=False, file_okay=False)],
    shape: Annotated[
        list[str] | None,
        typer.Option(help=f"{SHAPE_HELP} May be given several times.", show_default="the pipeline's usual one"),
    ] = None,
    dtype: DtypeOption = None,
    holder: As = Holder.tensor,
    rounding: RoundingOption = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the layer in --out.")] = False,
) -> None:
    """Derive a pipeline's layer for some image sizes and write it as config.json and safetensors."""
    import onelayer

    found = found_pipeline(pipeline)
    shapes: list[str | None] = [*shape] if shape else [None]
    kinds = [kind_of_images(found, text, dtype, holder) for text in shapes]
    if (out / "config.json").exists() and not overwrite:
        raise OnelayerError(
            f"there is a layer in {out} already",
            expected="an empty folder, or --overwrite",
            hint="Choose another --out.",
        )
    layer = onelayer.compile(found.transform, rounding=_rounding(rounding))
    onelayer.save(layer, out, pipeline=found.name, images=kinds)
    for given in kinds:
        for output in layer.source.outputs(given).each:
            stages = output.simplified.program.stages
            after = output.after
            count = "1 stage" if len(stages) == 1 else f"{len(stages)} stages"
            results.print(
                f"{size_text(given.shape)} {given.dtype} {given.container} → "
                f"{size_text(after.shape)} {after.dtype} {after.container}: {count}"
            )
    results.print(f"The layer: [bold]{escape(str(out))}[/bold]", soft_wrap=True)
    results.print(f"Load it with: onelayer.load({str(out)!r})", soft_wrap=True, markup=False)


@app.command(
    epilog=examples(
        "onelayer verify resnet50 --images photographs/",
        "onelayer verify report --layer runs/cifar10",
        "onelayer verify my_transforms.py:evaluation --shape 3x480x640 --json certificate.json --figure worst.png",
    )
)
def verify(
    pipeline: PipelineName,
    layer: Annotated[
        Path | None,
        typer.Option(
            help="A folder with a layer, or a run.", show_default="the layer that is derived", file_okay=False
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(help="An image file, or a folder of them.", show_default="adversarial images only", exists=True),
    ] = None,
    shape: ShapeText = None,
    dtype: DtypeOption = None,
    holder: As = Holder.tensor,
    rounding: RoundingOption = None,
    json: Annotated[
        Path | None, typer.Option(help="Also write the certificate as JSON.", show_default=False, dir_okay=False)
    ] = None,
    figure: Figure = None,
) -> None:
    """Measure how far a layer is from a pipeline, on images and on the nastiest ones, and prove a bound."""
    import onelayer
    from onelayer.verification import verify as verified

    _check_figure(figure)
    found = found_pipeline(pipeline)
    if layer is not None and rounding is not None:
        raise OnelayerError("both --layer and --rounding were given", expected="one of them: a layer has its rounding")
    replacement = (
        onelayer.compile(found.transform, rounding=_rounding(rounding)) if layer is None else onelayer.load(layer)
    )
    given: Any
    if images is not None:
        if shape is not None:
            raise OnelayerError("both --images and --shape were given", expected="one of them")
        given = _photographs(images, dtype, holder)
    else:
        given = [black_image(kind_of_images(found, shape, dtype, holder))]
    certificate = verified(replacement, found.transform, given)
    results.print(certificate)
    if json is not None:
        results.print(f"The certificate: [bold]{escape(str(certificate.write(json)))}[/bold]", soft_wrap=True)
    if figure is not None:
        _draw(certificate.figure(), figure)


def _rounding(name: RoundingName | None) -> RoundingMode | None:
    return None if name is None else name.value


def _photographs(path: Path, dtype: Dtype | None, holder: Holder) -> list[Any]:
    from torchvision.transforms.v2 import functional as F

    from onelayer.data.photographs import read_photographs
    from onelayer.frontends import ImageSpec
    from onelayer.images.containers import TORCH_DTYPES, image_of, pixels_of

    named = value_type(dtype, holder)
    photographs = []
    for picture in read_photographs(path):
        pixels = F.to_dtype(pixels_of(picture), TORCH_DTYPES[named], scale=True)
        photographs.append(image_of(pixels, ImageSpec(tuple(pixels.shape), named, holder.value)))
    return photographs


def _check_figure(path: Path | None) -> None:
    """Refuse a picture that could not be drawn in the end, before anything is computed."""
    if path is not None and (path.suffix.lower() not in (".png", ".pdf", ".svg") or not path.parent.is_dir()):
        raise OnelayerError(
            f"--figure {path} cannot be drawn", expected="a name ending in .png, .pdf or .svg, in a folder that exists"
        )


def _draw(figure: Any, path: Path) -> None:
    figure.savefig(path, dpi=150)
    results.print(f"The picture: [bold]{escape(str(path))}[/bold]", soft_wrap=True)
