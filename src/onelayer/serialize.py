"""A layer as a folder: ``config.json`` and ``model.safetensors``.

Nothing here unpickles: the configuration is JSON, the weights are safetensors, and both are checked against each
other before a layer is built. A learned layer is its weights. Of a compiled one the programs are written, each stage as
its kind, its parameters as JSON and its arrays, from which the stage is built again, and which it checks itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, JsonValue
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialized

from onelayer.algebra import Lookup, Program, Range, Simplified, Stage
from onelayer.algebra.checks import field
from onelayer.algebra.operator import STAGES_BY_KIND
from onelayer.algebra.ranges import ranges_of
from onelayer.atomic_write import write_whole
from onelayer.dense_layer import DenseLayer
from onelayer.errors import OnelayerError
from onelayer.frontends import Container, ImageSpec, PixelType, RoundingMode, UnsupportedTransformError
from onelayer.images.containers import Image, spec_of
from onelayer.layer import OneLayer
from onelayer.programs import ANY_FLOAT, Joined, Output, Outputs, SavedPrograms
from onelayer.records import Part, Record, Shape, written_format_version, written_kind

LAYER_FORMAT = 2
"""Version of the format of layers. Version 1 wrote the parameters of stages under other names."""

_CONFIG = "config.json"
_WEIGHTS = "model.safetensors"
NamedArrays = dict[str, NDArray[Any]]

_AGAIN = "Save the layer again, or get the folder anew."


class DenseConfig(Record):
    """``config.json`` of a learned layer."""

    format_version: Annotated[int, Field(ge=1, le=LAYER_FORMAT, strict=True)] = LAYER_FORMAT
    kind: Literal["dense"] = "dense"
    input_shape: Shape
    output_shape: Shape
    pipeline: str | None = None
    """Name of the pipeline it stands in for."""


class ImageConfig(Part):
    """The spec of an image."""

    shape: Shape
    dtype: PixelType
    container: Container


class StageConfig(Part):
    """A stage without its arrays."""

    kind: str
    parameters: dict[str, JsonValue]


class OutputConfig(Part):
    """One image that comes out; its arrays' names begin with its places: ``program.output.stage.name``."""

    spec: ImageConfig
    stages: tuple[StageConfig, ...]
    rounding: RoundingMode


class ProgramConfig(Part):
    """All that comes out for one kind of image."""

    spec: ImageConfig
    joined: Joined
    outputs: Annotated[tuple[OutputConfig, ...], Field(min_length=1)]


class ProgramsConfig(Record):
    """``config.json`` of a compiled layer."""

    format_version: Annotated[int, Field(ge=LAYER_FORMAT, le=LAYER_FORMAT, strict=True)] = LAYER_FORMAT
    kind: Literal["programs"] = "programs"
    pipeline: str | None = None
    """Name of the pipeline it stands in for."""
    programs: Annotated[tuple[ProgramConfig, ...], Field(min_length=1)]


def save(
    layer: DenseLayer | OneLayer,
    folder: str | Path,
    *,
    pipeline: str | None = None,
    images: Iterable[Image | ImageSpec] = (),
) -> None:
    """Write a layer into a folder, which is made if need be. Files there of the same names are replaced.

    Args:
        layer: A learned layer, whose weights are written in their own dtype; or a compiled one. Of that, programs are
            written, with float64 weights, so that neither torchvision nor the transforms are needed to run it again.
        folder: The folder to write.
        pipeline: Name of the pipeline it stands in for.
        images: For a compiled layer: images, or their :class:`onelayer.ImageSpec`, of every kind (size, dtype, tensor
            or PIL or array) that the loaded layer is to take.

    Raises:
        OnelayerError: If a compiled layer is to be saved without saying for which images, or a stage of it has no name
            in files.
        OSError: If the folder cannot be written.
    """
    folder = Path(folder)
    specs = [image if isinstance(image, ImageSpec) else spec_of(image) for image in images]
    if isinstance(layer, DenseLayer):
        if specs:
            raise OnelayerError("images were given to save a dense layer", expected="none: it takes one size only")
        tensors = {name: value.detach().cpu().contiguous() for name, value in layer.state_dict().items()}
        content: Record = DenseConfig(input_shape=layer.input_shape, output_shape=layer.output_shape, pipeline=pipeline)
    elif isinstance(layer, OneLayer):
        if isinstance(layer.source, SavedPrograms) and not specs:
            specs = list(layer.source.programs)
        if not specs:
            raise OnelayerError(
                "a compiled layer was to be saved without any image size",
                expected="images=[...]: images, or onelayer.ImageSpec(shape, dtype, container)",
                hint="The weights depend on the size of the image, so a file holds those of the sizes you name.",
            )
        content, arrays = _to_config({spec: _outputs(layer, spec) for spec in specs}, pipeline)
        tensors = {name: torch.from_numpy(np.array(array, order="C")) for name, array in arrays.items()}
    else:
        raise OnelayerError(
            f"a {type(layer).__name__} was to be saved",
            expected="what onelayer.load, onelayer.compile or learning gave",
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / _WEIGHTS, serialized(tensors))
    content.write(folder / _CONFIG)


def _outputs(layer: OneLayer, spec: ImageSpec) -> Outputs:
    try:
        return layer.source.outputs(spec)
    except UnsupportedTransformError as error:
        if layer.fullgraph:
            raise
        raise OnelayerError(
            f"a layer with breaks cannot be saved, because a file holds no code: {error.problem}",
            expected="a pipeline that is compiled as a whole",
            hint="Save the layer of the transforms before or behind it, compiled alone; onelayer.explain shows them.",
            transform=error.transform,
            stage=error.stage,
            shape=error.shape,
            dtype=error.dtype,
        ) from error


def load(folder: str | Path) -> DenseLayer | OneLayer:
    """Read a layer that :func:`save` wrote, on the CPU, in evaluation mode.

    Args:
        folder: The folder with ``config.json`` and ``model.safetensors``, or a run folder that holds it as ``layer``.

    Raises:
        OnelayerError: If the folder or a file of it is missing, truncated, of another shape than its configuration
            says, or of another format.
    """
    folder = _layer_folder(folder)
    return _load_programs(folder) if written_kind(folder / _CONFIG) == "programs" else _load_dense(folder)


def load_dense(folder: str | Path) -> DenseLayer:
    """Read a layer that was learned; see :func:`load`.

    Raises:
        OnelayerError: As for :func:`load`, and if the layer is of another kind.
    """
    return _load_dense(_layer_folder(folder))


def _layer_folder(folder: str | Path) -> Path:
    folder = Path(folder)
    if not (folder / _CONFIG).exists() and (folder / "layer" / _CONFIG).exists():
        folder = folder / "layer"
    if not (folder / _CONFIG).is_file():
        raise OnelayerError(
            f"there is no layer in {folder}",
            expected=f"a folder with {_CONFIG} and {_WEIGHTS}",
            hint="Name the folder `layer` of a run.",
        )
    written = written_format_version(folder / _CONFIG)
    if written is not None and written > LAYER_FORMAT:
        raise OnelayerError(
            f"the layer in {folder} is of format version {written}",
            expected=f"at most {LAYER_FORMAT}",
            hint="A newer onelayer wrote it: install that version.",
        )
    if written is not None and written < LAYER_FORMAT and written_kind(folder / _CONFIG) == "programs":
        raise OnelayerError(
            f"the compiled layer in {folder} is of format version {written}",
            expected=f"version {LAYER_FORMAT}",
            hint="Compile and save it again.",
        )
    return folder


def _load_programs(folder: Path) -> OneLayer:
    config = ProgramsConfig.read(folder / _CONFIG)
    tensors = _read_tensors(folder / _WEIGHTS)
    try:
        return OneLayer(SavedPrograms(_from_config(config, tensors))).eval()
    except OnelayerError as error:
        raise OnelayerError(
            f"the layer in {folder} does not fit together: {error.problem}", expected=error.expected, hint=_AGAIN
        ) from error


def _load_dense(folder: Path) -> DenseLayer:
    config = DenseConfig.read(folder / _CONFIG)
    with torch.device("meta"):  # shapes only, until the file is seen to hold such weights
        layer = DenseLayer(config.input_shape, config.output_shape)
    expected = {name: tuple(value.shape) for name, value in layer.state_dict().items()}
    tensors = _read_tensors(folder / _WEIGHTS)
    found = {name: tuple(value.shape) for name, value in tensors.items()}
    if found != expected:
        raise OnelayerError(
            f"the weights in {folder} are {found}",
            expected=f"{expected}, as {_CONFIG} says",
            hint=_AGAIN,
        )
    dtypes = {value.dtype for value in tensors.values()}
    if len(dtypes) != 1 or not tensors["weight"].is_floating_point():
        raise OnelayerError(
            f"the weights in {folder} are of dtype {', '.join(sorted(map(str, dtypes)))}",
            expected="one floating point dtype",
            hint=_AGAIN,
        )
    if not all(bool(value.isfinite().all()) for value in tensors.values()):
        raise OnelayerError(f"the weights in {folder} are not all finite numbers", hint=_AGAIN)
    layer.load_state_dict(tensors, assign=True)
    return layer.eval()


def _read_tensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except FileNotFoundError:
        raise OnelayerError(f"there is no {path.name} in {path.parent}", hint=_AGAIN) from None
    except SafetensorError as error:
        raise OnelayerError(f"{path} cannot be read: {error}", expected="whole safetensors", hint=_AGAIN) from None


def _to_config(programs: Mapping[ImageSpec, Outputs], pipeline: str | None) -> tuple[ProgramsConfig, NamedArrays]:
    """Write programs as a configuration, and as the arrays that belong to it, by name."""
    arrays: NamedArrays = {}
    configs = []
    for place, (spec, outputs) in enumerate(programs.items()):
        each = []
        for number, output in enumerate(outputs.each):
            stages = []
            for at, stage in enumerate(output.simplified.program.stages):
                if stage.kind is None:
                    raise OnelayerError(
                        f"a {type(stage).__name__} has no name in files",
                        expected=f'class {type(stage).__name__}(Operator, kind="…")',
                    )
                parameters = json.loads(json.dumps(stage.parameters(), allow_nan=False))
                stages.append(StageConfig(kind=stage.kind, parameters=parameters))
                arrays |= {f"{place}.{number}.{at}.{name}": array for name, array in stage.arrays().items()}
            config = OutputConfig(spec=_image_config(output.spec), stages=tuple(stages), rounding=output.rounding)
            each.append(config)
        configs.append(ProgramConfig(spec=_image_config(spec), joined=outputs.joined, outputs=tuple(each)))
    return ProgramsConfig(pipeline=pipeline, programs=tuple(configs)), arrays


def _image_config(spec: ImageSpec) -> ImageConfig:
    return ImageConfig(shape=spec.shape, dtype=spec.dtype, container=spec.container)


def _from_config(config: ProgramsConfig, tensors: dict[str, torch.Tensor]) -> dict[ImageSpec, Outputs]:
    """Build programs from a configuration and its arrays; nothing is believed that does not fit together.

    Raises:
        OnelayerError: If an array is missing, left over, or does not fit its stage.
    """
    left = dict(tensors)
    programs = {}
    for place, program_config in enumerate(config.programs):
        spec = ImageSpec(**program_config.spec.model_dump())
        each = []
        for number, output in enumerate(program_config.outputs):
            stages = tuple(_stage(stage, f"{place}.{number}.{at}", left) for at, stage in enumerate(output.stages))
            program = field(f"program {place}.{number}", partial(Program, spec.shape, stages))
            if any(isinstance(stage, Lookup) for stage in stages):
                # Indices beyond a table are an error of PyTorch's on the CPU, and end the process's use of a GPU.
                ends = (-ANY_FLOAT, ANY_FLOAT) if spec.is_float else (0.0, 255.0)
                with np.errstate(over="ignore", invalid="ignore"):
                    field(f"program {place}.{number}", partial(ranges_of, stages, Range.of(spec.shape[0], *ends)))
            after = ImageSpec(**output.spec.model_dump())
            if program.out_shape != after.shape:
                raise OnelayerError(
                    f"program {place}.{number} gives images {program.out_shape}", expected=f"{after.shape}, as it says"
                )
            origins = tuple((at,) for at in range(len(stages)))
            each.append(Output(Simplified(program, origins, (), ()), after, output.rounding))
        programs[spec] = field(f"program {place}", partial(Outputs, tuple(each), program_config.joined))
    if left:
        raise OnelayerError(f"there are arrays that belong to no stage: {', '.join(sorted(left)[:5])}")
    return programs


def _stage(config: StageConfig, place: str, left: dict[str, torch.Tensor]) -> Stage:
    """Build a stage, and take its arrays out of those that are left."""
    if config.kind not in STAGES_BY_KIND:
        raise OnelayerError(
            f"stage {place} is of kind {config.kind!r}", expected=f"one of {', '.join(sorted(STAGES_BY_KIND))}"
        )
    prefix = f"{place}."
    names = [name for name in left if name.startswith(prefix)]
    try:
        arrays = {name.removeprefix(prefix): _array(name.removeprefix(prefix), left.pop(name)) for name in names}
        stage = STAGES_BY_KIND[config.kind].from_parts(config.parameters, arrays)
        unknown = {*config.parameters, *arrays} - {*stage.parameters(), *stage.arrays()}
        if unknown:
            raise OnelayerError(f"it has no {', '.join(sorted(unknown))}", expected="the fields of the stage alone")
    except OnelayerError as error:
        raise OnelayerError(f"stage {place} ({config.kind}): {error.problem}", expected=error.expected) from error
    return stage


_DTYPES = (torch.float32, torch.float64, torch.int32, torch.int64)
"""Dtypes of the arrays of stages."""


def _array(name: str, tensor: torch.Tensor) -> NDArray[Any]:
    if tensor.dtype not in _DTYPES:
        raise OnelayerError(
            f"{name} is of dtype {str(tensor.dtype).removeprefix('torch.')}",
            expected="float32 or float64, or int32 or int64",
        )
    return tensor.numpy()
