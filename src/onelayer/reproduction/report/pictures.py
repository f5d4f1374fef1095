"""The images of comparison.safetensors, checked against the records beside it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open

from onelayer.errors import OnelayerError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from onelayer.records import PipelineSummary
    from onelayer.reproduction.records import MetricsRecord

    Images = NDArray[np.float32]

_LAYER_PREFIX = "layer."
_WEIGHTS_PREFIX = "weights."


@dataclass(frozen=True)
class Pictures:
    """Images of the test part, float32: the examples, then the worst image of the first layer.

    With K images, ``inputs`` is [K, C, H, W] in [0, 1]; ``truth`` and each of ``layers`` are [K, C', H', W'].
    """

    inputs: Images
    truth: Images
    layers: dict[str, Images]
    """By the names and in the order of metrics.json."""
    weights: dict[str, Images] = field(default_factory=dict)
    """Likewise, each [C, H, W]: with what weights one output value reads the input. Empty where that was not saved."""


def read_pictures(path: Path, pipeline: PipelineSummary, metrics: MetricsRecord) -> Pictures:
    """Read comparison.safetensors.

    Args:
        path: The file.
        pipeline: Says what shapes an input and an output have.
        metrics: Says how many images and which layers there are.

    Raises:
        OnelayerError: If the file is missing, cannot be read, does not belong to these records, or holds numbers
            that are not finite.
    """
    hint = f"Run `onelayer compare {path.parent}` again."
    count = len(metrics.examples) + 1
    inputs, outputs = (count, *pipeline.input_shape), (count, *pipeline.output_shape)
    names = {layer.layer: _LAYER_PREFIX + layer.layer for layer in metrics.layers}
    weights = {name: _WEIGHTS_PREFIX + name for name in names} if metrics.weight_pixel is not None else {}
    expected: dict[str, tuple[int, ...]] = {"inputs": inputs, "truth": outputs}
    expected |= dict.fromkeys(names.values(), outputs)
    expected |= dict.fromkeys(weights.values(), pipeline.input_shape)
    try:
        with safe_open(path, framework="numpy") as file:
            # What the header says is checked first, so that nothing large or strange is loaded at all.
            _check_header(path, file, expected, hint)
            tensors = {key: file.get_tensor(key) for key in expected}
    except FileNotFoundError:
        raise OnelayerError(f"there is no {path.name} in {path.parent} beside its metrics.json", hint=hint) from None
    except (SafetensorError, OSError) as error:
        raise OnelayerError(f"{path} cannot be read: {error}", expected="a file of safetensors", hint=hint) from None
    for key, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise OnelayerError(f"{key} in {path} holds numbers that are not finite", hint=hint)
    layers = {name: tensors[key] for name, key in names.items()}
    rows = {name: tensors[key] for name, key in weights.items()}
    return Pictures(inputs=tensors["inputs"], truth=tensors["truth"], layers=layers, weights=rows)


def _check_header(path: Path, file: Any, expected: Mapping[str, tuple[int, ...]], hint: str) -> None:
    # safetensors types its file object as Any.
    found = sorted(file.keys())
    if found != sorted(expected):
        raise OnelayerError(
            f"{path} holds the tensors {', '.join(found) or '(none)'}", expected=", ".join(sorted(expected)), hint=hint
        )
    for key, shape in expected.items():
        header = file.get_slice(key)
        if tuple(header.get_shape()) != shape or header.get_dtype() != "F32":
            raise OnelayerError(
                f"{key} in {path} does not fit the records beside it",
                expected=f"F32 of shape {shape}",
                hint=hint,
                shape=tuple(header.get_shape()),
                dtype=header.get_dtype(),
            )
