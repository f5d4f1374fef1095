"""Compute the images of a call of an image processor: read them, have a layer compute, and join what it gives."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import PIL.Image
import torch
from torch._C import _len_torch_dispatch_stack as number_of_dispatch_modes
from torch._C import _len_torch_function_stack as number_of_modes
from torchvision.transforms import v2

from onelayer.backends.cpu import memory
from onelayer.backends.cpu.patch_layout import PatchLayout
from onelayer.frontends.front_end import MakeLayer
from onelayer.frontends.libraries.huggingface.recipes import Recipe, unsupported

_CHANNELS = 1, 3, 4
"""Numbers of channels by which transformers finds out which dimension of an array they are."""


def in_other_modes() -> bool:
    """Whether PyTorch's functions do something else in this thread, such as with another default device."""
    return bool(number_of_modes() or number_of_dispatch_modes())


class Prepared:
    """A processor's work for one set of keywords.

    Args:
        recipe: What the processor does.
        keywords: Keywords that it resolved.
        make_layer: Makes the layer.

    Raises:
        OnelayerError: If results of such a kind are not made here.
    """

    def __init__(self, recipe: Recipe, keywords: Mapping[str, Any], make_layer: MakeLayer) -> None:
        returned = keywords.get("return_tensors")
        returned = getattr(returned, "value", returned)
        if returned not in (None, "pt", "np"):
            raise unsupported(f"return_tensors={returned!r}")
        self._returned = returned
        self._recipe = recipe
        self._of_pil = recipe.backend == "pil"
        self._converts = bool(keywords.get("do_convert_rgb"))
        self._channels_last: bool | None = None
        if (channels := keywords.get("input_data_format")) is not None:
            if channels not in ("channels_first", "channels_last"):
                raise unsupported(f"input_data_format={channels!r}")
            self._channels_last = channels == "channels_last"
        self._layer = make_layer(v2.Compose(list(recipe.transforms)))
        self._dtype = torch.uint8 if recipe.values is None or recipe.patches else torch.float32
        self._batch_feature = sys.modules["transformers.image_processing_base"].BatchFeature
        self._convert_to_rgb = sys.modules["transformers.image_transforms"].convert_to_rgb
        self._patches = None
        if recipe.patches is not None and recipe.values is not None:
            every = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16).repeat(3, 1, 1)
            table = recipe.values(every).reshape(3, 256).numpy()
            self._patches = PatchLayout(table, recipe.patches.side, recipe.patches.merge, recipe.patches.copies)
        arrange: dict[str, Callable[[list[Any]], dict[str, Any] | None]] = {
            "stacked": self._stacked,
            "patches": self._in_patches,
            "padded": self._padded,
        }
        self._arrange = arrange[recipe.arrangement]

    def __call__(self, images: Any) -> Any:
        """Process images as the processor takes them; None for such as are left to the original."""
        if in_other_modes():
            return None
        try:
            each = _images_of(images)
            pixels = [] if each is None else [self._pixels_of(image) for image in each]
            if not pixels or any(one is None for one in pixels):
                return None
            data = self._arrange(pixels)
        except Exception:  # noqa: BLE001 - the original says what is wrong, if anything is
            return None
        return None if data is None else self._batch_feature(data=data)

    def _pixels_of(self, image: Any) -> Any:
        """Return an image as the layer reads it: an RGB image of Pillow's, or a tensor [3, H, W] of bytes; or None."""
        if isinstance(image, PIL.Image.Image):
            if image.mode == "RGB" and (not self._converts or image.info.get("transparency") is None):
                return image
            if not self._converts:
                return None
            array = self._convert_to_rgb(image, return_numpy=True)
            return PIL.Image.fromarray(array) if self._of_pil else torch.from_numpy(array).permute(2, 0, 1)
        if image.ndim != 3 or image.dtype not in (torch.uint8, np.uint8):
            return None
        is_last = self._channels_last
        if is_last is None:
            is_last = image.shape[0] not in _CHANNELS
            if not is_last and image.shape[2] in _CHANNELS:
                # The original warns of these.
                return None
        if image.shape[2 if is_last else 0] != 3:
            return None
        if isinstance(image, torch.Tensor) and not image.is_cpu:
            return None
        if self._of_pil:
            array = np.asarray(image)
            return PIL.Image.fromarray(array if is_last else np.moveaxis(array, 0, -1))
        tensor = image if isinstance(image, torch.Tensor) else torch.from_numpy(image)
        return tensor.permute(2, 0, 1) if is_last else tensor

    def _sizes(self, pixels: list[Any]) -> list[tuple[int, int]]:
        size = self._recipe.size
        return [
            size(*(image.shape[1:] if isinstance(image, torch.Tensor) else (image.height, image.width)))
            for image in pixels
        ]

    def _returned_as(self, tensor: torch.Tensor) -> Any:
        is_array = self._returned == "np" or (self._of_pil and self._returned is None)
        return tensor.numpy() if is_array else tensor

    def _stacked(self, pixels: list[Any]) -> dict[str, Any] | None:
        if self._returned is None and not self._recipe.is_joined:
            results = self._layer.batch(pixels) if len(pixels) > 1 else [self._layer(pixels[0])]
            return {"pixel_values": [result.numpy() for result in results] if self._of_pil else results}
        if len(pixels) == 1:
            batch = self._layer(pixels[0])[None]
        else:
            sizes = self._sizes(pixels)
            if any(size != sizes[0] for size in sizes):
                return None
            batch = memory.empty((len(pixels), 3, *sizes[0]), self._dtype)
            self._layer.batch(pixels, out=batch)
        return {"pixel_values": self._returned_as(batch)}

    def _in_patches(self, pixels: list[Any]) -> dict[str, Any] | None:
        layout = self._patches
        assert layout is not None
        sizes = self._sizes(pixels)
        grids = [layout.grid(*size) for size in sizes]
        counts = [rows * cols for rows, cols in grids]
        values = memory.empty((sum(counts), layout.length(3)), torch.float32)
        begin = 0
        resized = self._layer.batch(pixels) if len(pixels) > 1 else [self._layer(pixels[0])]
        for image, count in zip(resized, counts, strict=True):
            layout(image, values[begin : begin + count], self._layer.threads or torch.get_num_threads())
            begin += count
        grid = torch.tensor([[1, *each] for each in grids], dtype=torch.long)
        return {"pixel_values": self._returned_as(values), "image_grid_thw": self._returned_as(grid)}

    def _padded(self, pixels: list[Any]) -> dict[str, Any] | None:
        sizes = self._sizes(pixels)
        height, width = self._recipe.pad_size or tuple(map(max, zip(*sizes, strict=True)))
        if any(h > height or w > width for h, w in sizes):
            return None
        mask = torch.ones((len(pixels), height, width), dtype=torch.int64)
        batch = memory.empty((len(pixels), 3, height, width), self._dtype)
        if all(size == (height, width) for size in sizes):
            self._layer.batch(pixels, out=batch)
        else:
            for image, of_image, (h, w) in zip(batch, mask, sizes, strict=True):
                image[:, h:], image[:, :h, w:] = 0, 0
                of_image[h:], of_image[:h, w:] = 0, 0
            places = [image[:, :h, :w] for image, (h, w) in zip(batch, sizes, strict=True)]
            self._layer.batch(pixels, out=places)
        data = {"pixel_mask": self._returned_as(mask), "pixel_values": self._returned_as(batch)}
        return data if self._returned or self._recipe.is_joined else {name: list(each) for name, each in data.items()}


def _images_of(images: Any) -> Sequence[Any] | None:
    """List the images of a call, as ``make_flat_list_of_images`` does; None for what is not known here."""
    if isinstance(images, list | tuple):
        if images and all(isinstance(each, list | tuple) for each in images):
            images = [image for each in images for image in each]
        known = all(_is_known(image) for image in images)
        is_flat = known and not any(not isinstance(image, PIL.Image.Image) and image.ndim != 3 for image in images)
        return images if is_flat else None
    if not _is_known(images):
        return None
    if isinstance(images, PIL.Image.Image) or images.ndim == 3:
        return [images]
    return list(images) if images.ndim == 4 else None


def _is_known(image: Any) -> bool:
    return isinstance(image, PIL.Image.Image) or type(image) in (np.ndarray, torch.Tensor)
