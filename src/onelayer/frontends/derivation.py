"""A pipeline of transform objects as a program."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

from torch import nn
from torchvision import transforms as v1
from torchvision.transforms import v2

from onelayer.algebra import Lookup, Program, Quantize, Stage
from onelayer.algebra.integers import keeps_integers
from onelayer.errors import OnelayerError
from onelayer.frontends.base import (
    REGISTER,
    UnsupportedTransformError,
    function_of,
    handler_for,
    name_of,
    nearest_kind,
)
from onelayer.frontends.bit_exact import exact_stages
from onelayer.image_spec import Derived, ImageSpec, RoundingMode, Step

_SEQUENCES: dict[type, Callable[[Any], Iterable[Callable[..., Any]]]] = {
    v1.Compose: lambda compose: compose.transforms,
    v2.Compose: lambda compose: compose.transforms,
    nn.Sequential: iter,
}


Transform = Callable[..., Any]


def derive(transform: Transform, given: ImageSpec, rounding: RoundingMode = "fused") -> Derived:
    """Read the operators off a transform or a pipeline of transforms.

    Values are in the units of the tensors: 0 … 255 for uint8. Where rounding is ``fused`` they are real numbers.
    Saturation that torchvision does stays in the program, once per transform. Between the two passes of one resize,
    where Pillow and PyTorch round and saturate uint8 values too, both are left out: with bicubic and Lanczos filters an
    image that overshoots in the first pass can differ by far more than the rounding (31 levels were seen on small
    images of uint8 noise). Where it is ``exact`` every rounding that the libraries do stays where they do it.

    Args:
        transform: A transform, a function or a ``functools.partial`` of one, or a ``Compose`` or ``nn.Sequential``
            of these, nested as you like.
        given: What arrives at the first transform.
        rounding: ``fused`` or ``exact``.

    Raises:
        UnsupportedTransformError: For a transform that cannot be derived, or not bit for bit where that is asked for,
            with its name and place.
    """
    return derive_parts(parts_of(transform), given, rounding)


def derive_parts(parts: Iterable[Any], given: ImageSpec, rounding: RoundingMode) -> Derived:
    """Like :func:`derive`, for transforms in order; none of them is a container of others."""
    stages_of = {"fused": _fused_stages, "exact": exact_stages}[rounding]
    steps: list[Step] = []
    stages: list[Stage] = []
    current = given
    for place, part in enumerate(parts):
        name = name_of(part)
        try:
            own, after = stages_of(part, current)
            if own and after.container == "image" and _returns_plain_tensors(part):
                after = replace(after, container="tensor")
            _check_shape(own, current, after)
            if rounding == "fused":
                _check_look_ups(stages, own)
        except OnelayerError as error:
            raise UnsupportedTransformError(
                error.problem,
                expected=error.expected,
                hint=error.hint or REGISTER,
                transform=name,
                stage=place,
                shape=current.shape,
                dtype=current.dtype,
            ) from error
        taken = range(len(stages), len(stages) + len(own))
        steps.append(Step(name, part, place, taken, before=current, after=after))
        stages += own
        current = after
    if rounding == "fused" and not current.is_float and not (stages and isinstance(stages[-1], Quantize)):
        stages.append(Quantize("half_even"))
    return Derived(Program(given.shape, tuple(stages)), tuple(steps), given, current)


def parts_of(transform: Transform) -> tuple[Transform, ...]:
    """The transforms of a pipeline in order, out of nested containers."""
    return tuple(_flattened(transform))


def _returns_plain_tensors(part: Transform) -> bool:
    # The functions of v1 work through tensor operations, which do not keep the subclass.
    module = getattr(function_of(part), "__module__", None) or type(part).__module__
    return module.startswith("torchvision.transforms.") and not module.startswith("torchvision.transforms.v2")


def _flattened(transform: Transform) -> Iterator[Transform]:
    try:
        kind = nearest_kind(transform, _SEQUENCES.__contains__)
    except UnsupportedTransformError:
        # A container that does more than its parent is a transform of its own, for which there may be a handler.
        kind = None
    if kind is None:
        yield transform
        return
    for part in _SEQUENCES[kind](transform):
        yield from _flattened(part)


def _fused_stages(part: Any, given: ImageSpec) -> tuple[list[Stage], ImageSpec]:
    return handler_for(part)(part, given)


def _check_shape(own: list[Stage], given: ImageSpec, after: ImageSpec) -> None:
    out_shape = Program(given.shape, tuple(own)).out_shape
    if out_shape != after.shape:
        raise OnelayerError(
            f"the handler's stages give images {out_shape}, but it says {after.shape}", expected="equal shapes"
        )


def _check_look_ups(before: list[Stage], own: list[Stage]) -> None:
    if any(isinstance(stage, Lookup) for stage in own) and not all(map(keeps_integers, before)):
        raise OnelayerError(
            "a look-up table takes whole numbers, and without rounding the steps before it give others",
            hint="Put it before the steps that compute new values, or use rounding='exact'.",
        )
