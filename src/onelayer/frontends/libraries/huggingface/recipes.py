"""State what image processors of transformers do to an image as transforms, from the keywords that they resolved.

A processor does what the functions do that its class has: of the backend that it inherits from, or its own. A recipe is
known for certain functions, by their qualified names; a class with any other is left to the original.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import InterpolationMode

from onelayer.frontends.base import UnsupportedTransformError
from onelayer.frontends.placement import Size
from onelayer.frontends.torchvision.by_rule import BoxRule, CropBy, ResizeBy, SizeRule
from onelayer.frontends.torchvision.color import register_table

BACKENDS = "transformers.image_processing_backends"

Backend = Literal["torchvision", "pil"]

Arrangement = Literal["stacked", "patches", "padded"]
"""How a processor joins the images of a call: stacked; as rows of patches, one image after the other; or stacked, each
with zeros below and to the right of it, and with a mask."""

_UNCHANGED = (
    "process_image",
    "convert_to_rgb",
    "rescale",
    "normalize",
    "center_crop",
    "fetch_images",
    "_prepare_images_structure",
    "_prepare_image_like_inputs",
)
"""Methods that a class must have from its backend."""

_VARIED = "_preprocess_image_like_inputs", "_preprocess", "resize", "pad"
"""Methods of which a class may have its own, if they are known."""

_BASE = "transformers.image_processing_utils.BaseImageProcessor"

_UNCHANGED_OF_TORCHVISION = ("rescale_and_normalize", "_fuse_mean_std_and_rescale_factor")


def unsupported(problem: str) -> UnsupportedTransformError:
    """Make the error for what is left to the original."""
    return UnsupportedTransformError(problem, hint="The original processor does it, with the original's result.")


@dataclass(frozen=True)
class Values:
    """Change the bytes of a tensor by a processor's own arithmetic, a value at a time.

    Args:
        backend: Backend of the processor.
        rescale: Factor that bytes are multiplied by; None for none.
        mean: Mean that is subtracted, a value per channel; None for none.
        std: Standard deviation that is divided by, a value per channel; None for none.
        processor: Processor whose methods compute.
    """

    backend: Backend
    rescale: float | None
    mean: Any
    std: Any
    processor: Any

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        """Change an image, [C, H, W]."""
        if self.backend == "torchvision":
            arguments = self.rescale is not None, self.rescale, self.mean is not None, self.mean, self.std
            result: torch.Tensor = self.processor.rescale_and_normalize(image[None], *arguments)[0]
            return result
        values = image.numpy()
        if self.rescale is not None:
            values = self.processor.rescale(values, self.rescale)
        if self.mean is not None:
            values = self.processor.normalize(values, self.mean, self.std)
        return torch.from_numpy(np.ascontiguousarray(values))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(rescale={self.rescale}, mean={self.mean}, std={self.std})"


register_table(Values)


@dataclass(frozen=True)
class Patches:
    """How the patches of an image are laid out, as Qwen2-VL has them.

    Args:
        side: Height and width of a patch, p.
        merge: Patches side by side, along rows and along columns, that follow each other, m.
        copies: Times that each patch comes in the time dimension, T.
    """

    side: int
    merge: int
    copies: int


@dataclass(frozen=True)
class Recipe:
    """What a processor does to the images of a call.

    Args:
        backend: Backend of the processor.
        transforms: Transforms of one image, a PIL image or a tensor [C, H, W] of bytes.
        rules: Rules for the size that comes of a size, in order.
        arrangement: How the images of a call are joined.
        patches: Layout of patches, where images become these.
        pad_size: Height and width of padded images; None for the largest of the images.
        is_joined: Whether images are stacked also where no kind of tensors is asked for.
        values: Arithmetic of bytes, which is left out of the transforms where images become patches; None for none.
    """

    backend: Backend
    transforms: tuple[Any, ...]
    rules: tuple[SizeRule, ...]
    arrangement: Arrangement = "stacked"
    patches: Patches | None = None
    pad_size: Size | None = None
    is_joined: bool = False
    values: Values | None = None

    def size(self, height: int, width: int) -> Size:
        """Return height and width of what comes of an image."""
        for rule in self.rules:
            height, width = rule(height, width)
        return height, width


class _Draft:
    """Transforms of a processor, as they are added."""

    def __init__(self, processor: Any, kind: type, backend: Backend, keywords: Mapping[str, Any]) -> None:
        self.processor, self.kind, self.backend, self.keywords = processor, kind, backend, keywords
        self.geometry: list[Any] = []
        self.rules: list[SizeRule] = []

    def function(self, name: str) -> Callable[..., Any]:
        """Return a function of the module of the processor's class."""
        found: Callable[..., Any] = getattr(sys.modules[self.kind.__module__], name)
        return found

    def resize(self, rule: SizeRule) -> None:
        resample = self.keywords["resample"]
        mode = resample if isinstance(resample, InterpolationMode) else _interpolation(resample)
        if mode is InterpolationMode.LANCZOS and self.backend == "torchvision" and not _has_lanczos():
            raise unsupported("this torchvision has no Lanczos resize of tensors, and another stands in for it")
        self.geometry.append(ResizeBy(rule, mode))
        self.rules.append(rule)

    def crop(self, size: Any) -> None:
        height, width = size.height, size.width
        if not (_is_length(height) and _is_length(width)):
            raise unsupported(f"the crop size {size}")
        middle = _middle if self.backend == "torchvision" else _middle_of_pil
        self.geometry.append(CropBy(middle(height, width)))
        self.rules.append(lambda _height, _width: (height, width))

    def values(self) -> Values | None:
        keywords = self.keywords
        rescales, normalizes = bool(keywords["do_rescale"]), bool(keywords["do_normalize"])
        if not rescales and not normalizes:
            return None
        return Values(
            self.backend,
            keywords["rescale_factor"] if rescales else None,
            keywords["image_mean"] if normalizes else None,
            keywords["image_std"] if normalizes else None,
            self.processor,
        )

    def transforms(self, values: Values | None) -> tuple[Any, ...]:
        last = () if values is None else (values,)
        if self.backend == "torchvision":
            return (v2.PILToTensor(), *self.geometry, *last)
        # Pillow resizes, NumPy crops.
        resizes = [each for each in self.geometry if isinstance(each, ResizeBy)]
        crops = [each for each in self.geometry if not isinstance(each, ResizeBy)]
        return (*resizes, v2.PILToTensor(), *crops, *last)


Family = Callable[[_Draft, Any, Mapping[str, Any]], Recipe]
"""States what processors with the same code do: of a draft, the size of the resize, and all keywords."""


def recipe_of(processor: Any, kind: type, keywords: Mapping[str, Any]) -> Recipe:
    """State what a processor does.

    Args:
        processor: The processor, the original or what was compiled of it.
        kind: Class of the original.
        keywords: Keywords of its ``_preprocess``, as it resolved them.

    Raises:
        OnelayerError: For what is left to the original.
    """
    family, backend = family_of(kind), backend_of(kind)
    if keywords.get("device") not in (None, "cpu", torch.device("cpu")):
        raise unsupported(f"the device {keywords['device']} was asked for")
    draft = _Draft(processor, _of_library(kind), backend, keywords)
    try:
        recipe = family(draft, keywords["size"], keywords)
    except KeyError as error:
        raise unsupported(f"{kind.__name__} has no {error}") from error
    if len(recipe.transforms) < 2 and recipe.values is None:
        raise unsupported("nothing is computed")
    return recipe


def backend_of(kind: type) -> Backend:
    """Return the backend of a class of processors.

    Raises:
        OnelayerError: If it has none of the two that are known.
    """
    names = {f"{each.__module__}.{each.__qualname__}" for each in kind.__mro__}
    if f"{BACKENDS}.TorchvisionBackend" in names:
        return "torchvision"
    if f"{BACKENDS}.PilBackend" in names:
        return "pil"
    raise unsupported(f"{kind.__name__} has neither the torchvision backend nor the PIL backend")


def family_of(kind: type) -> Family:
    """Find what states the processors of a class.

    Raises:
        OnelayerError: If they are left to the original.
    """
    backend = backend_of(kind)
    base = f"{BACKENDS}.{'TorchvisionBackend' if backend == 'torchvision' else 'PilBackend'}"
    above = {f"{each.__module__}.{each.__qualname__}": each for each in kind.__mro__}[base]
    names = _UNCHANGED + (_UNCHANGED_OF_TORCHVISION if backend == "torchvision" else ())
    of_library = _of_library(kind)
    changed = [name for name in names if getattr(kind, name, None) is not getattr(above, name, None)]
    # What a class of the user's changes of its parent.
    for each in kind.__mro__[: kind.__mro__.index(of_library)]:
        changed += [
            name for name in vars(each) if not name.startswith("__") and callable(getattr(of_library, name, None))
        ]
    if changed:
        raise unsupported(f"{kind.__name__} has its own {', '.join(dict.fromkeys(changed))}")
    methods = {name: _qualified(getattr(kind, name)) for name in _VARIED}
    changed_methods = {
        name: each for name, each in methods.items() if each not in (f"{base}.{name}", f"{_BASE}.{name}")
    }
    family = _FAMILIES.get(frozenset(map(_short_name, changed_methods.values())))
    if family is None:
        raise unsupported(f"{kind.__name__} has its own {', '.join(changed_methods)}")
    return family


def _of_library(kind: type) -> type:
    """Return the first of the classes above a class, itself among them, that is of transformers."""
    return next(each for each in kind.__mro__ if each.__module__.startswith("transformers."))


def _qualified(function: Any) -> str:
    return f"{function.__module__}.{function.__qualname__}"


def _short_name(name: str) -> str:
    """Shorten the name of a method to the module of the model, which both backends share, the class and the method."""
    return name.removeprefix("transformers.models.").replace("_pil_", "_")


def _standard(draft: _Draft, size: Any, keywords: Mapping[str, Any]) -> Recipe:
    if keywords["do_resize"]:
        draft.resize(size_rule(size))
    return _cropped(draft, keywords)


def _cropped(draft: _Draft, keywords: Mapping[str, Any]) -> Recipe:
    if keywords["do_center_crop"]:
        draft.crop(keywords["crop_size"])
    if keywords["do_pad"]:
        raise unsupported("it pads")
    values = draft.values()
    return Recipe(draft.backend, draft.transforms(values), tuple(draft.rules), values=values)


def _levit(draft: _Draft, size: Any, keywords: Mapping[str, Any]) -> Recipe:
    if keywords["do_resize"]:
        short = size.shortest_edge
        draft.resize(_short_side(int((256 / 224) * short)) if short else size_rule(size))
    return _cropped(draft, keywords)


def _convnext(draft: _Draft, size: Any, keywords: Mapping[str, Any]) -> Recipe:
    if keywords["do_resize"]:
        short = size.shortest_edge
        if not _is_length(short):
            raise unsupported(f"the size {size}")
        if short < 384:
            draft.resize(_short_side(int(short / keywords["crop_pct"])))
            draft.crop(type(size)(height=short, width=short))
        else:
            draft.resize(lambda _height, _width: (short, short))
    return _cropped(draft, {**keywords, "do_pad": False})


def _beit(draft: _Draft, size: Any, keywords: Mapping[str, Any]) -> Recipe:
    return _standard(draft, size, {**keywords, "do_pad": False})


def _segformer(draft: _Draft, size: Any, keywords: Mapping[str, Any]) -> Recipe:
    return _standard(draft, size, {**keywords, "do_pad": False, "do_center_crop": False})


def _qwen2_vl(draft: _Draft, size: Any, keywords: Mapping[str, Any]) -> Recipe:
    patches = Patches(keywords["patch_size"], keywords["merge_size"], keywords["temporal_patch_size"])
    if not all(map(_is_length, (patches.side, patches.merge, patches.copies))):
        raise unsupported(f"the {patches}")
    if not keywords["do_resize"]:
        raise unsupported("images are not resized, and may have sizes that are no multiples of a patch")
    smart_resize = draft.function("smart_resize")
    low, high = size.shortest_edge, size.longest_edge
    if not (_is_length(low) and _is_length(high)):
        raise unsupported(f"the size {size}")
    factor = patches.side * patches.merge
    is_of_video = "num_frames" in smart_resize.__code__.co_varnames
    given = (patches.copies,) if is_of_video else ()
    limits = {"factor": factor, "min_pixels": low, "max_pixels": high}
    if is_of_video:
        limits["temporal_factor"] = patches.copies
    draft.resize(lambda height, width: smart_resize(*given, height, width, **limits))
    values = draft.values()
    if values is None:
        raise unsupported("bytes are laid out as patches, without rescaling or normalizing them")
    transforms = draft.transforms(None)
    return Recipe(draft.backend, transforms, tuple(draft.rules), "patches", patches, values=values)


def _detr(draft: _Draft, size: Any, keywords: Mapping[str, Any]) -> Recipe:
    return _padded(draft, size_rule(size), keywords)


def _yolos(draft: _Draft, size: Any, keywords: Mapping[str, Any]) -> Recipe:
    short, long = size.shortest_edge, size.longest_edge
    if not (_is_length(short) and _is_length(long)):
        return _padded(draft, size_rule(size), keywords)
    rule = draft.function("get_size_with_aspect_ratio_yolos")
    return _padded(draft, lambda height, width: rule((height, width), short, long), keywords)


def _padded(draft: _Draft, rule: SizeRule, keywords: Mapping[str, Any]) -> Recipe:
    if keywords["do_resize"]:
        draft.resize(rule)
    values = draft.values()
    transforms, rules, is_joined = draft.transforms(values), tuple(draft.rules), draft.backend == "torchvision"
    if not keywords["do_pad"]:
        return Recipe(draft.backend, transforms, rules, is_joined=is_joined, values=values)
    pad_size = keywords["pad_size"]
    size = None if pad_size is None else (pad_size.height, pad_size.width)
    if size is not None and not all(map(_is_length, size)):
        raise unsupported(f"the pad size {pad_size}")
    return Recipe(draft.backend, transforms, rules, "padded", pad_size=size, is_joined=is_joined, values=values)


LIKE_QWEN2_VL = {"qwen2_vl": "Qwen2VL", "minimax_m3_vl": "MiniMaxM3VL", "ernie4_5_vl_moe": "Ernie4_5_VLMoe"}
"""Models whose processors have the code of Qwen2-VL's, with the beginnings of the names of their classes."""

LIKE_GLM4V = {"glm4v": "Glm4v", "glm46v": "Glm46V"}
"""Models whose processors have the code of GLM-4V's: the patches of Qwen2-VL, and another size."""

LIKE_DETR = {
    "detr": "Detr",
    "conditional_detr": "ConditionalDetr",
    "deformable_detr": "DeformableDetr",
    "grounding_dino": "GroundingDino",
    "yolos": "Yolos",
}
"""Models whose processors have the code of DETR's."""


LIKE_BEIT = {"beit": "Beit", "mobilenet_v2": "MobileNetV2", "segformer": "Segformer"}
"""Models whose processors take maps of segments, too."""


def _families() -> dict[frozenset[str], Family]:
    """Map the methods that are not the backend's to what states processors with them."""
    found: dict[frozenset[str], Family] = {frozenset(): _standard}

    def add(model: str, kind: str, family: Family, *names: str) -> None:
        for suffix in ("", "Pil"):
            prefix = f"{model}.image_processing_{model}.{kind}ImageProcessor{suffix}."
            found[frozenset(f"{prefix}{name}" for name in names)] = family

    add("levit", "Levit", _levit, "resize")
    add("convnext", "ConvNext", _convnext, "_preprocess", "resize")
    for model, kind in {**LIKE_QWEN2_VL, **LIKE_GLM4V}.items():
        add(model, kind, _qwen2_vl, "_preprocess", "resize")
    for model, kind in LIKE_DETR.items():
        add(model, kind, _yolos if model == "yolos" else _detr, "_preprocess", "resize", "pad")
    for model, kind in LIKE_BEIT.items():
        family = _segformer if model == "segformer" else _beit
        add(model, kind, family, "_preprocess_image_like_inputs", "_preprocess")
    return found


_FAMILIES = _families()


def size_rule(size: Any) -> SizeRule:
    """Return the rule of ``resize`` of both backends for a size, a ``SizeDict``.

    Raises:
        OnelayerError: For a size that they refuse, or that is not made of whole numbers.
    """
    transforms = sys.modules["transformers.image_transforms"]
    utilities = sys.modules["transformers.image_utils"]
    if any(each is not None and not _is_length(each) for each in vars(size).values()):
        raise unsupported(f"the size {size}")
    short, long, height, width = size.shortest_edge, size.longest_edge, size.height, size.width
    if short and long:
        return lambda h, w: transforms.get_size_with_aspect_ratio((h, w), short, long)
    if short:
        return _short_side(short)
    if size.max_height and size.max_width:
        limits = size.max_height, size.max_width
        return lambda h, w: utilities.get_image_size_for_max_height_width((h, w), *limits)
    if height and width:
        return lambda _height, _width: (height, width)
    raise unsupported(f"the size {size}")


def _short_side(short: int) -> SizeRule:
    """Return the rule of ``get_resize_output_image_size``."""

    def rule(height: int, width: int) -> Size:
        if width <= height:
            return int(short * height / width), short
        return short, int(short * width / height)

    return rule


def _middle(height: int, width: int) -> BoxRule:
    """Return the window of ``TorchvisionBackend.center_crop``; half of what is missing, rounded down, comes before."""

    def start(size: int, kept: int) -> int:
        return int((size - kept) / 2.0) if size >= kept else -((kept - size) // 2)

    return lambda h, w: (start(h, height), start(w, width), height, width)


def _middle_of_pil(height: int, width: int) -> BoxRule:
    """Return the window of ``PilBackend.center_crop``; half of what is missing, rounded up, comes before."""
    return lambda h, w: ((h - height) // 2, (w - width) // 2, height, width)


def _interpolation(resample: Any) -> InterpolationMode:
    mapping = sys.modules["transformers.image_utils"].pil_torch_interpolation_mapping
    mode: InterpolationMode | None = mapping.get(resample)
    if mode is None:
        raise unsupported(f"the filter {resample!r}")
    return mode


def _has_lanczos() -> bool:
    found: bool = sys.modules["transformers.utils.import_utils"].is_torchvision_greater_or_equal("0.27")
    return found


def _is_length(number: Any) -> bool:
    return type(number) is int and number > 0
