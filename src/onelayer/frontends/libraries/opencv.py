"""OpenCV's own functions: ``functools.partial(cv2.resize, …)`` and ``functools.partial(cv2.dnn.blobFromImage, …)``."""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onelayer.algebra import Lookup, Separable
from onelayer.frontends.array_pipelines import ArrayPipeline, refuse_arrays, shown
from onelayer.frontends.base import Derivation, UnsupportedTransformError, register
from onelayer.frontends.front_end import FRONT_ENDS, MakeLayer
from onelayer.frontends.opencv import Flag, Resize, ResizeBy, refuse_unknown_area
from onelayer.frontends.placement import Size
from onelayer.image_spec import ImageSpec, RoundingMode

SMALL, SMALL_RESULT = 1 << 17, 1 << 14
"""Pixels of an image, and of a result, below which OpenCV is done before the layer has begun."""


def _function(name: str) -> Any:
    """Return a function of OpenCV, if that is imported, else None. Its functions have no qualified names."""
    function = sys.modules.get("cv2")
    for part in name.split("."):
        function = getattr(function, part, None)
    return function


def _is_partial_of(pipeline: object, name: str) -> bool:
    return isinstance(pipeline, functools.partial) and pipeline.func is _function(name) is not None


def _keywords(pipeline: Any, *known: str) -> dict[str, Any]:
    if pipeline.args:
        raise UnsupportedTransformError("it has positional arguments", expected="keywords of functools.partial")
    if unknown := sorted(set(pipeline.keywords) - set(known)):
        raise UnsupportedTransformError(f"it has the argument {unknown[0]}", expected="one of " + ", ".join(known))
    keywords: dict[str, Any] = pipeline.keywords
    return keywords


def _size_of(size: Any) -> Size | None:
    """Read a size, width first; None for one that is empty."""
    width, height = (int(length) for length in size or (0, 0))
    return (height, width) if width > 0 and height > 0 else None


def _resize(size: Size, flag: int) -> Resize:
    if flag != Flag.AREA:
        return Resize(size, flag)

    def rule(height: int, width: int) -> Size:
        refuse_unknown_area(height, width, size)
        return size

    return ResizeBy(size, flag, rule)


class Resizes:
    """The front end of ``cv2.resize``; see :class:`onelayer.frontends.front_end.FrontEnd`."""

    def owns(self, pipeline: object) -> bool:
        """Whether an object is a partial of the function."""
        return _is_partial_of(pipeline, "resize")

    def transforms(self, pipeline: Any, spec: ImageSpec) -> Sequence[Any]:
        """List the resize; one by factors is left to the original, which places samples by these."""
        refuse_arrays(spec)
        keywords = _keywords(pipeline, "dsize", "interpolation")
        if (size := _size_of(keywords.get("dsize"))) is None:
            raise UnsupportedTransformError("it has no dsize", expected="width and height")
        return [_resize(size, int(keywords.get("interpolation", Flag.LINEAR)))]

    def compile(self, pipeline: Any, make_layer: MakeLayer) -> Any:
        """Make a function of an array."""
        return CompiledResize(pipeline, self, make_layer)


class CompiledResize(ArrayPipeline):
    """A resize of arrays, of which those of bytes go through a layer where it is quicker."""

    def __call__(self, image: Any, *args: Any, **keywords: Any) -> Any:
        """Compute the result, as the original does."""
        is_left = args or keywords or self.layer_for(image) is None or self._is_quick(image)
        result = None if is_left else self.of_layer(image)
        # OpenCV drops the axis of a single channel.
        if result is None or result.ndim != 3:
            return self.original(image, *args, **keywords) if result is None else result
        return result[:, :, 0] if result.shape[2] == 1 else result

    def _is_quick(self, image: NDArray[np.uint8]) -> bool:
        """Whether OpenCV is quicker: at small images, at those whose sides are halved, and at nearest samples."""
        keywords = self.original.keywords
        size = _size_of(keywords["dsize"])
        assert size is not None, "there is a layer for fixed sizes only"
        height, width = image.shape[:2]
        is_small = height * width < SMALL or size[0] * size[1] < SMALL_RESULT
        is_nearest = keywords.get("interpolation", Flag.LINEAR) in (Flag.NEAREST, Flag.NEAREST_EXACT)
        return is_small or is_nearest or (height, width) == (2 * size[0], 2 * size[1])


class _Blob:
    """What ``blobFromImage`` does to each pixel, to an image whose size stays.

    Args:
        function: A partial of it without a size.
    """

    def __init__(self, function: Any) -> None:
        self.function = function

    def __call__(self, image: Any) -> Any:
        """Compute the planes of one image."""
        return self.function(image)[0]


@register(_Blob, any_size=True)
def blob(transform: _Blob, spec: ImageSpec, rounding: RoundingMode) -> Derivation:  # noqa: ARG001 - a table rounds nothing
    """Derive the order of the channels and the table of each, by showing the function every byte."""
    refuse_arrays(spec)
    channels = spec.shape[0]
    every = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    table = np.asarray(shown(transform, np.repeat(every, channels, axis=2)), np.float64).reshape(-1, 256)
    order = np.arange(channels)
    if transform.function.keywords.get("swapRB", False) and channels >= 3:
        order[[0, 2]] = order[[2, 0]]
    # Of each channel that comes out, the one that it depends on.
    for channel, source in enumerate(order):
        image = np.zeros((16, 16, channels), np.uint8)
        image[..., source] = every[..., 0]
        if len(table) != channels or (transform(image)[channel].ravel() != table[channel]).any():
            raise UnsupportedTransformError("its channels come out in another order than expected")
    mixed = Separable.of_channels(np.eye(channels)[order], np.zeros(channels), spec.shape[1:])
    output = replace(spec, dtype="float32", container="tensor")
    return [*([] if mixed.is_identity else [mixed]), Lookup(table)], output


class Blobs:
    """The front end of ``cv2.dnn.blobFromImage``; see :class:`onelayer.frontends.front_end.FrontEnd`."""

    def owns(self, pipeline: object) -> bool:
        """Whether an object is a partial of the function."""
        return _is_partial_of(pipeline, "dnn.blobFromImage")

    def transforms(self, pipeline: Any, spec: ImageSpec) -> Sequence[Any]:
        """List the resize and what is done to each pixel; ``crop=True`` is left to the original."""
        refuse_arrays(spec)
        keywords = _keywords(pipeline, "scalefactor", "size", "mean", "swapRB", "crop", "ddepth")
        size = _size_of(keywords.get("size"))
        if keywords.get("crop", False) or keywords.get("ddepth", 5) != 5:
            raise UnsupportedTransformError("it crops, or makes no float32", expected="crop=False, and CV_32F")
        rest = {name: value for name, value in keywords.items() if name not in ("size", "crop")}
        pixels = _Blob(functools.partial(pipeline.func, **rest))
        return [pixels] if size is None else [_resize(size, Flag.LINEAR), pixels]

    def compile(self, pipeline: Any, make_layer: MakeLayer) -> Any:
        """Make a function of an array."""
        return CompiledBlob(pipeline, self, make_layer)


class CompiledBlob(ArrayPipeline):
    """``blobFromImage`` of which arrays of bytes go through a layer: [1, C, H, W] float32."""

    def __call__(self, image: Any, *args: Any, **keywords: Any) -> Any:
        """Compute the blob, as the original does."""
        result = None if args or keywords else self.of_layer(image)
        return self.original(image, *args, **keywords) if result is None else result.numpy()[None]


FRONT_ENDS += [Resizes(), Blobs()]
