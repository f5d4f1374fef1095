"""The interface of peers: other software that does the same preprocessing, on inputs of the kind that suits it."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Generic, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from onelayer.bench.workloads import Work

Images = torch.Tensor
"""One image [3, H, W] or a batch [N, 3, H, W]; uint8, or float32 in [0, 1]. Photographs lie in memory as HWC."""

Device = Literal["cpu", "cuda"]

Pixels = NDArray[Any]
"""uint8 or float32."""


@dataclass(frozen=True)
class Resources:
    """Hardware that a peer may use.

    Args:
        threads: Number of CPU threads; PyTorch is set to as many.
        device: Device to compute on.
    """

    threads: int = 1
    device: Device = "cpu"


@dataclass(frozen=True)
class Prepared:
    """A peer with its inputs, ready to be timed.

    Args:
        inputs: The images of the workload, one input for each, in the type and memory layout that the peer likes best.
            Converting them is not timed.
        apply: Does the work on one input; this is timed. Its result is contiguous [..., C', H', W'], computed to the
            end, in the type that the peer's users go on with.
        tensor: Converts a result of ``apply`` to a tensor on the CPU; not timed.
        versions: Versions of packages that only the prepared peer can tell, by name.
    """

    inputs: Sequence[Any]
    apply: Callable[[Any], Any]
    tensor: Callable[[Any], torch.Tensor]
    versions: dict[str, str] = field(default_factory=dict)


W = TypeVar("W", contravariant=True)
"""What a peer has to know of the work: most need a :class:`onelayer.bench.workloads.Work`, some only its transform."""


def accept_all(_work: object, _images: Images) -> None:
    """Refuse nothing; the default of :attr:`Peer.refuse`."""


@dataclass(frozen=True, eq=False)
class Peer(Generic[W]):
    """Software that does the work of a workload.

    Args:
        name: Name on the command line and in records.
        label: Name in tables and charts.
        prepare: Makes it ready for some images, all of one dtype; here its packages are imported.
        packages: Modules to import, by the name of the package.
        refuse: Returns why it cannot do some work on such images, or None. Cheap: nothing is imported.
        devices: Devices that it can compute on.
        description: What is timed, in one line, where the label does not say it.
        competes: Whether it does all the work that the others do, and so can be called the fastest.
    """

    name: str
    label: str
    prepare: Callable[[W, Sequence[Images], Resources], Prepared]
    packages: Mapping[str, str] = field(default_factory=dict)
    refuse: Callable[[W, Images], str | None] = accept_all
    devices: tuple[Device, ...] = ("cpu",)
    description: str = ""
    competes: bool = True

    def why_not(self, work: W, images: Images, device: Device = "cpu") -> str | None:
        """Return why it cannot do the work on such images and that device, or None if it can."""
        if device not in self.devices:
            return "it works on the CPU only" if device == "cuda" else "it works on a CUDA device only"
        for module in self.packages.values():
            if not _is_installed(module):
                return f"{module} is not installed; install it: pip install 'onelayer[peers]'"
        return self.refuse(work, images)

    def versions(self) -> dict[str, str]:
        """Return the versions of its packages, by name."""
        return {name: _version(name, module) for name, module in self.packages.items()}


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of a package above it
        return False


def _version(package: str, module: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # installed under another name, such as opencv-python-headless
        return str(importlib.import_module(module).__version__)


def hwc_array(images: Images) -> Pixels:
    """Convert images to a contiguous array [..., H, W, 3]."""
    pixels: Pixels = images.movedim(-3, -1).contiguous().numpy()
    return pixels


ArrayFunction = Callable[[Pixels], Pixels]
"""Takes an image [H, W, 3], returns a new one [C', H', W'], contiguous."""


def on_arrays(
    make: Callable[[Work, torch.dtype, int], ArrayFunction],
) -> Callable[[Work, Sequence[Images], Resources], Prepared]:
    """Make a ``prepare`` function for a library that takes one image at a time as a NumPy array [H, W, 3].

    Args:
        make: Takes the work, the dtype of the images and the number of threads, and returns the timed function. Batches
            are looped over, and the results stacked.
    """

    def prepare(work: Work, images: Sequence[Images], resources: Resources) -> Prepared:
        function = make(work, images[0].dtype, resources.threads)

        def apply(pixels: Pixels) -> Pixels:
            return function(pixels) if pixels.ndim == 3 else np.stack([function(image) for image in pixels])

        return Prepared([hwc_array(item) for item in images], apply, torch.from_numpy)

    return prepare


def white(dtype: torch.dtype) -> float:
    """Return the largest value of images of a dtype: 255 for uint8, 1 for float32."""
    return 255.0 if dtype == torch.uint8 else 1.0


def stack_and_normalize(work: Work, dtype: torch.dtype) -> Callable[[Sequence[Pixels]], Pixels]:
    """Make the last step of the work, in NumPy.

    Args:
        work: Work whose mean and standard deviation are applied, if it has any.
        dtype: Dtype of the images.

    Returns:
        A function from the channels of an image, each [H', W'], to one array [C', H', W'].
    """
    if work.mean is None or work.std is None:
        return np.stack
    means = [np.float32(white(dtype) * mean) for mean in work.mean]
    factors = [np.float32(1 / (white(dtype) * std)) for std in work.std]

    def normalized(channels: Sequence[Pixels]) -> Pixels:
        # Channel by channel, and in place: faster than any arithmetic on HWC pixels, and than cv2.dnn.blobFromImage.
        result = np.empty((len(channels), *channels[0].shape), np.float32)
        for target, channel, mean, factor in zip(result, channels, means, factors, strict=True):
            target[:] = channel
            target -= mean
            target *= factor
        return result

    return normalized
