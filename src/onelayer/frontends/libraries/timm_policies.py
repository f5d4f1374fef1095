"""Augment as timm's ``auto_augment`` does, with its random numbers and its bits, and a kernel for each operation.

timm's own code draws all numbers: it runs on objects that share all attributes of a policy and its operations, but for
the functions of pixels. Functions, and subclasses of an operation, that are not timm's are called as they are. Source:
``timm/data/auto_augment.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray
from torchvision.transforms import functional as f1

from onelayer.errors import OnelayerError
from onelayer.frontends.base import CompileParts, Function, kind_of, qualified_name, register_function
from onelayer.frontends.torchvision import color_functions as color
from onelayer.frontends.torchvision.warp_functions import as_recorded
from onelayer.image_spec import ImageSpec

_MODULE = "timm.data.auto_augment"
_OPERATION = f"{_MODULE}.AugmentOp"
_WHITE = 255


def _warped(function: Callable[..., Any], image: PIL.Image.Image, *arguments: Any, **keywords: Any) -> Any:
    return as_recorded(image, function, *arguments, **keywords)


def _posterize(image: PIL.Image.Image, bits: int) -> Any:
    return image if bits >= 8 else color.posterize(image, bits, f1)


@lru_cache(maxsize=256)
def _table_that_adds(number: int, threshold: int) -> NDArray[np.uint8]:
    values = np.arange(_WHITE + 1)
    return np.where(values < threshold, np.minimum(values + number, _WHITE), values).astype(np.uint8)


def _solarize_add(image: PIL.Image.Image, number: int, thresh: int = 128) -> Any:
    return color.looked_up(image, _table_that_adds(number, thresh))


_COLORS: dict[str, Callable[..., Any]] = {
    "auto_contrast": lambda image: color.autocontrast(image, f1),
    "invert": lambda image: color.invert(image, f1),
    "equalize": lambda image: color.equalize(image, f1),
    "solarize": lambda image, threshold: color.solarize(image, threshold, f1),
    "solarize_add": _solarize_add,
    "posterize": _posterize,
    "contrast": lambda image, factor: color.adjust_contrast(image, factor, f1),
    "color": lambda image, factor: color.adjust_saturation(image, factor, f1),
    "brightness": lambda image, factor: color.adjust_brightness(image, factor, f1),
    "sharpness": lambda image, factor: color.adjust_sharpness(image, factor, f1),
    "desaturate": lambda image, by: color.adjust_saturation(image, min(1.0, max(0.0, 1.0 - by)), f1),
}
"""Quicker functions of an image and what timm makes of a level, by the names of timm's."""


def _recolored(
    name: str, function: Callable[..., Any], image: PIL.Image.Image, *arguments: Any, **for_warps: Any
) -> Any:
    """Apply a function of colors of timm's, which ignores keywords that are for warps."""
    if not color.is_known(image, f1):
        return function(image, *arguments, **for_warps)
    return _COLORS[name](image, *arguments)


_QUICKER: dict[str, Callable[..., Any]] = {
    **{f"{_MODULE}.{name}": partial(_recolored, name) for name in _COLORS},
    **{
        f"{_MODULE}.{name}": _warped
        for name in ("shear_x", "shear_y", "translate_x_rel", "translate_y_rel", "translate_x_abs", "translate_y_abs")
    },
    f"{_MODULE}.rotate": _warped,
}
"""Functions that take one of timm's functions and its arguments, by the qualified name of timm's."""


def _with_attribute(original: Any, name: str, make: Callable[[Any], Any]) -> Any:
    """Return an object of a subclass that shares all attributes of another, but for one that is made of the original's.

    Args:
        original: The other object.
        name: Name of the attribute.
        make: Function that makes its value.
    """
    kind = type(original)
    subclass = type(kind.__name__, (kind,), {name: property(lambda self: make(vars(self)[name]))})
    made: Any = object.__new__(subclass)
    vars(original)[name]  # An object without the attribute fails here, and not when it is called.
    made.__dict__ = vars(original)
    return made


def _quicker_function(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a quicker function for one of timm's, and any other as it is."""
    quicker = _QUICKER.get(qualified_name(function))
    return function if quicker is None else partial(quicker, function)


def _quicker_operation(operation: Any) -> Any:
    """Return a quicker operation for one of timm's, and any other as it is."""
    try:
        kind_of(operation, {_OPERATION})
    except OnelayerError:
        return operation
    return _with_attribute(operation, "aug_fn", _quicker_function)


class _QuickerOperations:
    """Makes a list of quicker operations, once for each list that there is: a policy's may be changed.

    Args:
        make: Function that makes it.
    """

    def __init__(self, make: Callable[[Sequence[Any]], Any]) -> None:
        self._make = make
        self._given: list[Any] | None = None
        self._made: Any = None

    def __call__(self, given: Sequence[Any]) -> Any:
        """Return the quicker operations."""
        if self._given != (present := [list(each) if isinstance(each, list | tuple) else each for each in given]):
            self._made, self._given = self._make(present), present
        return self._made


def _as_array(operations: Sequence[Any]) -> NDArray[np.object_]:
    # NumPy chooses from an array, and would make one of a list each time.
    made = np.empty(len(operations), object)
    made[:] = [_quicker_operation(each) for each in operations]
    return made


def _as_lists(policies: Sequence[Any]) -> list[list[Any]]:
    return [[_quicker_operation(each) for each in policy] for policy in policies]


def _takes(spec: ImageSpec) -> bool:
    return spec.container == "pil" and spec.dtype == "uint8" and spec.shape[0] in (1, 3)


@register_function(_OPERATION)
def operation(transform: Any, spec: ImageSpec, compile_parts: CompileParts) -> Function | None:  # noqa: ARG001
    """Make a quicker operation."""
    made: Function | None = _quicker_operation(transform) if _takes(spec) else None
    return made


@register_function(f"{_MODULE}.RandAugment", f"{_MODULE}.AugMixAugment")
def policy_of_operations(transform: Any, spec: ImageSpec, compile_parts: CompileParts) -> Function | None:  # noqa: ARG001
    """Make a quicker policy that applies operations of a list."""
    made: Function = _with_attribute(transform, "ops", _QuickerOperations(_as_array))
    return made if _takes(spec) else None


@register_function(f"{_MODULE}.AutoAugment")
def learned_policy(transform: Any, spec: ImageSpec, compile_parts: CompileParts) -> Function | None:  # noqa: ARG001
    """Make a quicker policy that applies the operations of one of several lists."""
    made: Function = _with_attribute(transform, "policy", _QuickerOperations(_as_lists))
    return made if _takes(spec) else None
