"""Augment by torchvision's policies, with its random numbers and its bits, and a quick function for every operation.

Numbers are drawn as the originals draw them; v1 and v2 draw signs in different ways. Magnitudes, tensors that v1 makes
for every image, are made once. Sources: ``forward``, ``_apply_op`` and ``_apply_image_or_video_transform`` of the
classes of torchvision.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from types import ModuleType
from typing import Any

import PIL.Image
import torch
from PIL.Image import Resampling
from torchvision import transforms as v1
from torchvision import tv_tensors
from torchvision.transforms import functional as f1
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as f2
from torchvision.transforms.v2._utils import _get_fill

from onelayer.frontends.base import CompileParts, Function, register_function
from onelayer.frontends.torchvision import color_functions as color
from onelayer.frontends.torchvision import tensor_warps
from onelayer.frontends.torchvision.drawn_numbers import in_default_precision, number_between, place_below
from onelayer.frontends.torchvision.warp_functions import as_recorded, is_quicker, resample_of
from onelayer.image_spec import ImageSpec

_WHITE = 255
_BINS = 10
"""Number of magnitudes of an ``AutoAugment``, and of an ``AugMix``."""

Operation = tuple[str, float]
"""Name and magnitude of an operation."""

Draw = Callable[[int, int], list[Operation]]
"""Draws the operations for an image of a height and a width."""


class Space:
    """Operations of a policy, with their magnitudes.

    Args:
        transform: The policy.
        bins: Number of magnitudes of an operation.
    """

    def __init__(self, transform: Any, bins: int) -> None:
        self._transform, self._bins = transform, bins
        self._of_size = lru_cache(maxsize=64)(self._magnitudes)
        self._is_signed = {name: is_signed for name, (_, is_signed) in self._entries(1, 1).items()}
        self.names = tuple(self._is_signed)

    def magnitudes(self, name: str, height: int, width: int) -> Sequence[float] | None:
        """List the magnitudes of an operation for an image of a size; None if it has none."""
        # No others depend on the size.
        size = (height, width) if name.startswith("Translate") else (1, 1)
        return self._of_size(name, *size, torch.get_default_dtype())

    def is_signed(self, name: str) -> bool:
        """Whether the sign of an operation's magnitude is drawn."""
        return self._is_signed[name]

    def _magnitudes(self, name: str, height: int, width: int, dtype: torch.dtype) -> list[float] | None:  # noqa: ARG002 - a key
        made, _ = self._entries(height, width)[name]
        values = made(self._bins, height, width) if callable(made) else made
        return None if values is None or values.ndim == 0 else [float(value) for value in values]

    def _entries(self, height: int, width: int) -> Mapping[str, tuple[Any, bool]]:
        """Return the magnitudes, or a function that makes them, and whether they have a sign, by operation."""
        transform = self._transform
        if isinstance(transform, v2.Transform):
            is_partial = isinstance(transform, v2.AugMix) and not transform.all_ops
            entries: Mapping[str, tuple[Any, bool]] = (
                transform._PARTIAL_AUGMENTATION_SPACE if is_partial else transform._AUGMENTATION_SPACE
            )
        elif isinstance(transform, v1.TrivialAugmentWide):
            entries = transform._augmentation_space(self._bins)
        else:
            entries = transform._augmentation_space(self._bins, (height, width))
        return entries


def _signed(magnitude: float, is_negative: bool) -> float:
    # -0.0 for 0, as the originals have it.
    return magnitude * -1.0 if is_negative else magnitude


def _sign_v1(magnitude: float) -> float:
    return _signed(magnitude, place_below(2) != 0)


def _sign_v2(magnitude: float) -> float:
    return _signed(magnitude, number_between() <= 0.5)


def operated(image: Any, operation: Operation, interpolation: Any, fill: Any, functional: ModuleType) -> Any:
    """Apply an operation to an image.

    Args:
        image: A PIL image or a uint8 tensor.
        operation: The operation.
        interpolation: Interpolation of warps.
        fill: Fill of warps, as torchvision's functions take it.
        functional: Torchvision's module of functions, of v1 or v2.
    """
    name, magnitude = operation
    if name in _WARPS:
        function, keywords = _WARPS[name](functional, magnitude)
        keywords |= {"interpolation": interpolation, "fill": fill}
        if isinstance(image, PIL.Image.Image) and is_quicker(image, resample_of(interpolation)):
            return as_recorded(image, function, **keywords)
        return tensor_warps.warped(image, partial(function, **keywords), fill, functional is f1)
    return _COLORS[name](image, magnitude, functional)


def _affine(functional: ModuleType, **keywords: Any) -> tuple[Callable[..., Any], dict[str, Any]]:
    return functional.affine, {"angle": 0.0, "translate": [0, 0], "scale": 1.0, "shear": [0.0, 0.0]} | keywords


def _degrees(magnitude: float) -> float:
    return math.degrees(math.atan(magnitude))


_WARPS: dict[str, Callable[[ModuleType, float], tuple[Callable[..., Any], dict[str, Any]]]] = {
    "ShearX": lambda functional, by: _affine(functional, shear=[_degrees(by), 0.0], center=[0, 0]),
    "ShearY": lambda functional, by: _affine(functional, shear=[0.0, _degrees(by)], center=[0, 0]),
    "TranslateX": lambda functional, by: _affine(functional, translate=[int(by), 0]),
    "TranslateY": lambda functional, by: _affine(functional, translate=[0, int(by)]),
    "Rotate": lambda functional, by: (functional.rotate, {"angle": by}),
}
"""Torchvision's function and its arguments, by the operation, for a module of functions and a magnitude."""


def _solarize(image: Any, magnitude: float, functional: ModuleType) -> Any:
    """Invert the values from a threshold on: in v2 a part of the range."""
    bound = (_WHITE if isinstance(image, torch.Tensor) else float(_WHITE)) if functional is f2 else None
    return color.solarize(image, magnitude if bound is None else bound * magnitude, functional)


_COLORS: dict[str, Callable[[Any, float, ModuleType], Any]] = {
    "Identity": lambda image, *_: image,
    "Brightness": lambda image, by, functional: color.adjust_brightness(image, 1.0 + by, functional),
    "Color": lambda image, by, functional: color.adjust_saturation(image, 1.0 + by, functional),
    "Contrast": lambda image, by, functional: color.adjust_contrast(image, 1.0 + by, functional),
    "Sharpness": lambda image, by, functional: color.adjust_sharpness(image, 1.0 + by, functional),
    "Posterize": lambda image, by, functional: color.posterize(image, int(by), functional),
    "Solarize": _solarize,
    "AutoContrast": lambda image, _, functional: color.autocontrast(image, functional),
    "Equalize": lambda image, _, functional: color.equalize(image, functional),
    "Invert": lambda image, _, functional: color.invert(image, functional),
}
"""Functions of an image, a magnitude and a module of functions, by the operation."""


def _trivial(transform: Any, sign: Callable[[float], float]) -> Draw:
    space = Space(transform, transform.num_magnitude_bins)

    def draw(height: int, width: int) -> list[Operation]:
        name = space.names[place_below(len(space.names))]
        magnitudes = space.magnitudes(name, height, width)
        magnitude = 0.0 if magnitudes is None else magnitudes[place_below(len(magnitudes))]
        return [(name, sign(magnitude) if space.is_signed(name) else magnitude)]

    return draw


def _several(transform: Any, sign: Callable[[float], float]) -> Draw:
    space = Space(transform, transform.num_magnitude_bins)

    def draw(height: int, width: int) -> list[Operation]:
        operations = []
        for _ in range(transform.num_ops):
            name = space.names[place_below(len(space.names))]
            magnitudes = space.magnitudes(name, height, width)
            magnitude = 0.0 if magnitudes is None else magnitudes[transform.magnitude]
            operations.append((name, sign(magnitude) if space.is_signed(name) else magnitude))
        return operations

    return draw


def _learned_v1(transform: Any) -> Draw:
    space = Space(transform, _BINS)

    def draw(height: int, width: int) -> list[Operation]:
        policy = transform.policies[place_below(len(transform.policies))]
        # In this order, whatever happens.
        shares, signs = [number_between() for _ in range(2)], [place_below(2) for _ in range(2)]
        operations = []
        for (name, probability, place), share, has_plus in zip(policy, shares, signs, strict=True):
            if share <= in_default_precision(probability):
                magnitude = _magnitude_at(space, name, place, height, width)
                operations.append((name, _signed(magnitude, space.is_signed(name) and not has_plus)))
        return operations

    return draw


def _learned_v2(transform: Any) -> Draw:
    space = Space(transform, _BINS)

    def draw(height: int, width: int) -> list[Operation]:
        operations = []
        for name, probability, place in transform._policies[place_below(len(transform._policies))]:
            if number_between() <= in_default_precision(probability):
                magnitude = _magnitude_at(space, name, place, height, width)
                operations.append((name, _sign_v2(magnitude) if space.is_signed(name) else magnitude))
        return operations

    return draw


def _magnitude_at(space: Space, name: str, place: int | None, height: int, width: int) -> float:
    magnitudes = space.magnitudes(name, height, width)
    return 0.0 if magnitudes is None or place is None else magnitudes[place]


_CHANGEABLE = (
    "_augmentation_space",
    "_AUGMENTATION_SPACE",
    "_PARTIAL_AUGMENTATION_SPACE",
    "_apply_image_or_video_transform",
    "_get_random_item",
    "_sample_dirichlet",
)
"""Attributes that a policy of torchvision's may have, and that a subclass may have changed."""


def _is_known(transform: Any, kind: Any, spec: ImageSpec) -> bool:
    """Whether a policy is torchvision's, and for images that its functions are quicker at."""
    is_changed = any(getattr(type(transform), name, None) is not getattr(kind, name, None) for name in _CHANGEABLE)
    containers = ("pil", "tensor", "image") if isinstance(transform, v2.Transform) else ("pil", "tensor")
    # With other interpolations the first warp fails, when not all numbers have been drawn.
    resample = resample_of(transform.interpolation)
    has_warps = resample is not None and (spec.container == "pil" or resample != Resampling.BICUBIC)
    return (
        not is_changed
        and has_warps
        and spec.dtype == "uint8"
        and spec.shape[0] in (1, 3)
        and spec.container in containers
    )


def _size(image: Any) -> tuple[int, int]:
    height, width = (image.height, image.width) if isinstance(image, PIL.Image.Image) else image.shape[-2:]
    return height, width


def _policy(kind: Any, make_draw: Callable[[Any], Draw]) -> None:
    """Register a policy that applies operations one after another.

    Args:
        kind: The class of torchvision's.
        make_draw: Function that makes one that draws the operations for an image.
    """
    functional = f2 if issubclass(kind, v2.Transform) else f1

    @register_function(kind)
    def policy(transform: Any, spec: ImageSpec, compile_parts: CompileParts) -> Function | None:  # noqa: ARG001
        """Make a quicker policy for bytes."""
        if not _is_known(transform, kind, spec):
            return None
        draw = make_draw(transform)

        def augmented(image: Any) -> Any:
            operations = draw(*_size(image))
            fill = _fill(transform, image)
            for operation in operations:
                image = operated(image, operation, transform.interpolation, fill, functional)
            return image

        return augmented


@register_function(v1.AugMix, v2.AugMix)
def aug_mix(transform: Any, spec: ImageSpec, compile_parts: CompileParts) -> Function | None:  # noqa: ARG001
    """Make a quicker policy that mixes bytes with what several chains of operations make of them."""
    is_v2 = isinstance(transform, v2.Transform)
    if not _is_known(transform, v2.AugMix if is_v2 else v1.AugMix, spec):
        return None
    functional, sign, space = f2 if is_v2 else f1, _sign_v2 if is_v2 else _sign_v1, Space(transform, _BINS)

    def drawn(height: int, width: int) -> Operation:
        name = space.names[place_below(len(space.names))]
        magnitudes = space.magnitudes(name, height, width)
        magnitude = 0.0 if magnitudes is None else magnitudes[place_below(transform.severity)]
        return name, sign(magnitude) if space.is_signed(name) else magnitude

    def mixed(image: Any) -> Any:
        is_pil = isinstance(image, PIL.Image.Image)
        pixels = functional.pil_to_tensor(image) if is_pil else image
        batch = pixels.reshape([1] * max(4 - pixels.ndim, 0) + list(pixels.shape))
        fill = _fill(transform, batch if is_v2 else image)
        of_image = [batch.size(0)] + [1] * (batch.ndim - 1)

        def weights(count: int) -> torch.Tensor:
            drawn_weights: torch.Tensor = transform._sample_dirichlet(
                torch.tensor([transform.alpha] * count, device=batch.device).expand(of_image[0], -1)
            )
            return drawn_weights

        of_both = weights(2)
        of_chains = weights(transform.mixture_width) * of_both[:, 1].reshape([of_image[0], -1])
        mix = of_both[:, 0].reshape(of_image) * batch
        # The functions take no batches of one image, whose strides do not say how it lies.
        first = batch[0] if pixels.ndim == 3 else batch
        for chain in range(transform.mixture_width):
            made = first
            for _ in range(transform.chain_depth if transform.chain_depth > 0 else 1 + place_below(3)):
                made = operated(made, drawn(*_size(pixels)), transform.interpolation, fill, functional)
            mix.add_(of_chains[:, chain].reshape(of_image) * made)
        mix = mix.reshape(pixels.shape).to(dtype=pixels.dtype)
        if is_pil:
            return functional.to_pil_image(mix)
        return tv_tensors.wrap(mix, like=image) if isinstance(image, tv_tensors.Image) else mix

    return mixed


def _fill(transform: Any, image: Any) -> Any:
    """Return the fill of an image, as torchvision's functions take it."""
    if isinstance(transform, v2.Transform):
        return _get_fill(transform._fill, type(image))
    fill = transform.fill
    if isinstance(image, PIL.Image.Image) or fill is None:
        return fill
    return [float(each) for each in ([fill] * image.shape[-3] if isinstance(fill, int | float) else fill)]


_policy(v1.TrivialAugmentWide, lambda transform: _trivial(transform, _sign_v1))
_policy(v2.TrivialAugmentWide, lambda transform: _trivial(transform, _sign_v2))
_policy(v1.RandAugment, lambda transform: _several(transform, _sign_v1))
_policy(v2.RandAugment, lambda transform: _several(transform, _sign_v2))
_policy(v1.AutoAugment, _learned_v1)
_policy(v2.AutoAugment, _learned_v2)
