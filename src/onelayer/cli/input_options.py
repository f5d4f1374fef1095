"""Options for what a command works on: a pipeline or a function, the images that it takes, a layer."""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer

from onelayer.cli.pipeline_source import FoundPipeline, check_pipeline, missing_shape
from onelayer.errors import OnelayerError

if TYPE_CHECKING:
    from onelayer.image_spec import Container as ContainerType
    from onelayer.image_spec import ImageSpec, PixelType, RoundingMode
    from onelayer.records import Shape


class DtypeName(StrEnum):
    """Type of the values of an image."""

    uint8 = "uint8"
    float32 = "float32"


class ContainerName(StrEnum):
    """Container of an image."""

    tensor = "tensor"
    image = "image"
    pil = "pil"
    numpy = "numpy"


class RoundingName(StrEnum):
    """Rounding of a layer."""

    exact = "exact"
    fused = "fused"


PIPELINE_HELP = (
    "Built-in name ([bold]report[/bold], [bold]resnet50[/bold], [bold]clip[/bold] …), "
    "[bold]module:attribute[/bold], [bold]file.py:attribute[/bold] (the file is run), or "
    "[bold]torchvision:ResNet50_Weights.IMAGENET1K_V2[/bold]."
)
PipelineText = Annotated[str, typer.Argument(metavar="PIPELINE", help=PIPELINE_HELP, show_default=False)]
SHAPE_HELP = "Channels, height and width of the images, such as [bold]3x375x500[/bold]."
ShapeText = Annotated[str | None, typer.Option("--shape", help=SHAPE_HELP, show_default="the pipeline's usual one")]
Dtype = Annotated[
    DtypeName | None,
    typer.Option("--dtype", help="Type of the values.", show_default="uint8 for PIL images, or float32"),
]
Container = Annotated[
    ContainerName | None,
    typer.Option(
        "--as",
        help="Container of the images: a tensor, a tv_tensors.Image, a PIL image or an array.",
        show_default="tensor",
    ),
]
Rounding = Annotated[
    RoundingName | None,
    typer.Option(
        help="Every rounding of the original, bit for bit; or real arithmetic, rounded once.",
        show_default="exact for uint8, or fused",
    ),
]


@dataclass(frozen=True)
class ImageOptions:
    """The images that a command works on, as far as its options say.

    Args:
        shape: Channels, height and width; None for the usual ones of the pipeline.
        dtype: ``--dtype``.
        container: ``--as``.
    """

    shape: Shape | None
    dtype: DtypeName | None
    container: ContainerName | None

    @classmethod
    def checked(cls, shape: str | None, dtype: DtypeName | None, container: ContainerName | None) -> Self:
        """Read the options, without importing torch.

        Raises:
            OnelayerError: If the shape is none, or no such image exists.
        """
        if container is ContainerName.pil and dtype is DtypeName.float32:
            raise OnelayerError(
                "--as pil and --dtype float32 were given",
                expected="--dtype uint8, or none: PIL images have uint8 values",
            )
        options = cls(None if shape is None else parsed_shape(shape), dtype, container)
        if options.shape is not None:
            options.spec_of(options.shape)
        return options

    @property
    def pixel_type(self) -> PixelType:
        """The dtype that was asked for, or the usual one of the container."""
        return (self.dtype or (DtypeName.uint8 if self.container is ContainerName.pil else DtypeName.float32)).value

    @property
    def container_type(self) -> ContainerType:
        """The container that was asked for, or a tensor."""
        return (self.container or ContainerName.tensor).value

    def check(self, pipeline: str) -> None:
        """Refuse a PIPELINE that cannot be found or needs ``--shape``, as far as that shows without importing torch."""
        check_pipeline(pipeline, has_shape=self.shape is not None)

    def spec_for(self, found: FoundPipeline) -> ImageSpec:
        """Complete the options by what a pipeline usually takes.

        Raises:
            OnelayerError: If nothing says of which size the images are, or there is no such image.
        """
        shape = self.shape or found.usual_shape
        if shape is None:
            raise missing_shape(found.name)
        return self.spec_of(shape)

    def spec_of(self, shape: Shape) -> ImageSpec:
        """Complete the options by a shape.

        Raises:
            OnelayerError: If there is no such image.
        """
        from onelayer.image_spec import ImageSpec

        return ImageSpec(shape, self.pixel_type, self.container_type)


def parsed_shape(text: str) -> Shape:
    """Read ``3x375x500``.

    Raises:
        OnelayerError: If that is no shape, or one with the channels last.
    """
    parts = text.lower().replace("×", "x").split("x")
    if len(parts) != 3 or not all(map(_is_length, parts)):
        is_size = len(parts) == 2 and all(map(_is_length, parts))
        raise OnelayerError(
            f"--shape {text} was given",
            expected="channels, height and width, such as 3x375x500 (up to 100000 each)",
            hint=f"With three channels: --shape 3x{parts[0]}x{parts[1]}." if is_size else None,
        )
    channels, height, width = map(int, parts)
    if width <= 4 < min(channels, height):
        raise OnelayerError(
            f"--shape {text} was given, which is an image of {channels} channels",
            expected="channels first, then height and width",
            hint=f"Did you mean --shape {width}x{channels}x{height}?",
        )
    return channels, height, width


def parsed_sizes(text: str) -> list[tuple[int, int]]:
    """Read ``90x120,130x80``: heights and widths.

    Raises:
        OnelayerError: If one is no size.
    """
    sizes = [size.strip().lower().replace("×", "x").split("x") for size in text.split(",")]
    if not all(len(size) == 2 and all(map(_is_length, size)) for size in sizes):
        raise OnelayerError(
            f"--sizes {text} was given", expected="heights and widths, such as 90x120,130x80 (up to 100000 each)"
        )
    return [(int(height), int(width)) for height, width in sizes]


def _is_length(text: str) -> bool:
    return text.isdecimal() and len(text) <= 6 and 1 <= int(text) <= 100_000


def spec_text(spec: ImageSpec) -> str:
    """Describe images: ``3×32×32 uint8 tensor``."""
    return f"{'×'.join(map(str, spec.shape))} {spec.dtype} {spec.container}"


def rounding_mode(name: RoundingName | None) -> RoundingMode | None:
    """Convert ``--rounding`` to the argument of the library."""
    return None if name is None else name.value


def black_image(spec: ImageSpec) -> Any:
    """Make an image of zeros."""
    import torch

    from onelayer.images.containers import TORCH_DTYPES, image_of

    return image_of(torch.zeros(spec.shape, dtype=TORCH_DTYPES[spec.dtype]), spec)


def check_layer(folder: Path) -> Path:
    """Find the configuration of the layer in a folder, or of a run, without importing torch.

    Raises:
        OnelayerError: If there is none.
    """
    for path in (folder / "config.json", folder / "layer" / "config.json"):
        if path.is_file():
            return path
    raise OnelayerError(
        f"there is no layer in {folder}",
        expected="a folder that onelayer compile, identify, recognise or learn wrote",
        hint="Such a folder has a config.json and a model.safetensors.",
    )


@contextmanager
def suggesting_identify(found: FoundPipeline) -> Iterator[None]:
    """Add to the error for a function that cannot be derived that it may be identified."""
    from onelayer.frontends import UnsupportedTransformError

    try:
        yield
    except UnsupportedTransformError as error:
        if not inspect.isroutine(found.transform):
            raise
        raise OnelayerError(
            f"{found.name} is a function that onelayer does not know, and so cannot be derived",
            expected="transforms",
            hint=f"Its layer can be found from its answers: onelayer identify {shlex.quote(found.name)} --shape …",
        ) from error
