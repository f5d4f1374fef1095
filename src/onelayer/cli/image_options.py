"""What commands on a function of images share: which function, and which images it takes."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onelayer.errors import OnelayerError

if TYPE_CHECKING:
    from onelayer.cli.pipeline_source import FoundPipeline
    from onelayer.frontends import ImageSpec, PixelType

# What needs torch is imported inside the functions, so that --help answers at once.


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
SHAPE_HELP = "Channels, height and width of the images, such as [bold]3x375x500[/bold]."
ShapeText = Annotated[str | None, typer.Option("--shape", help=SHAPE_HELP, show_default="the pipeline's usual one")]
DtypeOption = Annotated[
    Dtype | None, typer.Option("--dtype", help="What the values are.", show_default="uint8 for PIL images, or float32")
]
As = Annotated[Holder, typer.Option("--as", help="What the images come as.")]


def found_pipeline(text: str) -> FoundPipeline:
    """The pipeline or function that is named; see :func:`onelayer.cli.pipeline_source.find_pipeline`."""
    from onelayer.cli.pipeline_source import find_pipeline

    return find_pipeline(text)


def kind_of_images(found: FoundPipeline, shape: str | None, dtype: Dtype | None, holder: Holder) -> ImageSpec:
    """What the function is given, as far as the options say, and else what it usually is.

    Raises:
        OnelayerError: If nothing says of which size the images are, or it is none.
    """
    from onelayer.frontends import ImageSpec

    if shape is None and found.usual_shape is None:
        raise OnelayerError(
            f"{found.name} does not say which images it is for", expected="--shape, such as --shape 3x375x500"
        )
    whole: Any = _parsed(shape) if shape is not None else found.usual_shape
    return ImageSpec(whole, value_type(dtype, holder), holder.value)


def value_type(dtype: Dtype | None, holder: Holder) -> PixelType:
    """The dtype that was asked for, or what images in such a holder usually have."""
    return (dtype or (Dtype.uint8 if holder is Holder.pil else Dtype.float32)).value


def _parsed(shape: str) -> tuple[int, ...]:
    parts = shape.lower().replace("×", "x").split("x")
    if len(parts) != 3 or not all(part.isdecimal() and 1 <= int(part) <= 100_000 for part in parts):
        raise OnelayerError(
            f"--shape {shape} was given", expected="channels, height and width, such as 3x375x500 (up to 100000 each)"
        )
    return tuple(map(int, parts))


def size_text(shape: tuple[int, ...]) -> str:
    """A shape for people: 3×32×32."""
    return "×".join(map(str, shape))


def black_image(given: ImageSpec) -> Any:
    """One such image, of zeros."""
    import torch

    from onelayer.images.containers import TORCH_DTYPES, image_of

    return image_of(torch.zeros(given.shape, dtype=TORCH_DTYPES[given.dtype]), given)
