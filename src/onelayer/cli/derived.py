"""Commands on a pipeline of transforms: explain, compile, verify."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from onelayer.cli.app import app, examples
from onelayer.console import results
from onelayer.errors import OnelayerError

if TYPE_CHECKING:
    from onelayer.frontends import Given, PixelType, RoundingMode
    from onelayer.pipeline_source import FoundPipeline

# What needs torch is imported inside the commands, so that --help answers at once.


class Dtype(StrEnum):
    """What the values of an image are."""

    uint8 = "uint8"
    float32 = "float32"


class Holder(StrEnum):
    """What an image comes as."""

    tensor = "tensor"
    image = "image"
    pil = "pil"
    numpy = "numpy"


class RoundingName(StrEnum):
    """How values are rounded."""

    exact = "exact"
    fused = "fused"


PipelineName = Annotated[
    str,
    typer.Argument(
        metavar="PIPELINE",
        help="A built-in name ([bold]report[/bold], [bold]resnet50[/bold], [bold]clip[/bold] …), "
        "[bold]module:attribute[/bold], [bold]file.py:attribute[/bold] (the file is run), or "
        "[bold]torchvision:ResNet50_Weights.IMAGENET1K_V2[/bold].",
        show_default=False,
    ),
]
_SHAPE_HELP = "Channels, height and width of the images, such as [bold]3x375x500[/bold]."
ShapeText = Annotated[str | None, typer.Option("--shape", help=_SHAPE_HELP, show_default="the pipeline's usual one")]
DtypeOption = Annotated[
    Dtype | None, typer.Option("--dtype", help="What the values are.", show_default="uint8 for PIL images, or float32")
]
RoundingOption = Annotated[
    RoundingName | None,
    typer.Option(
        help="Every rounding of the original, bit for bit; or real arithmetic, rounded once.",
        show_default="exact for uint8, or fused",
    ),
]
As = Annotated[Holder, typer.Option("--as", help="What the images come as.")]
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
    found = _found(pipeline)
    explanation = explained(found.transform, _given(found, shape, dtype, holder), rounding=_rounding(rounding))
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
        typer.Option(help=f"{_SHAPE_HELP} May be given several times.", show_default="the pipeline's usual one"),
    ] = None,
    dtype: DtypeOption = None,
    holder: As = Holder.tensor,
    rounding: RoundingOption = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the layer in --out.")] = False,
) -> None:
    """Derive a pipeline's layer for some image sizes and write it as config.json and safetensors."""
    import onelayer

    found = _found(pipeline)
    shapes: list[str | None] = [*shape] if shape else [None]
    kinds = [_given(found, text, dtype, holder) for text in shapes]
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
                f"{_size(given.shape)} {given.dtype} {given.container} → "
                f"{_size(after.shape)} {after.dtype} {after.container}: {count}"
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
        typer.Option(help="An image file, or a folder of them.", show_default="nasty images only", exists=True),
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
    found = _found(pipeline)
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
        given = [_black(_given(found, shape, dtype, holder))]
    certificate = verified(replacement, found.transform, given)
    results.print(certificate)
    if json is not None:
        results.print(f"The certificate: [bold]{escape(str(certificate.write(json)))}[/bold]", soft_wrap=True)
    if figure is not None:
        _draw(certificate.figure(), figure)


def _found(text: str) -> FoundPipeline:
    from onelayer.pipeline_source import find_pipeline

    return find_pipeline(text)


def _given(found: FoundPipeline, shape: str | None, dtype: Dtype | None, holder: Holder) -> Given:
    from onelayer.frontends import Given

    if shape is None and found.usual_shape is None:
        raise OnelayerError(
            f"{found.name} does not say which images it is for", expected="--shape, such as --shape 3x375x500"
        )
    whole: Any = _parsed(shape) if shape is not None else found.usual_shape
    return Given(whole, _value_type(dtype, holder), holder.value)


def _value_type(dtype: Dtype | None, holder: Holder) -> PixelType:
    return (dtype or (Dtype.uint8 if holder is Holder.pil else Dtype.float32)).value


def _rounding(name: RoundingName | None) -> RoundingMode | None:
    return None if name is None else name.value


def _parsed(shape: str) -> tuple[int, ...]:
    parts = shape.lower().replace("×", "x").split("x")
    if len(parts) != 3 or not all(part.isdecimal() and 1 <= int(part) <= 100_000 for part in parts):
        raise OnelayerError(
            f"--shape {shape} was given", expected="channels, height and width, such as 3x375x500 (up to 100000 each)"
        )
    return tuple(map(int, parts))


def _size(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))


def _black(given: Given) -> Any:
    import torch

    from onelayer.images import TORCH_DTYPES, image_of

    return image_of(torch.zeros(given.shape, dtype=TORCH_DTYPES[given.dtype]), given)


def _photographs(path: Path, dtype: Dtype | None, holder: Holder) -> list[Any]:
    from torchvision.transforms.v2 import functional as F

    from onelayer.data.photographs import read_photographs
    from onelayer.frontends import Given
    from onelayer.images import TORCH_DTYPES, image_of, pixels_of

    named = _value_type(dtype, holder)
    photographs = []
    for picture in read_photographs(path):
        pixels = F.to_dtype(pixels_of(picture), TORCH_DTYPES[named], scale=True)
        photographs.append(image_of(pixels, Given(tuple(pixels.shape), named, holder.value)))
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
