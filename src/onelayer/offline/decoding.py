"""Decode images as a pipeline takes them, and bring what it returns into a form that files hold."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np
import PIL.Image
import torch
from numpy.typing import NDArray
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as F

from onelayer.data.encoded import BadImage, exceeds_bytes, opened_image
from onelayer.errors import OnelayerError
from onelayer.image_spec import Container

ColorMode = Literal["RGB", "L", "stored"]
"""Mode that decoded images are converted to; ``stored`` is L for images without colors, and RGB for all others."""
COLOR_MODES = get_args(ColorMode)

Encoding = Literal["arrays", "png", "jpeg"]
"""Form of results in files."""

MAX_ENCODED_BYTES = 1 << 28
"""Largest size of an encoded image, or of another member of a shard."""

_GREY = ("1", "L", "LA")

_MODES_OF_ARRAYS = ("1", "L", "LA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "I;16", "F")
"""Modes of PIL images whose arrays say by themselves what the pixels are. The indices of a palette do not."""

_AS: dict[Container, Callable[[PIL.Image.Image], Any]] = {
    "pil": lambda image: image,
    "tensor": F.pil_to_tensor,
    "image": lambda image: tv_tensors.Image(F.pil_to_tensor(image)),
    "numpy": np.array,
}


def decode(encoded: bytes | None, container: Container, mode: ColorMode) -> Any:
    """Decode an image, as data sets of torchvision do: the first frame, without its alpha channel, as it lies.

    Args:
        encoded: A PNG, JPEG, BMP, WebP or TIFF file; None for one that is missing.
        container: Container of the result.
        mode: Mode to convert to.

    Returns:
        The image, uint8.

    Raises:
        BadImage: If it is missing, damaged, of another format, larger than Pillow decodes without a warning, or of more
            than 8 bits per channel, which a conversion would cut off.
        MemoryError: If there is not enough memory, which is no matter of the image.
    """
    if encoded is None:
        raise BadImage("it has no bytes")
    if len(encoded) > MAX_ENCODED_BYTES:
        raise BadImage(f"it has {len(encoded):,} bytes, expected at most {MAX_ENCODED_BYTES:,}")
    try:
        with opened_image(io.BytesIO(encoded)) as image:
            if exceeds_bytes(image):
                raise BadImage("found more than 8 bits per channel, expected 8")
            return as_container(image, container, mode)
    except BadImage as error:
        if isinstance(error.__cause__, MemoryError):
            raise error.__cause__ from None
        raise


def as_container(image: PIL.Image.Image, container: Container, mode: ColorMode) -> Any:
    """Convert a PIL image to a mode, and put it into a container."""
    wanted = mode if mode != "stored" else "L" if image.mode in _GREY else "RGB"
    return _AS[container](image.convert(wanted))


def array_of(result: Any) -> NDArray[Any]:
    """Bring a result into an array of little-endian values without gaps: [C, H, W] of tensors, [H, W(, C)] of others.

    Raises:
        OnelayerError: If it is no tensor, PIL image or array, or of a dtype, a layout or a mode that files of arrays do
            not have.
    """
    array = _as_array(result)
    if array is None or array.dtype.kind not in "biuf":
        given = f"a {type(result).__name__}" if array is None else f"an array of {array.dtype}"
        raise OnelayerError(
            f"the pipeline gives {given}",
            expected="a tensor, a PIL image or an array of numbers",
            hint="Write a function of the image that calls the pipeline and returns these, and name that.",
        )
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))


def _as_array(result: Any) -> NDArray[Any] | None:
    if isinstance(result, PIL.Image.Image):
        if result.mode not in _MODES_OF_ARRAYS:
            raise _mode_error(result, "files of arrays")
        return np.asarray(result)
    if isinstance(result, torch.Tensor):
        try:
            array: NDArray[Any] = result.as_subclass(torch.Tensor).numpy(force=True)
        except (TypeError, RuntimeError) as error:
            kind = f"{result.dtype} of layout {result.layout}".replace("torch.", "")
            raise OnelayerError(
                f"the pipeline gives a tensor of {kind}, which files of arrays do not have",
                expected="uint8, float16, float32 or float64, strided",
                hint="Convert to float32 or float16 at its end.",
            ) from error
        return array
    return result if isinstance(result, np.ndarray) else None


def encode(result: Any, encoding: Encoding, quality: int | None) -> bytes:
    """Encode a result as a PNG or JPEG file. The color profile of a PIL image is kept.

    Raises:
        OnelayerError: If it is no image of uint8 with 1 or 3 channels.
    """
    image = _picture(result)
    file = io.BytesIO()
    if encoding == "png":
        image.save(file, "PNG", icc_profile=image.info.get("icc_profile"))
    else:
        image.save(file, "JPEG", quality=quality, icc_profile=image.info.get("icc_profile"))
    return file.getvalue()


def _picture(result: Any) -> PIL.Image.Image:
    if isinstance(result, PIL.Image.Image):
        if result.mode not in ("L", "RGB"):
            raise _mode_error(result, "PNG and JPEG files")
        return result
    array = array_of(result)
    planes = array.transpose(1, 2, 0) if isinstance(result, torch.Tensor) and array.ndim == 3 else array
    if planes.dtype != np.uint8 or planes.ndim not in (2, 3) or planes.shape[2:] not in ((), (1,), (3,)):
        raise OnelayerError(
            f"the pipeline gives {array.dtype.name} of shape {array.shape}, which PNG and JPEG files do not hold",
            expected="uint8 images of 1 or 3 channels",
            hint="Write arrays, or leave out what makes floating point numbers.",
        )
    return PIL.Image.fromarray(np.ascontiguousarray(planes[..., 0] if planes.shape[2:] == (1,) else planes))


def _mode_error(image: PIL.Image.Image, files: str) -> OnelayerError:
    return OnelayerError(
        f"the pipeline gives a PIL image of mode {image.mode}, which {files} do not hold",
        expected="the mode RGB or L",
        hint='End the pipeline with: image.convert("RGB")',
    )
