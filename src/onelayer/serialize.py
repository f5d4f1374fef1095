"""A layer as a folder: ``config.json`` and ``model.safetensors``.

Nothing here unpickles: the configuration is JSON, the weights are safetensors, and both are checked against each
other before a layer is built.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialized

from onelayer.atomic_write import write_whole
from onelayer.dense_layer import DenseLayer
from onelayer.errors import OnelayerError
from onelayer.frontends import ImageSpec
from onelayer.images.containers import Image, spec_of
from onelayer.layer import OneLayer
from onelayer.program_config import ProgramsConfig, from_config, to_config
from onelayer.programs import SavedPrograms
from onelayer.records import FORMAT_VERSION, Record, Shape, written_format_version, written_kind

_CONFIG = "config.json"
_WEIGHTS = "model.safetensors"
_AGAIN = "Save the layer again, or get the folder anew."


class LayerConfig(Record):
    """config.json"""

    kind: Literal["dense"] = "dense"
    input_shape: Shape
    output_shape: Shape
    pipeline: str | None = None
    """The name of the pipeline it stands in for."""


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
        folder: Where to.
        pipeline: The name of the pipeline it stands in for.
        images: Of a compiled layer: images, or what :class:`onelayer.ImageSpec` says of them, whose kinds (size, dtype,
            tensor or PIL or array) the loaded layer shall take.

    Raises:
        OnelayerError: If a compiled layer is to be saved without saying for which images.
        OSError: If the folder cannot be written.
    """
    folder = Path(folder)
    kinds = [image if isinstance(image, ImageSpec) else spec_of(image) for image in images]
    if isinstance(layer, DenseLayer):
        if kinds:
            raise OnelayerError("images were given to save a dense layer", expected="none: it takes one size only")
        tensors = {name: value.detach().cpu().contiguous() for name, value in layer.state_dict().items()}
        content: Record = LayerConfig(input_shape=layer.input_shape, output_shape=layer.output_shape, pipeline=pipeline)
    elif isinstance(layer, OneLayer):
        if isinstance(layer.source, SavedPrograms) and not kinds:
            kinds = list(layer.source.programs)
        if not kinds:
            raise OnelayerError(
                "a compiled layer was to be saved without any image size",
                expected="images=[...]: images, or onelayer.ImageSpec(shape, dtype, container)",
                hint="The weights depend on the size of the image, so a file holds those of the sizes you name.",
            )
        content, arrays = to_config({given: layer.source.outputs(given) for given in kinds}, pipeline)
        tensors = {name: torch.from_numpy(np.array(array, order="C")) for name, array in arrays.items()}
    else:
        raise OnelayerError(
            f"a {type(layer).__name__} was to be saved",
            expected="what onelayer.load, onelayer.compile or learning gave",
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / _WEIGHTS, serialized(tensors))
    content.write(folder / _CONFIG)


def load(folder: str | Path) -> DenseLayer | OneLayer:
    """Read a layer that :func:`save` wrote, on the CPU, in evaluation mode.

    Args:
        folder: The folder with ``config.json`` and ``model.safetensors``, or a run folder that holds it as ``layer``.

    Raises:
        OnelayerError: If the folder or a file of it is missing, truncated, of another shape than its configuration
            says, or of a newer format.
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
    if written is not None and written > FORMAT_VERSION:
        raise OnelayerError(
            f"the layer in {folder} is of format version {written}",
            expected=f"at most {FORMAT_VERSION}",
            hint="A newer onelayer wrote it: install that version.",
        )
    return folder


def _load_programs(folder: Path) -> OneLayer:
    config = ProgramsConfig.read(folder / _CONFIG)
    arrays = {name: tensor.numpy() for name, tensor in _read_tensors(folder / _WEIGHTS).items()}
    try:
        return OneLayer(SavedPrograms(from_config(config, arrays))).eval()
    except OnelayerError as error:
        raise OnelayerError(
            f"the layer in {folder} does not fit together: {error.problem}", expected=error.expected, hint=_AGAIN
        ) from error


def _load_dense(folder: Path) -> DenseLayer:
    config = LayerConfig.read(folder / _CONFIG)
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
