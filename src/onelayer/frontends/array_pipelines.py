"""Pipelines of libraries on OpenCV: arrays of bytes go through a layer, all else through the original."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torchvision.transforms import v2

from onelayer.errors import OnelayerError
from onelayer.frontends.base import UnsupportedTransformError
from onelayer.frontends.front_end import FRONT_ENDS, FrontEnd, MakeLayer
from onelayer.image_spec import ImageSpec

MOST_CHANNELS = 4
"""Channels that OpenCV computes at once; libraries divide images of more."""


def refuse_arrays(spec: ImageSpec) -> None:
    """Refuse images that are no arrays of bytes with up to four channels.

    Raises:
        UnsupportedTransformError: If the image is another.
    """
    if spec.container != "numpy" or spec.dtype != "uint8" or spec.shape[0] > MOST_CHANNELS:
        raise UnsupportedTransformError(
            f"a {spec.container} image of {spec.dtype} with {spec.shape[0]} channels arrives",
            expected=f"a NumPy array of uint8 with up to {MOST_CHANNELS} channels",
        )


def shown(function: Callable[[NDArray[np.uint8]], Any], image: NDArray[np.uint8]) -> Any:
    """Return what a library's function makes of an image that it is shown to find out what it does.

    Raises:
        UnsupportedTransformError: If it fails.
    """
    try:
        return function(image)
    except Exception as error:  # OpenCV's are of no other class
        problem = f"it fails on {image.shape[2]} channels: {type(error).__name__}"
        raise UnsupportedTransformError(problem, expected="a function that takes such an image") from error


class ArrayPipeline:
    """A pipeline of which a layer takes arrays of bytes, [H, W, C], and the original all else.

    Args:
        original: The pipeline.
        front_end: Front end that lists its transforms.
        make_layer: Makes the layer.
    """

    def __init__(self, original: Any, front_end: FrontEnd, make_layer: MakeLayer) -> None:
        self.original = original
        self.front_end = front_end
        self._make_layer: MakeLayer | None = make_layer
        self._layers: dict[int, Any] = {}

    def layer_for(self, image: Any) -> Any:
        """Return the layer for an image; None where only the original can compute it.

        Raises:
            OnelayerError: For what cannot be compiled, if the pipeline was compiled with ``fullgraph``.
        """
        if type(image) is not np.ndarray or image.dtype != np.uint8 or image.ndim != 3 or not image.size:
            return None
        channels = image.shape[2]
        if channels not in self._layers:
            self._layers[channels] = self._new_layer(channels)
        return self._layers[channels]

    def of_layer(self, image: Any) -> Any:
        """Compute the result of an image; None where only the original can.

        Raises:
            OnelayerError: As in :meth:`layer_for`.
        """
        if (layer := self.layer_for(image)) is None:
            return None
        try:
            result = layer(image)
            # A program for one size writes planes.
            return np.ascontiguousarray(result) if type(result) is np.ndarray else result
        except OnelayerError:
            if layer.fullgraph:
                raise
            return None

    def _new_layer(self, channels: int) -> Any:
        if self._make_layer is None or channels > MOST_CHANNELS:
            return None
        layer = self._make_layer(v2.Identity())
        spec = ImageSpec((channels, 1, 1), "uint8", "numpy")
        try:
            transforms = self.front_end.transforms(self.original, spec)
            if not transforms:
                raise UnsupportedTransformError("nothing is done to images", expected="at least one transform")
            layer = self._make_layer(v2.Compose(transforms))
            structure = layer.source.structure(spec)
            if isinstance(structure, str):
                raise UnsupportedTransformError(structure)
        except OnelayerError:
            if layer.fullgraph:
                raise
            return None
        return layer

    def __getstate__(self) -> dict[str, Any]:
        # What makes layers cannot be pickled, so all of them are made.
        for channels in range(1, MOST_CHANNELS + 1):
            if channels not in self._layers:
                self._layers[channels] = self._new_layer(channels)
        return {**self.__dict__, "_make_layer": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "original":
            raise AttributeError(name)
        return getattr(self.original, name)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.original!r})"


class _Compiled:
    """The front end of pipelines that are compiled already; see :class:`onelayer.frontends.front_end.FrontEnd`."""

    def owns(self, pipeline: object) -> bool:
        """Whether an object is one of them."""
        return isinstance(pipeline, ArrayPipeline)

    def transforms(self, pipeline: ArrayPipeline, spec: ImageSpec) -> Sequence[Any]:
        """List the transforms of the original."""
        return pipeline.front_end.transforms(pipeline.original, spec)

    def compile(self, pipeline: ArrayPipeline, make_layer: MakeLayer) -> Any:
        """Compile the original, with other options."""
        return pipeline.front_end.compile(pipeline.original, make_layer)


FRONT_ENDS.append(_Compiled())
