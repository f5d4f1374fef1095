"""``onelayer verify``"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onelayer.cli.app import app, check_installed, examples
from onelayer.cli.input_options import (
    Container,
    Dtype,
    ImageOptions,
    PipelineText,
    Rounding,
    ShapeText,
    black_image,
    check_layer,
    rounding_mode,
    spec_text,
    suggesting_identify,
)
from onelayer.cli.output_options import CertificateJson, FigurePath, check_figure, draw, write_certificate
from onelayer.cli.pipeline_source import FoundPipeline, check_pipeline, find_pipeline
from onelayer.console import results
from onelayer.errors import OnelayerError

if TYPE_CHECKING:
    from onelayer.dense_layer import DenseLayer
    from onelayer.exports import ExportedLayer
    from onelayer.image_spec import Container as ContainerType
    from onelayer.image_spec import ImageSpec, PixelType
    from onelayer.layer import OneLayer

    Side = DenseLayer | ExportedLayer | OneLayer


class Runtime(StrEnum):
    """Runtime of an ONNX file."""

    onnxruntime = "onnxruntime"
    openvino = "openvino"


@app.command(
    epilog=examples(
        "onelayer verify resnet50 --images photographs/",
        "onelayer verify resnet50 --images photographs/ --adversarial 16",
        "onelayer verify report --layer runs/cifar10",
        "onelayer verify resnet50 --layer preprocessing.onnx --runtime openvino --images photographs/",
        "onelayer verify my_transforms.py:evaluation --shape 3x480x640 --json certificate.json --figure worst.png",
    )
)
def verify(
    pipeline: PipelineText,
    layer: Annotated[
        Path | None,
        typer.Option(
            help="Folder with a layer, or a run; or an ONNX file that onelayer export wrote.",
            show_default="the layer that is derived here",
        ),
    ] = None,
    runtime: Annotated[
        Runtime | None, typer.Option(help="Runtime of an ONNX file.", show_default="onnxruntime")
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            help="Image file, or a folder of them.", show_default="synthetic adversarial images only", exists=True
        ),
    ] = None,
    shape: ShapeText = None,
    dtype: Dtype = None,
    container: Container = None,
    rounding: Rounding = None,
    adversarial: Annotated[
        int | None,
        typer.Option(
            help="Number of output pixels, per image size, with extreme images: those on which the pixel, or its "
            "difference, is highest and lowest. 0 for those of the corners alone, beside plain ones.",
            min=0,
            show_default="as many as take some seconds, up to 1024",
        ),
    ] = None,
    json: CertificateJson = None,
    figure: FigurePath = None,
) -> None:
    """Measure how far a layer is from a pipeline, on images and on adversarial ones, and prove a bound."""
    check_figure(figure)
    if layer is not None:
        if rounding is not None:
            raise OnelayerError(
                "both --layer and --rounding were given", expected="one of them: a layer has its rounding"
            )
        _check_side(layer)
    if runtime is not None and not _is_exported(layer):
        raise OnelayerError("--runtime was given", expected="an ONNX file as --layer with it")
    if images is not None and shape is not None:
        raise OnelayerError("both --images and --shape were given", expected="one of them")
    options = ImageOptions.checked(shape, dtype, container)
    check_pipeline(pipeline, has_shape=bool(layer or images or shape))

    import onelayer

    found = find_pipeline(pipeline)
    replacement: Side
    if layer is None:
        replacement = onelayer.compile(found.transform, rounding=rounding_mode(rounding), fullgraph=True)
    elif _is_exported(layer):
        replacement = onelayer.ExportedLayer(layer, (runtime or Runtime.onnxruntime).value)
    else:
        replacement = onelayer.load(layer)
    if images is not None:
        given = _photographs(images, replacement, options)
    else:
        given = [black_image(spec) for spec in _specs(replacement, found, options)]
    with suggesting_identify(found):
        certificate = onelayer.verify(replacement, found.transform, given, adversarial=adversarial)
    results.print(certificate)
    write_certificate(certificate, json)
    if figure is not None:
        draw(certificate.figure(), figure)


def _is_exported(layer: Path | None) -> bool:
    return layer is not None and layer.suffix.lower() == ".onnx"


def _check_side(layer: Path) -> None:
    """Refuse a layer that is not there, without importing torch."""
    if not _is_exported(layer):
        check_layer(layer)
        return
    check_installed("onnx", "onnxruntime", extra="export", purpose="Verifying an ONNX file")
    if not layer.is_file():
        raise OnelayerError(f"there is no file {layer}", expected="a file that onelayer export wrote")


def _specs(layer: Side, found: FoundPipeline, options: ImageOptions) -> list[ImageSpec]:
    """Say which images to verify on: those of the options, or else of the layer, or else of the pipeline."""
    from onelayer.exports import ExportedLayer
    from onelayer.image_spec import ImageSpec

    if options.shape is not None:
        return [ImageSpec(options.shape, *_format(layer, options))]
    if isinstance(layer, ExportedLayer) and layer.provenance.is_dynamic:
        return [ImageSpec(options.spec_for(found).shape, *_format(layer, options))]
    held = _held_specs(layer)
    if not held:
        return [options.spec_for(found)]
    wanted = [
        spec for spec in held if options.dtype in (None, spec.dtype) and options.container in (None, spec.container)
    ]
    if not wanted:
        raise OnelayerError(
            "the layer takes no images of this --dtype and --as",
            expected="one of " + ", ".join(map(spec_text, held)),
        )
    return wanted


def _held_specs(layer: Side) -> list[ImageSpec]:
    """List the images that a loaded layer takes; none for a layer that is derived for any image."""
    from onelayer.dense_layer import DenseLayer
    from onelayer.exports import ExportedLayer
    from onelayer.image_spec import ImageSpec
    from onelayer.programs import SavedPrograms

    if isinstance(layer, ExportedLayer):
        return [layer.provenance.input_spec]
    if isinstance(layer, DenseLayer):
        dtype = str(layer.weight.dtype).removeprefix("torch.")
        return [ImageSpec(layer.input_shape, dtype, "tensor")]  # type: ignore[arg-type]  # weights are floating point
    return list(layer.source.programs) if isinstance(layer.source, SavedPrograms) else []


def _format(layer: Side, options: ImageOptions) -> tuple[PixelType, ContainerType]:
    """Choose dtype and container: those of the options, or else those that a loaded layer takes."""
    formats = {(spec.dtype, spec.container) for spec in _held_specs(layer)}
    if options.dtype is None and options.container is None and len(formats) == 1:
        return formats.pop()
    return options.pixel_type, options.container_type


def _photographs(path: Path, layer: Side, options: ImageOptions) -> list[Any]:
    """Read photographs as the options say, or else as the layer takes its images."""
    from torchvision.transforms.v2 import functional as F

    from onelayer.data.photographs import read_photographs
    from onelayer.image_spec import ImageSpec
    from onelayer.images.containers import TORCH_DTYPES, image_of, pixels_of

    pixel_type, container = _format(layer, options)
    photographs = []
    for picture in read_photographs(path):
        pixels = F.to_dtype(pixels_of(picture), TORCH_DTYPES[pixel_type], scale=True)
        channels, height, width = pixels.shape
        photographs.append(image_of(pixels, ImageSpec((channels, height, width), pixel_type, container)))
    return photographs
