"""Write a layer as an ONNX file of plain operators, alone or in front of a model, and check it in the runtimes."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from onelayer.atomic_write import write_whole
from onelayer.backends.portable import NotPortableError
from onelayer.errors import OnelayerError
from onelayer.exports.dynamic_sizes import add_structure
from onelayer.exports.graph import IR_VERSION, OPSET, Graph, require_onnx
from onelayer.exports.lengths import Length
from onelayer.exports.nodes import Layout, Values, add_steps, check_layout
from onelayer.exports.provenance import Provenance
from onelayer.exports.runtimes import RUNTIMES, ExportedLayer, RuntimeName
from onelayer.image_spec import ImageSpec, PixelType, RoundingMode
from onelayer.images.containers import Image, image_of, spec_of
from onelayer.layer import OneLayer
from onelayer.plans import portable_output
from onelayer.programs import SavedPrograms, Transforms
from onelayer.records import Shape
from onelayer.verification import verify
from onelayer.verification.certificate import Certificate

_NUMPY_DTYPES: dict[PixelType, type] = {"uint8": np.uint8, "float16": np.float16, "float32": np.float32}
"""Dtypes of images that files take and give."""

_LIBRARIES = ("onelayer", "torch", "torchvision", "pillow", "onnx")


@dataclass(frozen=True, eq=False)
class Exported:
    """What was written, and what the runtimes made of it.

    Attributes:
        path: The file.
        provenance: The record that the file holds.
        certificates: A certificate of the preprocessing for each runtime that is installed.
    """

    path: Path
    provenance: Provenance
    certificates: dict[RuntimeName, Certificate]

    def __str__(self) -> str:
        lines = [f"{self.path}: {self.provenance.shape_text} {self.provenance.dtype}, {self.provenance.layout}"]
        for runtime, certificate in self.certificates.items():
            figures = certificate.record.all
            found = (
                "no value differs"
                if figures.mismatch_rate == 0
                else f"at most {figures.max_units:.2g} ({figures.max_grey_levels:.2g} grey levels) apart"
            )
            lines.append(f"{runtime} {version(runtime)}: {found} on {figures.count:,} images")
        if not self.certificates:
            lines.append("not checked: neither onnxruntime nor openvino is installed, or it was not asked for")
        return "\n".join(lines)

    __repr__ = __str__


_PREFIX = "preprocessing/"
"""Beginning of the names of the preprocessing's values in front of a model."""


def export(
    layer: OneLayer,
    path: str | Path,
    *,
    like: Image | ImageSpec | None = None,
    height: int | None = None,
    width: int | None = None,
    layout: Layout = "NHWC",
    dtype: PixelType | None = None,
    model: str | Path | Any = None,
    rounding: RoundingMode | None = None,
    check: bool = True,
) -> Exported:
    """Write a layer as an ONNX file of plain operators: Cast, MatMul, Add, Mul, Floor, Clip, Gather, Slice and more.

    With the original's rounding the file gives the original's bytes in any runtime that multiplies and adds in float32:
    whole weights are split so that all sums stay exact. So turn TF32, bfloat16 and float16 off.

    The result comes as [N, C', H', W'] where the original gives a tensor, and as [N, H', W', C'] where it gives a PIL
    image or an array; without N where ``layout`` has none.

    Args:
        layer: A layer from :func:`onelayer.compile`, or one that was loaded.
        path: File to write.
        like: Image, or its spec, that says whose rounding is meant, Pillow's or a tensor's, and how many channels
            there are; None for a tensor of three channels, or for the images of a loaded layer. Its size means nothing.
        height: Rows of the images; None for any.
        width: Columns of the images; None for any.
        layout: Dimensions of the input: ``NHWC``, ``HWC`` (what decoders give), ``NCHW`` or ``CHW``.
        dtype: Dtype of the input; None for that of ``like``, or uint8.
        model: ONNX model that takes the result, a file or a ``ModelProto``: the preprocessing is put before it.
        rounding: ``exact`` or ``fused``; None for the layer's.
        check: Whether the runtimes that are installed are compared with the original on a few images at once.

    Returns:
        The file's path, its record and the certificates. It prints as what was found.

    Raises:
        OnelayerError: If the pipeline cannot be compiled as a whole for such images, plain operators cannot compute it,
            the model does not take the result, or a runtime does not give the original's bits where rounding is exact.
    """
    check_layout(layout)
    taken = _taken(layer, like, height, width, dtype)
    behind = None if model is None else _loaded_model(model)
    opset, ir = (OPSET, IR_VERSION) if behind is None else _versions_of(behind)
    graph = Graph(opset, "" if behind is None else _PREFIX)
    image = "image" if behind is None or "image" not in _names_of(behind) else f"{_PREFIX}image"
    values = Values(graph, image, layout)
    given = (_any_size if taken.is_dynamic else _one_size)(layer, taken, rounding, values)
    output_layout = _output_layout(given.spec, layout)
    result = f"{graph.prefix}result"
    values.finish(result, output_layout, _NUMPY_DTYPES[given.spec.dtype])
    made = graph.model(
        {image: (_NUMPY_DTYPES[taken.spec.dtype], _dimensions(layout, taken.shape))},
        {result: (_NUMPY_DTYPES[given.spec.dtype], _dimensions(output_layout, given.shape))},
        ir,
    )
    provenance = Provenance(
        pipeline=" ".join(repr(layer.source).split()),
        rounding=given.rounding,
        shape=taken.shape,
        dtype=taken.spec.dtype,
        container=taken.spec.container,
        layout=layout,
        output_dtype=given.spec.dtype,
        output_container=given.spec.container,
        output_layout=output_layout,
        versions={name: version(name) for name in _LIBRARIES},
    )
    provenance.add_to(made)
    certificates = _certificates(made, layer, provenance, taken.examples) if check else {}
    records = {f"{name} {version(name)}": certificate.record for name, certificate in certificates.items()}
    provenance = provenance.model_copy(update={"certificates": records})
    if behind is not None:
        made = _merged(made, behind)
        name = Path(model).name if isinstance(model, str | Path) else behind.graph.name
        provenance = provenance.model_copy(update={"model": name})
    provenance.add_to(made)
    require_onnx().checker.check_model(made)
    write_whole(Path(path), made.SerializeToString())
    return Exported(Path(path), provenance, certificates)


@dataclass(frozen=True)
class _Taken:
    """The images that a file takes.

    Args:
        spec: Their spec, in which the height and the width mean nothing.
        height: Rows; None for any.
        width: Columns; None for any.
    """

    spec: ImageSpec
    height: int | None
    width: int | None

    @property
    def is_dynamic(self) -> bool:
        return self.height is None or self.width is None

    @property
    def shape(self) -> Shape:
        """Channels, height and width, 0 for what is dynamic."""
        return self.spec.shape[0], self.height or 0, self.width or 0

    @property
    def examples(self) -> list[ImageSpec]:
        """Specs of images of one size, or of two of all sizes: lying, and very tall."""
        sizes = [(self.height or height, self.width or width) for height, width in _EXAMPLE_SIZES]
        return [replace(self.spec, shape=(self.spec.shape[0], *size)) for size in dict.fromkeys(sizes)]


_EXAMPLE_SIZES = (75, 100), (301, 40)


@dataclass(frozen=True)
class _Given:
    """The results that a file gives.

    Args:
        spec: Their spec, of which the dtype and the container count.
        shape: Channels, height and width, 0 for what depends on the image.
        rounding: Rounding of the values.
    """

    spec: ImageSpec
    shape: Shape
    rounding: RoundingMode


def _taken(
    layer: OneLayer, like: Image | ImageSpec | None, height: int | None, width: int | None, dtype: PixelType | None
) -> _Taken:
    if isinstance(layer.source, SavedPrograms):
        like, height, width = _saved_for(layer.source, like, height, width)
    spec = ImageSpec((3, 1, 1), dtype or "uint8", "tensor") if like is None else like
    spec = spec if isinstance(spec, ImageSpec) else spec_of(spec)
    if dtype not in (None, spec.dtype):
        raise OnelayerError(
            f"dtype={dtype!r} was asked for, and like= is an image of {spec.dtype}", expected="the same dtype"
        )
    if spec.dtype not in _NUMPY_DTYPES:
        raise OnelayerError(f"images of {spec.dtype} were asked for", expected=f"one of {', '.join(_NUMPY_DTYPES)}")
    return _Taken(spec, height, width)


def _saved_for(
    source: SavedPrograms, like: Image | ImageSpec | None, height: int | None, width: int | None
) -> tuple[ImageSpec, int, int]:
    """Choose the images of a layer that has programs for some only."""
    wanted = like if like is None or isinstance(like, ImageSpec) else spec_of(like)
    specs = [
        spec
        for spec in source.programs
        if (wanted is None or replace(spec, shape=(spec.shape[0], *wanted.shape[1:])) == wanted)
        and height in (None, spec.shape[1])
        and width in (None, spec.shape[2])
    ]
    if len(specs) != 1:
        raise OnelayerError(
            f"the layer has programs for {len(specs)} such kinds of images",
            expected=f"one of: {source}",
            hint="Say which by like=, height= and width=.",
        )
    return specs[0], *specs[0].shape[1:]


def _one_size(layer: OneLayer, taken: _Taken, rounding: RoundingMode | None, values: Values) -> _Given:
    """Add the nodes for images of one size."""
    output, steps = portable_output(layer.source, replace(taken.spec, shape=taken.shape), rounding)
    _refuse_dtype(output.spec)
    add_steps(values, steps)
    return _Given(output.spec, output.spec.shape, output.rounding)


def _any_size(layer: OneLayer, taken: _Taken, rounding: RoundingMode | None, values: Values) -> _Given:
    """Add the nodes for images of any size."""
    source = layer.source
    if rounding is not None and isinstance(source, Transforms):
        source = Transforms(source.transform, rounding)
    structure = source.structure(taken.spec)
    if isinstance(structure, str):
        raise NotPortableError(
            f"each size of image takes a program of its own: {structure}",
            expected="crops, resizes, flips and pads of torchvision, for images of any size",
            hint="Give height= and width=: a file for one size has all pipelines.",
        )
    _refuse_dtype(structure.output_spec)
    height = Length.known(values.graph, taken.height) if taken.height else values.length("rows")
    width = Length.known(values.graph, taken.width) if taken.width else values.length("cols")
    rows, cols = add_structure(structure, values, height, width)
    shape = structure.output_spec.shape[0], rows.value or 0, cols.value or 0
    return _Given(structure.output_spec, shape, structure.rounding)


def _refuse_dtype(spec: ImageSpec) -> None:
    if spec.dtype not in _NUMPY_DTYPES:
        raise NotPortableError(f"the pipeline gives {spec.dtype}", expected=f"one of {', '.join(_NUMPY_DTYPES)}")


def _output_layout(spec: ImageSpec, layout: Layout) -> Layout:
    batched = "N" in layout
    if spec.container in ("pil", "numpy"):
        return "NHWC" if batched else "HWC"
    return "NCHW" if batched else "CHW"


def _dimensions(layout: Layout, shape: Sequence[int]) -> tuple[int | str, ...]:
    names = {"N": "batch", "H": "height", "W": "width"}
    lengths = dict(zip("CHW", shape, strict=True))
    return tuple(lengths.get(letter) or names[letter] for letter in layout)


def _loaded_model(model: Any) -> Any:
    onnx = require_onnx()
    if not isinstance(model, str | Path):
        return model
    try:
        return onnx.load(str(model))
    except OSError:
        raise
    except Exception as error:
        raise OnelayerError(f"{model} is no ONNX model: {error}", expected="an ONNX file") from error


def _versions_of(model: Any) -> tuple[int, int]:
    plain = [entry.version for entry in model.opset_import if entry.domain == ""]
    return (plain or [OPSET])[0], model.ir_version


def _merged(preprocessing: Any, model: Any) -> Any:
    """Put the preprocessing before a model, whose other inputs and whose outputs keep their names."""
    onnx = require_onnx()
    constants = {constant.name for constant in model.graph.initializer}
    inputs = [each for each in model.graph.input if each.name not in constants]
    if len(inputs) != 1:
        raise OnelayerError(
            f"the model has {len(inputs)} inputs: {', '.join(each.name for each in inputs)}",
            expected="a model of one input, the image",
        )
    kind = inputs[0].type.tensor_type
    taken_dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
    lengths = [each.dim_value or None for each in kind.shape.dim]
    if len(lengths) == len(preprocessing.graph.output[0].type.tensor_type.shape.dim) + 1:
        # Models take batches, and the image may be a single one.
        _add_batch(preprocessing)
    result = preprocessing.graph.output[0].type.tensor_type
    gives = [each.dim_value or None for each in result.shape.dim]
    fits = len(lengths) == len(gives) and all(
        a is None or b is None or a == b for a, b in zip(lengths, gives, strict=True)
    )
    given_dtype = onnx.helper.tensor_dtype_to_np_dtype(result.elem_type)
    if not fits or taken_dtype != given_dtype:
        raise OnelayerError(
            f"the model takes {taken_dtype} {_shape_text(lengths)}, and the preprocessing gives {given_dtype} "
            f"{_shape_text(gives)}",
            expected="a model that takes what the preprocessing gives",
        )
    del preprocessing.metadata_props[:]
    return onnx.compose.merge_models(preprocessing, model, [(preprocessing.graph.output[0].name, inputs[0].name)])


def _names_of(model: Any) -> set[str]:
    """Return the names of a model's values."""
    graph = model.graph
    values = (value.name for values in (graph.input, graph.output, graph.initializer) for value in values)
    return {*values, *(name for node in graph.node for name in node.output)}


def _add_batch(preprocessing: Any) -> None:
    """Make a batch of one of the result of one image."""
    onnx = require_onnx()
    graph = preprocessing.graph
    (result,) = graph.output
    lengths = [each.dim_value or each.dim_param for each in result.type.tensor_type.shape.dim]
    axis, name = f"{_PREFIX}batch_axis", f"{_PREFIX}batch"
    graph.initializer.append(onnx.numpy_helper.from_array(np.array([0]), axis))
    graph.node.append(onnx.helper.make_node("Unsqueeze", [result.name, axis], [name]))
    result.CopyFrom(onnx.helper.make_tensor_value_info(name, result.type.tensor_type.elem_type, [1, *lengths]))


def _shape_text(lengths: Sequence[int | None]) -> str:
    return "[" + ", ".join("any" if length is None else str(length) for length in lengths) + "]"


def _certificates(
    model: Any, layer: OneLayer, provenance: Provenance, specs: Sequence[ImageSpec]
) -> dict[RuntimeName, Certificate]:
    """Compare the original with the runtimes that are installed, on noise, slopes and what :func:`verify` adds.

    Raises:
        OnelayerError: If rounding is exact, and a value differs.
    """
    content = model.SerializeToString()
    original = layer.transform if isinstance(layer.source, Transforms) else lambda image: layer(image)
    images = [image for number, spec in enumerate(specs) for image in _images(spec, number)]
    certificates = {}
    for runtime in RUNTIMES:
        if importlib.util.find_spec(runtime) is None:
            continue
        certificate = verify(ExportedLayer(content, runtime), original, images, adversarial=0, progress=False)
        rate = certificate.record.all.mismatch_rate
        # OpenVINO has no float64, in which the weights for a size are computed.
        is_promised = runtime == "onnxruntime" or not provenance.is_dynamic
        if provenance.rounding == "exact" and is_promised and rate > 0:
            raise OnelayerError(
                f"{runtime} {version(runtime)} gives other values than the original: {rate:.2%} differ",
                expected="every bit of the original",
                hint="onelayer selfcheck says whether the installed libraries round as known. Or use rounding='fused'.",
            )
        certificates[runtime] = certificate
    return certificates


def _images(spec: ImageSpec, seed: int) -> list[Image]:
    channels, height, width = spec.shape
    generator = np.random.default_rng(seed)
    noise = generator.integers(0, 256, spec.shape, dtype=np.uint8)
    slope = np.add.outer(np.linspace(0, 170, height), np.linspace(0, 85, width)).astype(np.uint8)
    bytes_of = [torch.from_numpy(noise), torch.from_numpy(slope).expand(channels, -1, -1).contiguous()]
    return [image_of(pixels if spec.dtype == "uint8" else pixels / 255, spec) for pixels in bytes_of]
