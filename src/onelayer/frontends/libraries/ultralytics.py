"""Ultralytics: ``LetterBox``, called as ``letterbox(image=array)``, and ``preprocess`` of a predictor.

Compiled is what happens to images of bytes, [H, W, C]. Labels are left to the original with their image, and so are
tensors, half precision and other devices than the CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from torchvision.transforms import v2

from onelayer.algebra import Lookup, Separable
from onelayer.errors import OnelayerError
from onelayer.frontends.array_pipelines import ArrayPipeline, refuse_arrays
from onelayer.frontends.base import (
    Derivation,
    UnsupportedTransformError,
    qualified_name,
    register,
    register_sequence,
)
from onelayer.frontends.front_end import FRONT_ENDS, MakeLayer
from onelayer.frontends.opencv import ResizeBy
from onelayer.frontends.placement import Size
from onelayer.frontends.torchvision.by_rule import PadBy
from onelayer.image_spec import ImageSpec, RoundingMode

_LETTER_BOX = "ultralytics.data.augment.LetterBox"
_PREPROCESS = "ultralytics.engine.predictor.BasePredictor.preprocess"
_PRE_TRANSFORM = "ultralytics.engine.predictor.BasePredictor.pre_transform"
_BEHAVIOUR = "__call__", "get_params", "apply_image"


@dataclass(frozen=True)
class _OfSize:
    """What ``get_params`` of a ``LetterBox`` reads of an image."""

    shape: Size


@register_sequence(_LETTER_BOX)
def letter_box(transform: Any, spec: ImageSpec) -> list[Any]:
    """List a resize and a padding, with the sizes that the transform itself computes."""
    refuse_arrays(spec)
    if patched := [name for name in _BEHAVIOUR if name in vars(transform)]:
        raise UnsupportedTransformError(f"this LetterBox has {patched[0]} of its own")
    fill = transform.padding_value
    if not isinstance(fill, int) or not 0 <= fill <= 255:
        raise UnsupportedTransformError(f"its padding_value is {fill}", expected="a whole number in 0 … 255")

    def found(height: int, width: int) -> dict[str, Any]:
        params: dict[str, Any] = transform.get_params({"img": _OfSize((height, width))})
        return params

    def size(height: int, width: int) -> Size:
        new_width, new_height = found(height, width)["new_unpad"]
        return int(new_height), int(new_width)

    def border(height: int, width: int) -> tuple[int, int, int, int]:
        # For an image of the size after the resize they are the same, because nothing is left to be resized.
        params = found(height, width)
        return int(params["left"]), int(params["top"]), int(params["right"]), int(params["bottom"])

    return [ResizeBy((0, 0), int(transform.interpolation), size), PadBy(border, fill)]


class _ToTensor:
    """Make a float tensor, 0 … 1, of an array of bytes, as predictors do: three channels change their order."""

    def __call__(self, image: Any) -> torch.Tensor:
        """Compute the tensor of one image."""
        tensor = torch.from_numpy(image).permute(2, 0, 1)
        return (tensor.flip(0) if len(tensor) == 3 else tensor).contiguous().float().div_(255)


@register(_ToTensor, any_size=True)
def to_tensor(transform: _ToTensor, spec: ImageSpec, rounding: RoundingMode) -> Derivation:  # noqa: ARG001 - a table rounds nothing
    """Derive the tensor, with a table of all bytes."""
    refuse_arrays(spec)
    channels = spec.shape[0]
    every = np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), channels, axis=2)
    table = transform(every).reshape(channels, 256).double().numpy()
    order = np.arange(channels)[:: -1 if channels == 3 else 1]
    mixed = Separable.of_channels(np.eye(channels)[order], np.zeros(channels), spec.shape[1:])
    return [*([] if mixed.is_identity else [mixed]), Lookup(table)], replace(spec, dtype="float32", container="tensor")


class LetterBoxes:
    """The front end of ``LetterBox``; see :class:`onelayer.frontends.front_end.FrontEnd`."""

    def owns(self, pipeline: object) -> bool:
        """Whether an object is a ``LetterBox``."""
        return qualified_name(type(pipeline)) == _LETTER_BOX

    def transforms(self, pipeline: Any, spec: ImageSpec) -> Sequence[Any]:
        """List the one transform."""
        refuse_arrays(spec)
        return [pipeline]

    def compile(self, pipeline: Any, make_layer: MakeLayer) -> Any:
        """Make a ``LetterBox`` of which a layer takes images without labels."""
        return CompiledLetterBox(pipeline, self, make_layer)


class CompiledLetterBox(ArrayPipeline):
    """A ``LetterBox`` of which images without labels go through a layer. Other attributes are the original's."""

    def __call__(self, labels: dict[str, Any] | None = None, image: Any = None) -> Any:
        """Resize and pad an image, as the original does."""
        result = None if labels else self.of_layer(image)
        return self.original(labels, image) if result is None else result


class Predictors:
    """The front end of ``preprocess`` of a predictor; see :class:`onelayer.frontends.front_end.FrontEnd`."""

    def owns(self, pipeline: object) -> bool:
        """Whether an object is that method of a predictor."""
        return isinstance(pipeline, MethodType) and qualified_name(pipeline.__func__) == _PREPROCESS

    def transforms(self, pipeline: Any, spec: ImageSpec) -> Sequence[Any]:
        """List what becomes of an image that comes alone."""
        refuse_arrays(spec)
        image = np.zeros((*spec.shape[1:], spec.shape[0]), np.uint8)
        found = letter_box_of(pipeline.__self__, [image])
        if found is None:
            raise UnsupportedTransformError(
                "the predictor does not use one LetterBox", expected="that of BasePredictor"
            )
        return [found, _ToTensor()]

    def compile(self, pipeline: Any, make_layer: MakeLayer) -> Any:
        """Make a function that preprocesses lists of images."""
        return CompiledPreprocess(pipeline, make_layer)


def letter_box_of(predictor: Any, images: list[Any]) -> Any:
    """Return the ``LetterBox`` that a predictor makes for images; None if its ``pre_transform`` is an unusual one."""
    function = type(predictor).pre_transform
    if qualified_name(function) != _PRE_TRANSFORM or "pre_transform" in vars(predictor):
        return None
    made: list[Any] = []
    kind = function.__globals__["LetterBox"]

    def make(*args: Any, **options: Any) -> Any:
        made.append(kind(*args, **options))
        return lambda image: image

    # Which LetterBox that is, its own code says, with a constructor that takes notes.
    noting = FunctionType(function.__code__, {**function.__globals__, "LetterBox": make}, closure=function.__closure__)
    noting(predictor, images)
    return made[0] if len(made) == 1 and qualified_name(type(made[0])) == _LETTER_BOX else None


class CompiledPreprocess:
    """A predictor's ``preprocess`` of which lists of arrays go through a layer, on the CPU.

    The first images of each ``LetterBox`` go through the original too. Where the results differ, all are left to it.

    Args:
        original: The method.
        make_layer: Makes the layers.
    """

    def __init__(self, original: Any, make_layer: MakeLayer) -> None:
        self.original = original
        self._make_layer = make_layer
        self._layers: dict[tuple[Any, ...], Any] = {}

    def __call__(self, im: Any) -> torch.Tensor:
        """Preprocess images, as the original does."""
        predictor = self.original.__self__
        is_usual = isinstance(im, list) and all(
            type(x) is np.ndarray and x.dtype == np.uint8 and x.ndim == 3 for x in im
        )
        if not is_usual or not im or predictor.model.fp16 or torch.device(predictor.device).type != "cpu":
            return self._original(im)
        letter_box = letter_box_of(predictor, im)
        if letter_box is None:
            return self._original(im)
        key = im[0].shape[2], *sorted(map(repr, vars(letter_box).items()))
        if key not in self._layers:
            return self._first(key, letter_box, im)
        result = self._of_layer(self._layers[key], im)
        return self._original(im) if result is None else result

    def _first(self, key: tuple[Any, ...], letter_box: Any, images: list[Any]) -> torch.Tensor:
        expected = self._original(images)
        layer = self._make_layer(v2.Compose([letter_box, _ToTensor()]))
        result = self._of_layer(layer, images)
        self._layers[key] = layer if result is not None and torch.equal(result, expected) else None
        return expected

    def _of_layer(self, layer: Any, images: list[Any]) -> torch.Tensor | None:
        if layer is None or len({image.shape[2] for image in images}) > 1:
            return None
        try:
            results = [layer(image) for image in images]
        except OnelayerError:
            return None
        if len({result.shape for result in results}) > 1:
            return None
        return results[0][None] if len(results) == 1 else torch.stack(results)

    def _original(self, images: Any) -> torch.Tensor:
        result: torch.Tensor = self.original(images)
        return result


FRONT_ENDS += [LetterBoxes(), Predictors()]
