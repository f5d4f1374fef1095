"""Peers that compute on PyTorch tensors, and therefore on CUDA as well: torchvision, onelayer, and a dense layer.

torchvision's v1 transforms, which take PIL images, are here as well.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from functools import cache
from typing import Protocol, TypeVar

import torch
from PIL import Image
from torch.nn import functional
from torchvision.transforms.v2.functional import to_pil_image

from onelayer.bench.peers.base import Images, Prepared, Resources
from onelayer.bench.peers.dense_weights import dense_weights, ends_in_bytes, output_shape
from onelayer.bench.workloads import Work
from onelayer.frontends import Transform
from onelayer.layer import compile as compile_transforms

TensorFunction = Callable[[torch.Tensor], torch.Tensor]


class HasTransform(Protocol):
    """Anything that names a torchvision transform of tensors: a ``Work``, or a ``Pipeline``."""

    @property
    def transform(self) -> Transform:
        """Transform of uint8 or float32 tensors [..., 3, H, W]."""


W = TypeVar("W", contravariant=True)
Make = Callable[[W, Images, torch.device], TensorFunction]
"""Takes the work, the first images, and the device that all of them are copied to; returns the timed function."""

Prepare = Callable[[W, Sequence[Images], Resources], Prepared]


def as_loaded(images: Images) -> torch.Tensor:
    """Leave images in the memory layout that they come in."""
    return images


def channels_last(images: Images) -> torch.Tensor:
    """Copy images to HWC memory, as decoders give them; PyTorch's ``channels_last``."""
    return images.movedim(-3, -1).contiguous().movedim(-1, -3)


def contiguous(images: Images) -> torch.Tensor:
    """Copy images to CHW memory."""
    return images.contiguous()


def on_tensors(make: Make[W], layout: Callable[[Images], torch.Tensor] = as_loaded) -> Prepare[W]:
    """Make a ``prepare`` function whose inputs and results are in host memory.

    Copies to a CUDA device and back are timed; on the CPU there are none.

    Args:
        make: Makes the timed function.
        layout: Lays the images out in memory; not timed.
    """

    def prepare(work: W, images: Sequence[Images], resources: Resources) -> Prepared:
        device = torch.device(resources.device)
        function = make(work, images[0], device)
        return Prepared(
            inputs=[layout(item) for item in images],
            apply=lambda item: function(item.to(device)).contiguous().cpu(),
            tensor=as_loaded,
        )

    return prepare


def on_device(make: Make[W]) -> Prepare[W]:
    """Make a ``prepare`` function whose inputs and results stay on the device: no copies are timed.

    Args:
        make: Makes the timed function.
    """

    def prepare(work: W, images: Sequence[Images], resources: Resources) -> Prepared:
        device = torch.device(resources.device)
        function = make(work, images[0], device)
        return Prepared([item.to(device) for item in images], function, lambda result: result.contiguous().cpu())

    return prepare


def image_by_image(work: HasTransform, images: Images, _device: torch.device) -> TensorFunction:
    """Apply the transform to one image at a time, as a data set does; results of a batch are stacked."""
    transform: TensorFunction = work.transform

    def stacked(batch: torch.Tensor) -> torch.Tensor:
        return torch.stack([transform(image) for image in batch])

    return transform if images.ndim == 3 else stacked


def whole_batches(work: HasTransform, _images: Images, _device: torch.device) -> TensorFunction:
    """Apply the transform to whole batches."""
    transform: TensorFunction = work.transform
    return transform


def refuse_single_images(_work: object, images: Images) -> str | None:
    """Refuse images that come one by one."""
    return "the images come one by one, and one by one it does what torchvision does" if images.ndim == 3 else None


def compiled_by_pytorch(work: HasTransform, _images: Images, _device: torch.device) -> TensorFunction:
    """Apply the transform as ``torch.compile`` compiles it when the first images come."""
    # What was compiled before may be for another number of threads, or have used up the compiler's patience with new
    # sizes, after which it would go on uncompiled without a word.
    torch.compiler.reset()
    compiled: TensorFunction = torch.compile(work.transform)
    return compiled


def refuse_without_compiler(_work: object, _images: Images) -> str | None:
    """Refuse where ``torch.compile`` cannot work."""
    if sys.platform == "win32":
        return "torch.compile is not tried on Windows"
    # As torch.compile looks for it.
    if not any(shutil.which(name) for name in (os.environ.get("CXX"), "g++", "clang++", "c++") if name):
        return "torch.compile needs a C++ compiler, and there is none"
    if torch.cuda.is_available() and importlib.util.find_spec("triton") is None:
        return "torch.compile needs triton for CUDA, and it is not installed"
    return None


def onelayer_default(work: HasTransform, _images: Images, _device: torch.device) -> TensorFunction:
    """Apply the layer that ``onelayer.compile`` makes by default: of uint8 images torchvision's result in every bit."""
    return compile_transforms(work.transform, fullgraph=True)


def onelayer_fused(work: HasTransform, _images: Images, _device: torch.device) -> TensorFunction:
    """Apply the layer in real arithmetic, rounded once."""
    return compile_transforms(work.transform, fullgraph=True, rounding="fused")


def refuse_floats(_work: object, images: Images) -> str | None:
    """Refuse floating point images, for which the layer has one rounding only."""
    return None if images.dtype == torch.uint8 else "of floating point images it is what onelayer is"


def onelayer_into_memory(work: HasTransform, images: Images, device: torch.device) -> TensorFunction:
    """Apply the layer with fused rounding, writing every result to the same memory (``out=``)."""
    layer = compile_transforms(work.transform, fullgraph=True, rounding="fused")

    @cache
    def memory(batch: torch.Size) -> torch.Tensor:
        example = torch.zeros((*batch, *images.shape[-3:]), dtype=images.dtype, device=device)
        return torch.empty_like(layer(example))

    return lambda item: layer(item, out=memory(item.shape[:-3]))


def onelayer_in_pytorch(work: HasTransform, _images: Images, _device: torch.device) -> TensorFunction:
    """Apply the layer in plain PyTorch, with fused rounding: what runs where no kernel can."""
    return compile_transforms(work.transform, fullgraph=True, rounding="fused", backend="torch")


def dense_product(work: Work, images: Images, device: torch.device) -> TensorFunction:
    """Apply the whole work as one matrix product, as a learned layer does, with weights that are right."""
    channels, height, width = images.shape[-3:]
    weight, bias = (
        torch.from_numpy(values).to(device) for values in dense_weights(work, (channels, height, width), images.dtype)
    )
    out_shape = output_shape(work, height, width)

    def product(batch: torch.Tensor) -> torch.Tensor:
        return functional.linear(batch.flatten(-3).float(), weight, bias).view(*batch.shape[:-3], *out_shape)

    def rounded(batch: torch.Tensor) -> torch.Tensor:
        return product(batch).round_().clamp_(0, 255).to(torch.uint8)

    return rounded if ends_in_bytes(work, images.dtype) else product


def refuse_what_pil_cannot_hold(_work: object, images: Images) -> str | None:
    """Refuse floating point images."""
    return None if images.dtype == torch.uint8 else "PIL images hold uint8, and these are floating point numbers"


def prepare_pil(work: Work, images: Sequence[Images], _resources: Resources) -> Prepared:
    """Apply torchvision's v1 transforms to PIL images, one by one and in one thread, as many training scripts do."""
    transform: Callable[[Image.Image], torch.Tensor] = work.pil_transform

    def apply(image: Image.Image | list[Image.Image]) -> torch.Tensor:
        if isinstance(image, list):
            return torch.stack([transform(each) for each in image])
        return transform(image).contiguous()

    return Prepared(
        inputs=[to_pil_image(item) if item.ndim == 3 else [to_pil_image(image) for image in item] for item in images],
        apply=apply,
        tensor=as_loaded,
    )
