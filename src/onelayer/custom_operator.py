"""Layers as one operator in PyTorch's graphs, so that a model behind a layer is compiled, exported and traced whole.

The operator names a layer of this process by a number: a graph that is saved needs the plain operations of
:meth:`onelayer.OneLayer.to_module` instead.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Protocol
from weakref import WeakValueDictionary

import torch
from torch.utils._python_dispatch import _disable_current_modes

from onelayer.errors import OnelayerError
from onelayer.frontends import ImageSpec
from onelayer.images.containers import DTYPE_NAMES, TORCH_DTYPES, format_of
from onelayer.programs import Output, Source


class GraphLayer(Protocol):
    """A layer that the operator calls."""

    source: Source

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        """Apply the pipeline to images [..., C, H, W]."""


_LAYERS: WeakValueDictionary[int, GraphLayer] = WeakValueDictionary()
_NUMBERS = itertools.count()


def number_of(layer: GraphLayer) -> int:
    """Give a layer a number, by which the operator finds it as long as it lives."""
    number = next(_NUMBERS)
    _LAYERS[number] = layer
    return number


@contextmanager
def outside_of_graphs() -> Iterator[None]:
    """Compute with real tensors and numbers while PyTorch records a graph."""
    state = torch._C._get_tracing_state()
    # Even to set None again is an error inside of an operator.
    if state is not None:
        torch._C._set_tracing_state(None)  # type: ignore[attr-defined]
    try:
        with torch._C.DisableTorchFunction(), _disable_current_modes():
            yield
    finally:
        if state is not None:
            torch._C._set_tracing_state(state)  # type: ignore[attr-defined]


def single_output(source: Source, spec: ImageSpec) -> Output | None:
    """Return what comes out for an image; None where it is no single tensor, or random numbers are drawn."""
    with outside_of_graphs():
        try:
            outputs, draws = source.outputs(spec), source.draws(spec)
        except OnelayerError:
            return None
    is_single = outputs.joined == "one" and outputs.each[0].spec.container in ("tensor", "image")
    return outputs.each[0] if is_single and not draws else None


@cache
def define_operator() -> None:
    """Define ``torch.ops.onelayer.preprocess``, before the first graph: it would take a tenth of a first image."""
    operator = torch.library.custom_op("onelayer::preprocess", _preprocessed, mutates_args=())
    operator.register_fake(_without_values)


def _preprocessed(images: torch.Tensor, layer: int) -> torch.Tensor:
    """Apply a layer to images [..., C, H, W]; it has no gradient.

    Args:
        images: The images.
        layer: Number of the layer.
    """
    with torch.no_grad(), outside_of_graphs():
        result = _LAYERS[layer](images.detach())
    result = result.as_subclass(torch.Tensor).contiguous(memory_format=format_of(images))
    # An operator returns memory of its own; what only crops is a view.
    is_view = result.untyped_storage().data_ptr() == images.untyped_storage().data_ptr()
    return result.clone(memory_format=format_of(images)) if is_view else result


def _without_values(images: torch.Tensor, layer: int) -> torch.Tensor:
    # A size follows from another by arithmetic that no symbol goes through.
    *batch, channels, height, width = images.shape
    spec = ImageSpec((int(channels), int(height), int(width)), DTYPE_NAMES[images.dtype], "tensor")
    output = single_output(_LAYERS[layer].source, spec)
    if output is None:
        raise OnelayerError("the layer gives no single tensor for such images", shape=spec.shape, dtype=spec.dtype)
    result = images.new_empty((*batch, *output.spec.shape), dtype=TORCH_DTYPES[output.spec.dtype])
    return result.contiguous(memory_format=format_of(images))


class MetaPipeline:
    """The shapes of results, for images on the meta device, which have no pixels.

    Args:
        layer: Number of the layer.
    """

    draws = False

    def __init__(self, layer: int) -> None:
        define_operator()
        self._layer = layer

    def __call__(self, image: torch.Tensor, out: torch.Tensor | None) -> torch.Tensor | None:
        """Return a result without values; None where memory for values is given."""
        if out is not None:
            return None
        result: torch.Tensor = torch.ops.onelayer.preprocess(image, self._layer)
        return result
