"""Compile image processors of transformers: a subclass that computes what is known, and leaves the rest to its parent.

Keywords are resolved by the original's own code. What it resolves for a set of keywords is kept as long as no attribute
of the processor changes, because its checks take longer than a small image.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cache, wraps
from operator import is_
from typing import Any

import numpy as np
import PIL.Image
import torch
from torch._C import _len_torch_dispatch_stack as number_of_dispatch_modes
from torch._C import _len_torch_function_stack as number_of_modes
from torchvision.transforms import v2

from onelayer.backends.cpu import memory
from onelayer.backends.cpu.patch_kernel import PatchLayout
from onelayer.errors import OnelayerError
from onelayer.frontends.front_end import MakeLayer
from onelayer.frontends.libraries.huggingface.recipes import (
    LIKE_DETR,
    LIKE_GLM4V,
    LIKE_QWEN2_VL,
    Recipe,
    recipe_of,
    unsupported,
)
from onelayer.image_spec import ImageSpec

_STATE = "_onelayer"
"""Slot of what is prepared for a processor. What lies in ``__dict__`` would be saved with the configuration."""

_MAX_PREPARED = 64
"""Maximum number of sets of keywords that are kept."""

_PLAIN_PREPROCESS = {"", *LIKE_QWEN2_VL, *LIKE_GLM4V, *LIKE_DETR}
"""Models whose ``preprocess`` does nothing but hand on its keywords; "" for that of all."""

_SCALARS = bool, int, float, str, type(None)

_CHANNELS = 1, 3, 4
"""Numbers of channels by which transformers finds out which dimension of an array they are."""

_TRIAL_SIZES = (45, 68), (71, 52)
"""Height and width of the images that a processor proves itself with."""


class _OfThread(threading.local):
    """What the methods of a processor tell each other within a call."""

    resolves = False
    """Whether keywords are only to be resolved."""
    leaves = False
    """Whether the call is left to the original."""
    prepared: Any = None
    """Processor of the last call, and what was prepared for its keywords; or None."""


_OF_THREAD = _OfThread()


class _Resolved(BaseException):
    """Carries the keywords that a processor has resolved out of its call."""

    def __init__(self, keywords: dict[str, Any]) -> None:
        super().__init__()
        self.keywords = keywords


class _State:
    """What is prepared for a processor, as long as its attributes are what they are.

    Args:
        make_layer: Makes layers.
        attributes: Attributes of the processor.
    """

    def __init__(self, make_layer: MakeLayer, attributes: Mapping[str, Any]) -> None:
        self.make_layer = make_layer
        self._attributes = tuple(attributes.values())
        self._changeable = tuple(
            (vars(value), tuple(vars(value).values())) for value in self._attributes if _is_size(value)
        )
        self.is_lasting = all(_lasts(value) for value in self._attributes)
        self.by_call: dict[Any, Prepared] = {}
        self.by_keywords: dict[Any, Prepared | OnelayerError] = {}

    def is_of(self, attributes: Mapping[str, Any]) -> bool:
        """Whether a processor still has the attributes."""
        return (
            len(attributes) == len(self._attributes)
            and all(map(is_, attributes.values(), self._attributes))
            and all(tuple(now.values()) == before for now, before in self._changeable)
        )


def compiled(processor: Any, make_layer: MakeLayer) -> Any:
    """Make a processor that computes what is known with layers, and is in all else as the given one."""
    return _restored(_original(type(processor)), make_layer, vars(processor))


def _restored(original: type, make_layer: MakeLayer, attributes: Mapping[str, Any]) -> Any:
    kind = _compiled_class(original)
    made = kind.__new__(kind)
    made.__dict__.update({name: _copied(value) for name, value in attributes.items()})
    object.__setattr__(made, _STATE, _State(make_layer, made.__dict__))
    return made


def _copied(value: Any) -> Any:
    # The original's sizes can be changed, and are its own.
    return type(value)(**dict(value)) if _is_size(value) else value


def _original(kind: type) -> type:
    """Return the class that a compiled class was made of, and any other as it is."""
    return kind.__mro__[1] if _STATE in vars(kind) else kind


@cache
def _compiled_class(original: Any) -> Any:
    """Make the subclass of a processor's class; under its name, which configurations are saved with."""

    @wraps(original.preprocess)
    def preprocess(self: Any, images: Any, *args: Any, **kwargs: Any) -> Any:
        state, key = getattr(self, _STATE, None), None
        if state is not None and not args and is_plain:
            if not state.is_of(self.__dict__):
                state = _State(state.make_layer, self.__dict__)
                object.__setattr__(self, _STATE, state)
            key = _key_of_call(kwargs) if state.is_lasting else None
            prepared = None if key is None else state.by_call.get(key)
            if prepared is not None:
                if (result := prepared(images)) is not None:
                    return result
                key, _OF_THREAD.leaves = None, True
        _OF_THREAD.prepared = None
        try:
            result = original.preprocess(self, images, *args, **kwargs)
        finally:
            _OF_THREAD.leaves = False
        found = _OF_THREAD.prepared
        if state is not None and key is not None and found is not None and found[0] is self:
            _keep(state.by_call, key, found[1])
        _OF_THREAD.prepared = None
        return result

    @wraps(original._preprocess_image_like_inputs)
    def preprocess_image_like_inputs(self: Any, images: Any, *args: Any, **kwargs: Any) -> Any:
        if _OF_THREAD.resolves:
            raise _Resolved(kwargs)
        state = getattr(self, _STATE, None)
        if state is not None and not _OF_THREAD.leaves and all(each is None for each in args):
            prepared = _prepared(self, state, kwargs)
            if isinstance(prepared, Prepared):
                _OF_THREAD.prepared = self, prepared
                if (result := prepared(images)) is not None:
                    return result
        return original._preprocess_image_like_inputs(self, images, *args, **kwargs)

    def reduce(self: Any) -> Any:
        state = getattr(self, _STATE, None)
        if state is None:
            return _restored_without_state, (original, self.__dict__)
        return _restored, (original, state.make_layer, self.__dict__)

    module = original.preprocess.__module__.removeprefix("transformers.")
    model = "" if module == "image_processing_utils" else module.split(".")[1] if module.startswith("models.") else None
    is_plain = model in _PLAIN_PREPROCESS
    namespace = {
        "__slots__": (_STATE,),
        "__module__": original.__module__,
        "__qualname__": original.__qualname__,
        "__doc__": original.__doc__,
        "__reduce__": reduce,
        "preprocess": preprocess,
        "_preprocess_image_like_inputs": preprocess_image_like_inputs,
    }
    return type(original.__name__, (original,), namespace)


def _restored_without_state(original: type, attributes: Mapping[str, Any]) -> Any:
    kind = _compiled_class(original)
    made = kind.__new__(kind)
    made.__dict__.update(attributes)
    return made


def _keep(cache: dict[Any, Any], key: Any, value: Any) -> None:
    if len(cache) >= _MAX_PREPARED:
        cache.clear()
    cache[key] = value


def _is_size(value: Any) -> bool:
    return type(value).__name__ == "SizeDict"


def _lasts(value: Any) -> bool:
    """Whether an attribute that is still the same object has still the same value."""
    if isinstance(value, tuple):
        return all(map(_lasts, value))
    if isinstance(value, list):
        # The names of keywords.
        return all(isinstance(each, str) for each in value)
    return isinstance(value, (*_SCALARS, torch.device)) or _is_size(value)


def _key_of_call(keywords: Mapping[str, Any]) -> Any:
    """Return what tells keywords apart; None for such as are resolved anew each time."""
    parts = []
    for name, value in keywords.items():
        kind = type(value)
        if kind in _SCALARS:
            parts.append((name, kind, value))
        elif kind in (dict, list, tuple):
            parts.append((name, kind, repr(value)))
        else:
            return None
    # These warn.
    return None if "min_pixels" in keywords or "max_pixels" in keywords else tuple(parts)


def _prepared(processor: Any, state: _State, keywords: Mapping[str, Any]) -> Prepared | OnelayerError:
    """Return what is prepared for resolved keywords, or the reason why the original computes."""
    kind = _original(type(processor))
    if not _methods_of(kind).isdisjoint(processor.__dict__):
        return unsupported("this processor has methods of its own")
    try:
        key = tuple((name, type(value), value, repr(value)) for name, value in keywords.items())
        known = state.by_keywords.get(key)
    except TypeError:
        return unsupported("a keyword has a value that is not known here")
    if known is not None:
        return known
    try:
        made: Prepared | OnelayerError = Prepared(recipe_of(processor, kind, keywords), keywords, state.make_layer)
        assert isinstance(made, Prepared)
        if (problem := _difference(processor, made, keywords)) is not None:
            made = unsupported(problem)
    except OnelayerError as error:
        made = error
    except Exception as error:  # noqa: BLE001 - then the original says what is wrong
        made = unsupported(f"its configuration was not understood: {type(error).__name__}: {error}")
    _keep(state.by_keywords, key, made)
    return made


@cache
def _methods_of(kind: type) -> frozenset[str]:
    return frozenset(name for name in dir(kind) if callable(getattr(kind, name, None)))


def _difference(processor: Any, prepared: Prepared, keywords: Mapping[str, Any]) -> str | None:
    """Compare with the original on images of noise; return what differs.

    Another version of transformers may do something else under the same names.
    """
    generator = np.random.default_rng(0)
    images = [PIL.Image.fromarray(generator.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in _TRIAL_SIZES]
    original: Any = _original(type(processor))
    for image in images:
        found = prepared([image])
        if found is None:
            return "images cannot be read here"
        expected = original._preprocess_image_like_inputs(
            processor, [image], **_without_annotations(keywords, original)
        )
        if not _is_equal(dict(found), dict(expected)):
            return "its pixels differ from the original's on a trial image"
    return None


def _without_annotations(keywords: Mapping[str, Any], original: Any) -> dict[str, Any]:
    names = original._preprocess.__code__.co_varnames[: original._preprocess.__code__.co_argcount]
    missing = [name for name in ("annotations", "return_segmentation_masks", "masks_path") if name in names]
    return {**keywords, **dict.fromkeys(missing)}


def _is_equal(found: Any, expected: Any) -> bool:
    if type(found) is not type(expected):
        return False
    if isinstance(found, dict):
        return list(found) == list(expected) and all(_is_equal(found[name], expected[name]) for name in found)
    if isinstance(found, list):
        return len(found) == len(expected) and all(map(_is_equal, found, expected))
    if isinstance(found, torch.Tensor):
        return found.dtype == expected.dtype and torch.equal(found, expected)
    return found.dtype == expected.dtype and np.array_equal(found, expected)


def transforms_for(processor: Any, spec: ImageSpec) -> Sequence[Any]:
    """List the transforms of an image that a processor applies with its own keywords.

    Raises:
        OnelayerError: If it is left to the original.
    """
    if spec.is_float:
        raise unsupported(f"an image of {spec.dtype}")
    if spec.shape[0] != 3:
        raise unsupported(f"an image of {spec.shape[0]} channels, which is not read as bytes of three colors")
    keywords = resolved(processor)
    recipe = recipe_of(processor, _original(type(processor)), keywords)
    values = [recipe.values] if recipe.patches is not None else []
    as_tensor = [v2.ToImage(), v2.ToPureTensor()] if spec.container == "numpy" else []
    as_pil = [v2.ToPILImage()] if recipe.backend == "pil" and spec.container != "pil" else []
    return [*as_tensor, *as_pil, *recipe.transforms, *values]


def resolved(processor: Any) -> dict[str, Any]:
    """Return the keywords that a processor resolves for a call without any."""
    kind = _compiled_class(_original(type(processor)))
    asked = kind.__new__(kind)
    asked.__dict__.update(vars(processor))
    _OF_THREAD.resolves = True
    try:
        asked.preprocess(None)
    except _Resolved as found:
        return found.keywords
    finally:
        _OF_THREAD.resolves = False
    raise unsupported(f"{kind.__name__} resolves its keywords in a way of its own")


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
        if number_of_modes() or number_of_dispatch_modes():
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
