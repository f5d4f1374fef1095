"""Make functions of torchvision's transforms of colors with random numbers: the original's numbers, our kernels.

Every function draws the numbers that the original draws, in its order. An image that the kernels do not take goes to
the original, before anything is drawn.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import torch
from torchvision import transforms as v1
from torchvision.transforms import functional as f1
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as f2

from onelayer.frontends.base import CompileParts, Function, arguments, function_of, has_function, register_function
from onelayer.frontends.torchvision import color_functions
from onelayer.frontends.torchvision.color_functions import (
    BRIGHTNESS,
    CONTRAST,
    HUE,
    Adjustment,
    adjusted,
    channels_of,
    is_exact,
    is_known,
)
from onelayer.frontends.torchvision.drawn_numbers import in_default_precision, number_between, order_of
from onelayer.image_spec import ImageSpec


def _functions_of(transform: Any) -> ModuleType:
    """Return torchvision's module of functions that a transform calls."""
    functional: ModuleType = f2 if isinstance(transform, v2.Transform) else f1
    return functional


def _takes(spec: ImageSpec) -> bool:
    return spec.dtype == "uint8" and spec.container != "numpy" and spec.shape[0] in (1, 3)


@register_function(v1.ColorJitter, v2.ColorJitter)
def color_jitter(transform: Any, spec: ImageSpec, compile_parts: CompileParts) -> Function | None:  # noqa: ARG001
    """Adjust brightness, contrast, saturation and hue in a random order, in one call of a kernel."""
    if not _takes(spec):
        return None
    functional = _functions_of(transform)

    def jittered(image: Any) -> Any:
        ranges = transform.brightness, transform.contrast, transform.saturation, transform.hue
        has_colors = channels_of(image) == 3
        # Gray has no saturation and no hue, but Pillow copies the image for the one.
        is_copied = not has_colors and ranges[BRIGHTNESS] is None and ranges[CONTRAST] is None
        steps = [step for step, each in enumerate(ranges) if each is not None]
        if is_copied or not is_known(image, functional) or not all(is_exact(step, image, functional) for step in steps):
            return transform(image)
        order, factors = _drawn(ranges)
        adjustments = []
        for step in order:
            factor = factors[step]
            if factor is not None and (has_colors or step in (BRIGHTNESS, CONTRAST)):
                is_turn = step == HUE
                made = Adjustment.turn(image, factor) if is_turn else Adjustment.blend(step, factor)
                adjustments.append(made)
        return adjusted(image, adjustments, functional) if adjustments else image

    return jittered


def _drawn(ranges: tuple[Any, ...]) -> tuple[list[int], list[float | None]]:
    """Draw the order of the adjustments, and the factor of each, by its number."""
    order = order_of(len(ranges))
    return order, [None if each is None else number_between(*each) for each in ranges]


def _happens(transform: Any) -> bool:
    """Draw whether a transform with a probability acts, as it does itself."""
    number = number_between()
    if isinstance(transform, v2.Transform):
        return not number >= in_default_precision(transform.p)
    if isinstance(transform, v1.RandomGrayscale):
        return number < in_default_precision(transform.p)
    return bool(number < transform.p)


_WITH_PROBABILITY: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] = {
    "RandomGrayscale": (color_functions.to_luma, ()),
    "RandomInvert": (color_functions.invert, ()),
    "RandomPosterize": (color_functions.posterize, ("bits",)),
    "RandomSolarize": (color_functions.solarize, ("threshold",)),
    "RandomAutocontrast": (color_functions.autocontrast, ()),
    "RandomEqualize": (color_functions.equalize, ()),
    "RandomAdjustSharpness": (color_functions.adjust_sharpness, ("sharpness_factor",)),
}
"""Functions of transforms with a probability, and the attributes that they take."""


@register_function(*(getattr(library, name) for library in (v1, v2) for name in _WITH_PROBABILITY))
def with_probability(transform: Any, spec: ImageSpec, compile_parts: CompileParts) -> Function | None:  # noqa: ARG001
    """Change an image now and then."""
    if not _takes(spec):
        return None
    kind = next(kind.__name__ for kind in type(transform).__mro__ if kind.__name__ in _WITH_PROBABILITY)
    function, names = _WITH_PROBABILITY[kind]
    functional = _functions_of(transform)

    def changed(image: Any) -> Any:
        if not is_known(image, functional):
            return transform(image)
        if not _happens(transform):
            return image
        return function(image, *(getattr(transform, name) for name in names), functional=functional)

    return changed


_OF_NUMBERS: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] = {
    "adjust_contrast": (color_functions.adjust_contrast, ("contrast_factor",)),
    "adjust_saturation": (color_functions.adjust_saturation, ("saturation_factor",)),
    "adjust_hue": (color_functions.adjust_hue, ("hue_factor",)),
    "adjust_sharpness": (color_functions.adjust_sharpness, ("sharpness_factor",)),
    "autocontrast": (color_functions.autocontrast, ()),
    "equalize": (color_functions.equalize, ()),
}
"""Functions that are no layers, and the arguments that they take."""


@register_function(*(getattr(functional, name) for functional in (f1, f2) for name in _OF_NUMBERS))
def of_numbers(transform: Any, spec: ImageSpec, compile_parts: CompileParts) -> Function | None:  # noqa: ARG001
    """Change an image as a function with fixed arguments does."""
    if not _takes(spec):
        return None
    original = function_of(transform)
    function, names = _OF_NUMBERS[original.__name__]
    functional = f1 if original.__module__ == f1.__name__ else f2
    numbers = arguments(transform, *names)
    return lambda image: function(image, *numbers, functional=functional)


def _lies_as_original(transforms: Any, spec: ImageSpec) -> bool:
    """Whether what layers of some transforms make of images lies in memory as what the transforms make of them."""
    return spec.container == "pil" or (spec.container != "numpy" and all(map(has_function, transforms)))


@register_function(v1.RandomApply, v2.RandomApply)
def random_apply(transform: Any, spec: ImageSpec, compile_parts: CompileParts) -> Function | None:
    """Apply transforms now and then."""
    if not _lies_as_original(transform.transforms, spec):
        return None
    layer = compile_parts(list(transform.transforms))
    is_v1 = isinstance(transform, v1.RandomApply)

    def applied(image: Any) -> Any:
        number, probability = number_between(), in_default_precision(transform.p)
        return image if (probability < number if is_v1 else number >= probability) else layer(image)

    return applied


@register_function(v1.RandomChoice, v2.RandomChoice)
def random_choice(transform: Any, spec: ImageSpec, compile_parts: CompileParts) -> Function | None:
    """Apply one of several transforms."""
    if not _lies_as_original(transform.transforms, spec):
        return None
    layers = [compile_parts([part]) for part in transform.transforms]
    if isinstance(transform, v1.RandomChoice):
        return lambda image: random.choices(layers, weights=transform.p)[0](image)  # noqa: S311 - as the original
    return lambda image: layers[int(torch.multinomial(torch.tensor(transform.p), 1))](image)


@register_function(v1.RandomOrder, v2.RandomOrder)
def random_order(transform: Any, spec: ImageSpec, compile_parts: CompileParts) -> Function | None:
    """Apply several transforms in a random order."""
    if not _lies_as_original(transform.transforms, spec):
        return None
    layers = [compile_parts([part]) for part in transform.transforms]
    return partial(_in_order_of_v1 if isinstance(transform, v1.RandomOrder) else _in_order_of_v2, layers)


def _in_order_of_v1(layers: list[Function], image: Any) -> Any:
    order = list(range(len(layers)))
    random.shuffle(order)
    for place in order:
        image = layers[place](image)
    return image


def _in_order_of_v2(layers: list[Function], image: Any) -> Any:
    for place in order_of(len(layers)):
        image = layers[place](image)
    return image
