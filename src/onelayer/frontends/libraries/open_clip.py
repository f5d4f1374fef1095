"""Front end of CLIP's preprocessing: open_clip's ``image_transform``, and the ``preprocess`` of OpenAI's package."""

from __future__ import annotations

import random
from typing import Any

from torchvision import transforms as v1
from torchvision.transforms import v2

from onelayer.errors import OnelayerError
from onelayer.frontends.base import (
    CompileParts,
    Derivation,
    Function,
    register,
    register_function,
    register_sequence,
    register_step,
    stages_of,
)
from onelayer.frontends.derivation import OF_V1
from onelayer.frontends.libraries.timm import center_crop_or_pad, resize_keep_ratio
from onelayer.frontends.torchvision.dtype import to_tensor_v2
from onelayer.image_spec import CONTAINER_NAMES, ImageSpec, RoundingMode

OF_V1.add("open_clip.transform")

register("open_clip.transform.MaybeToTensor", any_size=True)(to_tensor_v2)
register_step("open_clip.transform.CenterCropOrPad")(center_crop_or_pad)


@register_sequence("open_clip.transform.ResizeKeepRatio")
def resize_of_pil(transform: Any, spec: ImageSpec) -> list[Any]:
    """Resize as timm does, of which it is a copy; this one asks PIL images for their size, and takes no others."""
    _refuse_all_but_pil(spec)
    return resize_keep_ratio(transform, spec)


@register("open_clip.transform.MaybeConvertMode", any_size=True)
def maybe_convert_mode(transform: Any, spec: ImageSpec, rounding: RoundingMode) -> Derivation:
    """Convert a PIL image to RGB or to luma; tensors and arrays stay."""
    return _converted(transform.mode, spec, rounding) if spec.container == "pil" else ([], spec)


@register("clip.clip._convert_image_to_rgb", "open_clip.transform._convert_to_rgb", any_size=True)
def convert_to_rgb(_: Any, spec: ImageSpec, rounding: RoundingMode) -> Derivation:
    """Convert a PIL image to RGB; any other image is refused."""
    _refuse_all_but_pil(spec)
    return _converted("RGB", spec, rounding)


def _converted(mode: str, spec: ImageSpec, rounding: RoundingMode) -> Derivation:
    """Derive ``PIL.Image.Image.convert`` of the modes RGB and L: one channel is copied, three are weighed."""
    if mode not in ("RGB", "L"):
        raise OnelayerError(f"a conversion to the mode {mode}", expected="RGB or L")
    same = v2.RGB() if mode == "RGB" else v1.Grayscale()
    return stages_of(same, spec, rounding)


def _refuse_all_but_pil(spec: ImageSpec) -> None:
    if spec.container != "pil":
        raise OnelayerError(f"it does not take {CONTAINER_NAMES[spec.container]}", expected="a PIL image")


@register_function("open_clip.transform.color_jitter", "open_clip.transform.gray_scale")
def now_and_then(transform: Any, _: ImageSpec, compile_parts: CompileParts) -> Function:
    """Apply torchvision's transform with a probability that Python's generator decides on."""
    layer = compile_parts([transform.transf])

    def apply(image: Any) -> Any:
        return layer(image) if random.random() < transform.p else image  # noqa: S311 - as the original draws

    return apply
