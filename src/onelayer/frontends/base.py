"""Which handler turns which transform into stages."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Hashable
from typing import Any

from onelayer.algebra import Stage
from onelayer.errors import OnelayerError
from onelayer.image_spec import ImageSpec

Handler = Callable[[Any, ImageSpec], tuple[list[Stage], ImageSpec]]
"""Takes a transform (or a function, or a ``functools.partial`` of one) and what arrives at it; gives its stages and
what leaves it. It raises an OnelayerError for what it cannot do; the transform and its place are added to that."""

HANDLERS: dict[Hashable, Handler] = {}
"""Handlers by the type of a transform, or by the function that is one."""

REGISTER = "Register a handler for it with onelayer.register."

# A subclass with its own version of one of these does something else than its parent.
_DOING = ("__call__", "forward", "transform", "make_params", "get_params", "_call_kernel")


class UnsupportedTransformError(OnelayerError):
    """A transform that cannot be derived: it is random, not affine, unknown, or not given what it takes."""


def register(kind: type | Callable[..., Any]) -> Callable[[Handler], Handler]:
    """Decorate the handler of a kind of transform; a handler that was registered before is replaced.

    Args:
        kind: The class of the transforms, which serves its subclasses too as long as they only differ in how they are
            built; or a function that takes the image first and, through ``functools.partial``, keywords.
    """

    def keep(handler: Handler) -> Handler:
        HANDLERS[kind] = handler
        return handler

    return keep


def registered(*kinds: type | Callable[..., Any]) -> Callable[[Handler], Handler]:
    """Decorate the one handler of several kinds of transforms."""

    def keep(handler: Handler) -> Handler:
        for kind in kinds:
            register(kind)(handler)
        return handler

    return keep


def function_of(transform: Callable[..., Any]) -> Callable[..., Any]:
    """The function behind a partial of it; anything else is returned as it is."""
    return transform.func if isinstance(transform, functools.partial) else transform


def name_of(transform: Callable[..., Any]) -> str:
    """What to call a transform: its class, or the name of the function."""
    function = function_of(transform)
    return function.__name__ if inspect.isroutine(function) else type(transform).__name__


def nearest_kind(transform: Callable[..., Any], kinds: Callable[[type], bool]) -> type | None:
    """The first class a transform inherits from that is one of ``kinds``; None if there is none.

    Raises:
        UnsupportedTransformError: If a class before that one changes what the transform does.
    """
    above = type(transform).__mro__
    for place, kind in enumerate(above):
        if kinds(kind):
            for own in above[:place]:
                if changed := [name for name in _DOING if name in vars(own)]:
                    raise UnsupportedTransformError(
                        f"{own.__name__} inherits from {kind.__name__} but has its own {changed[0]}", hint=REGISTER
                    )
            return kind
    return None


def handler_for(transform: Callable[..., Any]) -> Handler:
    """The handler of a transform.

    Raises:
        UnsupportedTransformError: If there is none.
    """
    function = function_of(transform)
    if isinstance(function, Hashable) and function in HANDLERS:
        return HANDLERS[function]
    own = [name for name in _DOING if name in getattr(transform, "__dict__", {})]
    if own or getattr(transform, "_forward_hooks", None) or getattr(transform, "_forward_pre_hooks", None):
        raise UnsupportedTransformError(
            f"this {name_of(transform)} has {own[0] if own else 'hooks'} of its own, which would be lost", hint=REGISTER
        )
    kind = nearest_kind(transform, HANDLERS.__contains__)
    if kind is None:
        raise UnsupportedTransformError(f"{name_of(transform)} is not a transform that onelayer knows", hint=REGISTER)
    return HANDLERS[kind]


def arguments(transform: Callable[..., Any], *names: str) -> tuple[Any, ...]:
    """What a transform was built with: its attributes of these names, or the keywords of a partial of a function.

    Raises:
        UnsupportedTransformError: If a partial has positional arguments, or keywords that its function does not take.
    """
    function = function_of(transform)
    if not inspect.isroutine(function):
        return tuple(getattr(transform, name) for name in names)
    partial = transform if isinstance(transform, functools.partial) else functools.partial(function)
    if partial.args:
        raise UnsupportedTransformError(
            f"{function.__name__} was given positional arguments", expected="keywords: the image comes first"
        )
    try:
        bound = inspect.signature(function).bind(None, **partial.keywords)
    except TypeError as error:
        raise UnsupportedTransformError(
            f"{function.__name__} cannot be called with {partial.keywords}: {error}",
            hint="Give its arguments as keywords of functools.partial.",
        ) from error
    bound.apply_defaults()
    return tuple(bound.arguments[name] for name in names)
