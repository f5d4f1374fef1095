"""Read the pixels and the spec of images, and make images of pixels: tensors, PIL images, NumPy arrays."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import PIL.Image
import torch
from numpy.typing import NDArray
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as F

from onelayer.errors import OnelayerError
from onelayer.image_spec import Container, ImageSpec, PixelType
from onelayer.images.pillow_memory import pillow_pixels

Image = torch.Tensor | PIL.Image.Image | NDArray[Any]

EXPECTED = "a tensor [..., C, H, W], a PIL image, an array [..., H, W, C], or a list of these"


_WIDE = (
    "Its values do not fit into bytes, and .convert('RGB') would cut them off: make a tensor of it with "
    "v2.functional.pil_to_tensor, or scale it before."
)


class NoImageError(OnelayerError):
    """A value that is no image, or an image without pixels, or of a dtype or mode that nothing is compiled for."""


DTYPE_NAMES: dict[torch.dtype, PixelType] = {
    torch.uint8: "uint8",
    torch.float16: "float16",
    torch.bfloat16: "bfloat16",
    torch.float32: "float32",
    torch.float64: "float64",
}
"""Names of :class:`~onelayer.frontends.ImageSpec` by PyTorch's dtypes."""

TORCH_DTYPES: dict[PixelType, torch.dtype] = {name: dtype for dtype, name in DTYPE_NAMES.items()}
"""Dtypes of PyTorch by the names of :class:`~onelayer.frontends.ImageSpec`."""


def is_image(value: object) -> bool:
    """Whether a value is of a type that holds an image."""
    if isinstance(value, tv_tensors.TVTensor):
        return isinstance(value, tv_tensors.Image)
    return isinstance(value, torch.Tensor | PIL.Image.Image | np.ndarray)


def spec_of(image: Image) -> ImageSpec:
    """Return the spec of an image, or of each image of a batch.

    Raises:
        NoImageError: If ``image`` is no image, has no pixels, or is of a dtype or mode that no transform takes.
    """
    if isinstance(image, PIL.Image.Image):
        channels = {"L": 1, "RGB": 3}.get(image.mode)
        if channels is None:
            raise NoImageError(
                f"a PIL image of mode {image.mode} was given",
                expected="mode RGB or L",
                hint=_WIDE if image.mode.startswith(("I", "F")) else "Convert it with .convert('RGB') before.",
            )
        return _checked((channels, image.height, image.width), "uint8", "pil")
    if isinstance(image, tv_tensors.TVTensor) and not isinstance(image, tv_tensors.Image):
        # Torchvision resizes masks by their nearest values and does not scale them: they are no images.
        raise _no_image(f"a tv_tensors.{type(image).__name__}")
    if isinstance(image, torch.Tensor):
        if image.dim() < 3:
            raise _no_image(f"a tensor of shape {tuple(image.shape)}")
        container: Container = "image" if isinstance(image, tv_tensors.Image) else "tensor"
        return _checked(tuple(image.shape[-3:]), DTYPE_NAMES.get(image.dtype), container, str(image.dtype))
    if isinstance(image, np.ndarray):
        if image.ndim < 2:
            raise _no_image(f"an array of shape {image.shape}")
        height, width, channels = image.shape[-3:] if image.ndim > 2 else (*image.shape, 1)
        name = image.dtype.name if image.dtype.name in DTYPE_NAMES.values() else None
        return _checked((channels, height, width), name, "numpy", str(image.dtype))
    raise _no_image(type(image).__name__)


def _no_image(what: str) -> NoImageError:
    return NoImageError(f"{what} was given as an image", expected=EXPECTED)


@lru_cache(maxsize=256)
def _checked(shape: Any, dtype: Any, container: Container, dtype_text: str = "") -> ImageSpec:
    if dtype is None:
        raise NoImageError(
            "an image of this dtype was given",
            expected="uint8 or floating point",
            hint="Convert it, for example with v2.functional.to_dtype.",
            dtype=dtype_text,
        )
    if min(shape) < 1:
        raise NoImageError("an image without pixels was given", expected="height and width of at least 1", shape=shape)
    return ImageSpec(shape, dtype, container)


def size_of(image: Any) -> tuple[int, int]:
    """Return the height and the width of a tensor, a PIL image or an array."""
    if isinstance(image, torch.Tensor):
        return image.shape[-2], image.shape[-1]
    if isinstance(image, PIL.Image.Image):
        width, height = image.size
        return height, width
    height, width = image.shape if image.ndim == 2 else image.shape[-3:-1]
    return height, width


def pixels_of(image: Image) -> torch.Tensor:
    """Return the pixels as a tensor [..., C, H, W], without a copy where the image's memory allows it."""
    if isinstance(image, torch.Tensor):
        plain: torch.Tensor = image.as_subclass(torch.Tensor) if type(image) is not torch.Tensor else image
        return plain
    if isinstance(image, PIL.Image.Image):
        return pillow_pixels(image)
    planes = image[..., None] if image.ndim == 2 else image
    # PyTorch takes no negative strides, and warns of memory that must not be written.
    if min(planes.strides, default=0) < 0 or not planes.flags.writeable:
        planes = planes.copy()
    return torch.from_numpy(planes).movedim(-1, -3)


def refuse_missing_storage(tensor: torch.Tensor, name: str) -> None:
    """Raise OnelayerError if a tensor claims memory that its storage does not hold, after ``resize_`` of the storage.

    Takes about half a microsecond.

    Args:
        tensor: Tensor of any strides; one without a storage, under ``torch.func.vmap`` or sparse, is let pass.
        name: Name of the tensor, for the error.
    """
    try:
        held, last = tensor.untyped_storage().nbytes(), tensor.storage_offset()
    except NotImplementedError:
        return
    for length, stride in zip(tensor.shape, tensor.stride(), strict=True):
        last += (length - 1) * stride
    if held < (last + 1) * tensor.itemsize and tensor.numel():
        raise OnelayerError(
            f"{name} takes {(last + 1) * tensor.itemsize:,} bytes of a storage that holds {held:,}",
            expected="a storage that was not made smaller",
            hint="Something called untyped_storage().resize_() since the tensor was made.",
        )


def check_memory(out: torch.Tensor, shape: tuple[int, ...], spec: ImageSpec, pixels: torch.Tensor) -> None:
    """Check that a result fits into the memory of ``out=``.

    Args:
        out: Memory for the result.
        shape: Shape of the result.
        spec: Spec of the result.
        pixels: Pixels that it is computed from.

    Raises:
        OnelayerError: If ``out`` does not fit, or is no tensor.
    """
    expected = f"{list(shape)}, {spec.dtype}, on {pixels.device}"
    if spec.container not in ("tensor", "image"):
        raise OnelayerError("out= was given, and the result is no tensor", expected="a pipeline that ends with one")
    if not isinstance(out, torch.Tensor):
        raise OnelayerError(f"{type(out).__name__} was given as out=", expected=f"a tensor {expected}")
    if (tuple(out.shape), DTYPE_NAMES.get(out.dtype), out.device) != (shape, spec.dtype, pixels.device):
        actual = f"{list(out.shape)}, {str(out.dtype).removeprefix('torch.')}, on {out.device}"
        raise OnelayerError(f"a tensor {actual} was given as out=", expected=expected)
    if torch.is_grad_enabled() and (out.requires_grad or pixels.requires_grad):
        raise OnelayerError("out= was given where a gradient is wanted", hint="Leave it out, or use torch.no_grad().")
    refuse_missing_storage(out, "out=")
    if out.untyped_storage().data_ptr() == pixels.untyped_storage().data_ptr() and out.numel():
        raise OnelayerError("out= shares the memory of the image", expected="memory of its own")


def image_of(pixels: torch.Tensor, spec: ImageSpec) -> Image:
    """Return pixels [..., C, H, W] as an image in the dtype and container of a spec."""
    if pixels.dtype is not (dtype := TORCH_DTYPES[spec.dtype]):
        pixels = pixels.to(dtype)
    match spec.container:
        case "tensor":
            return pixels
        case "image":
            # The constructor would move it to the default device.
            wrapped: torch.Tensor = pixels.as_subclass(tv_tensors.Image)
            return wrapped
        case "pil":
            made: PIL.Image.Image = F.to_pil_image(pixels)
            return made
        case "numpy":
            return pixels.detach().movedim(-3, -1).cpu().numpy()


def format_of(images: torch.Tensor) -> torch.memory_format:
    """Return the memory format of results, which is torchvision's: a batch in channels_last stays so."""
    if images.ndim != 4 or images.is_contiguous() or not images.is_contiguous(memory_format=torch.channels_last):
        return torch.contiguous_format
    return torch.channels_last
