"""Peers that take one image at a time as a NumPy array, HWC, as decoders give them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from onelayer.bench.peers.packages import missing
from onelayer.bench.peers.peer import Images, Prepared, any_work
from onelayer.bench.peers.work import Work

Pixels = NDArray[Any]
"""uint8 or float32."""

Function = Callable[[Pixels], Pixels]
"""From an image [H, W, 3] to a new one [C', H', W'], contiguous."""

MakeFunction = Callable[[Work, torch.dtype, int], Function]
"""Takes the work, the dtype of the images and the number of threads. Here the packages are imported."""


@dataclass(frozen=True, eq=False)
class ArrayPeer:
    """A :class:`onelayer.bench.peers.peer.Peer` that knows no batches: it loops over them and stacks the results.

    Args:
        name: As on the command line.
        label: For people.
        make: Makes the function.
        packages: The modules that it imports, with their versions in ``__version__``, by the names for people.
        refuse: Gives why it cannot do some work though its packages are here; see ``Peer.why_not``.
    """

    name: str
    label: str
    make: MakeFunction
    packages: Mapping[str, str]
    refuse: Callable[[Work, Images], str | None] = any_work

    def why_not(self, work: Work, images: Images) -> str | None:
        """See ``Peer.why_not``."""
        return missing(*self.packages.values()) or self.refuse(work, images)

    def prepare(self, work: Work, images: Sequence[Images], threads: int) -> Prepared:
        """See ``Peer.prepare``."""
        function = self.make(work, images[0].dtype, threads)

        def apply(pixels: Pixels) -> Pixels:
            return function(pixels) if pixels.ndim == 3 else np.stack([function(image) for image in pixels])

        return Prepared(
            inputs=[hwc_array(one) for one in images],
            apply=apply,
            tensor=torch.from_numpy,
            versions={name: str(importlib.import_module(module).__version__) for name, module in self.packages.items()},
        )


def joiner(work: Work, dtype: torch.dtype) -> Callable[[Sequence[Pixels]], Pixels]:
    """The end of the work, in NumPy.

    Args:
        work: Whose mean and deviation are meant.
        dtype: Of the images.

    Returns:
        A function from the planes [H', W'] of an image, one for each channel, to one array [C', H', W'], normalised if
        the work asks for it.
    """
    if work.mean is None or work.std is None:
        return np.stack
    white = 255.0 if dtype == torch.uint8 else 1.0
    means = [np.float32(white * mean) for mean in work.mean]
    factors = [np.float32(1 / (white * std)) for std in work.std]

    def normalised(planes: Sequence[Pixels]) -> Pixels:
        # Plane by plane, and in place: faster than any arithmetic on HWC pixels, and than cv2.dnn.blobFromImage.
        result = np.empty((len(planes), *planes[0].shape), np.float32)
        for plane, values, mean, factor in zip(result, planes, means, factors, strict=True):
            plane[:] = values
            plane -= mean
            plane *= factor
        return result

    return normalised


def hwc_array(images: Images) -> Pixels:
    """Images as an array [..., H, W, 3], contiguous."""
    pixels: Pixels = images.movedim(-3, -1).contiguous().numpy()
    return pixels
