"""The registry of handlers: which function derives which transform.

A front end is a module or a package per library. It registers a handler for each of the library's transforms;
everything else finds the handlers here.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Container, Hashable, Sequence
from typing import Any, TypeVar

from onelayer.algebra import Stage
from onelayer.errors import OnelayerError
from onelayer.frontends.placement import Step
from onelayer.image_spec import ImageSpec, RoundingMode

Derivation = tuple[list[Stage], ImageSpec]
"""The stages of a transform, and the output spec."""

RealHandler = Callable[[Any, ImageSpec], Derivation]
"""``handler(transform, spec)``: the stages in real arithmetic. They are bit exact as they are where every stage copies
pixels or looks up whole numbers; ``exact`` rounding is refused for all others."""

RoundingHandler = Callable[[Any, ImageSpec, RoundingMode], Derivation]
"""``handler(transform, spec, rounding)``: for ``fused`` the stages in real arithmetic; for ``exact`` those with every
rounding of the original, or :func:`not_bit_exact`."""

Handler = RealHandler | RoundingHandler
"""Takes a transform (or a function, or a ``functools.partial`` of one) and the spec of the image that arrives at it. It
raises an OnelayerError for what it cannot derive; the transform and its index are added to that."""

H = TypeVar("H", bound=Handler)

Kind = type | Callable[..., Any] | str
"""The class of a transform, or the function that is one; or the qualified name of either, as in
``timm.data.transforms.MaybeToTensor``, so that a library that may not be there is never imported."""

HANDLERS: dict[Hashable, RoundingHandler] = {}
"""Handlers by the kinds of transforms."""

ANY_SIZE: set[Hashable] = set()
"""Kinds of transforms whose stages act on each pixel alone and are the same for images of every size."""

STEPS: dict[Hashable, Callable[[Any, ImageSpec], Step]] = {}
"""For kinds of transforms that move and resize rows and columns, functions that state them for images of any size."""

SEQUENCES: dict[Hashable, Callable[[Any, ImageSpec], Sequence[Any]]] = {}
"""For kinds of transforms that are a sequence of others, functions that list these."""

Draw = Callable[[], object]
"""Draws random numbers as a transform does, and drops them."""

DRAWS: dict[Hashable, Callable[[Any], Sequence[Draw]]] = {}
"""For kinds of transforms that draw random numbers though their result is fixed, functions that list what they draw."""

Function = Callable[[Any], Any]
"""Takes an image and returns another."""

CompileParts = Callable[[Sequence[Any]], Function]
"""Makes a layer of several transforms."""

MakeFunction = Callable[[Any, ImageSpec, CompileParts], Function | None]
"""Makes a function that does what a transform does with images of a kind; None for kinds that it is not known for."""

FUNCTIONS: dict[Hashable, MakeFunction] = {}
"""For kinds of transforms that are no layers, such as a color jitter, functions that make quicker ones of them."""

LEAVE = "Or compile without fullgraph=True, which leaves this transform to its library."
REGISTER = (
    "Compile without fullgraph=True, which calls it as it is, between compiled neighbours; or register a handler for "
    "it with onelayer.register."
)

# A subclass that overrides one of these does something else than its parent.
_BEHAVIOUR = ("__call__", "forward", "transform", "make_params", "get_params", "_call_kernel")


class UnsupportedTransformError(OnelayerError):
    """A transform that cannot be derived: random, not affine, unknown, or used in another way than its library's."""


UNREADABLE = (OnelayerError, ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""Errors that come of transforms with arguments that no handler expects."""


def unreadable(transform: Any, error: Exception) -> UnsupportedTransformError:
    """Make the error for a transform whose handler failed on its arguments."""
    return UnsupportedTransformError(
        f"the arguments of {name_of(transform)} were not understood: {type(error).__name__}: {error}"
    )


def not_bit_exact(problem: str, expected: str) -> UnsupportedTransformError:
    """Make the error of a handler that does not know how the original rounds.

    Args:
        problem: What was asked for, as the subject of a sentence.
        expected: What is known bit for bit.
    """
    return UnsupportedTransformError(
        f"{problem} cannot be reproduced bit for bit",
        expected=expected,
        hint=f"Use rounding='fused' for real arithmetic. {LEAVE}",
    )


def register(*kinds: Kind, any_size: bool = False) -> Callable[[H], H]:
    """Decorate the handler of one or more kinds of transforms; a handler that was registered before is replaced.

    A handler of two arguments states real arithmetic; one with a third, named ``rounding``, states both roundings. See
    :data:`RealHandler` and :data:`RoundingHandler`.

    Args:
        kinds: Classes of transforms, each of which serves its subclasses too as long as they only differ in how they
            are built; or functions that take the image first and, through ``functools.partial``, keywords; or
            qualified names of these, such as ``"timm.data.transforms.MaybeToTensor"``.
        any_size: Whether the stages act on each pixel alone, and are the same for images of every height and width.
            Only then can pipelines with the transform run without a plan for each size.

    Raises:
        OnelayerError: If the handler takes other arguments.
    """

    def keep(handler: H) -> H:
        parameters = tuple(inspect.signature(handler).parameters)
        if len(parameters) != 2 and parameters[2:] != ("rounding",):
            raise OnelayerError(
                f"a handler with the arguments {', '.join(parameters)} was registered",
                expected="handler(transform, spec) or handler(transform, spec, rounding)",
            )
        complete: Any = handler if len(parameters) == 3 else _of_real_arithmetic(handler)  # type: ignore[arg-type]
        for kind in kinds:
            _forget(kind)
            HANDLERS[kind] = complete
        if any_size:
            ANY_SIZE.update(kinds)
        return handler

    return keep


MakeStep = TypeVar("MakeStep", bound=Callable[[Any, ImageSpec], Step])
MakeSequence = TypeVar("MakeSequence", bound=Callable[[Any, ImageSpec], Sequence[Any]])


def register_step(*kinds: Kind) -> Callable[[MakeStep], MakeStep]:
    """Decorate a function that states kinds of transforms as a :class:`~onelayer.frontends.placement.Step`.

    It takes the transform and the spec of an image of which the height and the width mean nothing.

    Args:
        kinds: As in :func:`register`.
    """

    def keep(make: MakeStep) -> MakeStep:
        def handle(transform: Any, spec: ImageSpec, rounding: RoundingMode) -> Derivation:
            return make(transform, spec).stages(spec, rounding)

        for kind in kinds:
            _forget(kind)
            HANDLERS[kind], STEPS[kind] = handle, make
        return make

    return keep


def register_sequence(*kinds: Kind) -> Callable[[MakeSequence], MakeSequence]:
    """Decorate a function that lists the transforms that kinds of transforms consist of, in order.

    It takes the transform and the spec of an image of which the height and the width mean nothing.

    Args:
        kinds: As in :func:`register`.
    """

    def keep(expand: MakeSequence) -> MakeSequence:
        def handle(transform: Any, spec: ImageSpec, rounding: RoundingMode) -> Derivation:
            stages: list[Stage] = []
            for part in expand(transform, spec):
                added, spec = stages_of(part, spec, rounding)
                stages += added
            return stages, spec

        for kind in kinds:
            _forget(kind)
            HANDLERS[kind], SEQUENCES[kind] = handle, expand
        return expand

    return keep


MakeDraws = TypeVar("MakeDraws", bound=Callable[[Any], Sequence[Draw]])


def register_draws(*kinds: Kind) -> Callable[[MakeDraws], MakeDraws]:
    """Decorate a function that lists what kinds of transforms draw each time that they are called.

    Args:
        kinds: Classes that have a handler.
    """

    def keep(make: MakeDraws) -> MakeDraws:
        DRAWS.update(dict.fromkeys(kinds, make))
        return make

    return keep


def register_function(*kinds: Kind) -> Callable[[MakeFunction], MakeFunction]:
    """Decorate a function that makes quicker functions of kinds of transforms that are no layers.

    What it makes takes an image of the spec that it was made for, of any height and width. It returns what the
    transform returns, bit for bit, and leaves random generators as the transform does. Images that it cannot do it
    hands to the transform, before it draws anything.

    Args:
        kinds: As in :func:`register`.
    """

    def keep(make: MakeFunction) -> MakeFunction:
        FUNCTIONS.update(dict.fromkeys(kinds, make))
        return make

    return keep


def quicker_function(transform: Any, spec: ImageSpec, compile_parts: CompileParts) -> Function | None:
    """Make a function that does what a transform does, only quicker; None where none is registered.

    Args:
        transform: The transform.
        spec: The image that arrives; its height and width mean nothing.
        compile_parts: Function that compiles transforms that the transform consists of.
    """
    try:
        make = FUNCTIONS[kind_of(transform, FUNCTIONS)]
        return make(transform, spec, compile_parts)
    except UNREADABLE:
        return None


def has_function(transform: Any) -> bool:
    """Whether there may be a quicker function for a transform."""
    try:
        return kind_of(transform, FUNCTIONS) is not None
    except OnelayerError:
        return False


def draws_of(transforms: Sequence[Any], spec: ImageSpec) -> tuple[Draw, ...]:
    """List what transforms draw, in order; none of them contains others but by a sequence that is registered.

    Args:
        transforms: The transforms, which can be derived.
        spec: The image that arrives; its height and width mean nothing.
    """
    draws: list[Draw] = []
    for transform in transforms:
        kind = kind_of(transform)
        draws += DRAWS[kind](transform) if kind in DRAWS else ()
        draws += draws_of(SEQUENCES[kind](transform, spec), spec) if kind in SEQUENCES else ()
    return tuple(draws)


def _forget(kind: Hashable) -> None:
    ANY_SIZE.discard(kind)
    for registry in (HANDLERS, STEPS, SEQUENCES):
        registry.pop(kind, None)


def _of_real_arithmetic(handler: RealHandler) -> RoundingHandler:
    @functools.wraps(handler)
    def handle(transform: Any, spec: ImageSpec, rounding: RoundingMode) -> Derivation:
        stages, output = handler(transform, spec)
        if rounding == "exact":
            require_no_rounding(stages, spec)
        return stages, output

    return handle


def require_no_rounding(stages: Sequence[Stage], spec: ImageSpec) -> None:
    """Refuse stages in real arithmetic that are not bit exact as they are.

    Raises:
        UnsupportedTransformError: If one of them computes values, which the original rounds in some way.
    """
    if not all(_rounds_nothing(stage, spec) for stage in stages):
        raise not_bit_exact(
            "its rounding is not known, and its result",
            "a transform whose every rounding is known, as uint8 images need by default",
        )


def _rounds_nothing(stage: Stage, spec: ImageSpec) -> bool:
    """Whether every output value is an input value, a whole number of a table, or a constant that needs no rounding."""
    return stage.copies_values and (spec.is_float or stage.keeps_integers)


def stages_of(transform: Callable[..., Any], spec: ImageSpec, rounding: RoundingMode) -> Derivation:
    """Derive one transform with its handler.

    Raises:
        OnelayerError: If it has no handler, or the handler cannot derive it for such images, or not bit for bit.
    """
    return HANDLERS[kind_of(transform)](transform, spec, rounding)


def function_of(transform: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function behind a partial of it, and anything else as it is."""
    return transform.func if isinstance(transform, functools.partial) else transform


def name_of(transform: Callable[..., Any]) -> str:
    """Name a transform after its class, or after the function that it is."""
    function = function_of(transform)
    return function.__name__ if inspect.isroutine(function) or isinstance(function, type) else type(transform).__name__


def refuse_class(transform: Any) -> None:
    """Refuse a class in place of its instance.

    Raises:
        UnsupportedTransformError: For a class, or a ``functools.partial`` of one.
    """
    kind = function_of(transform)
    if isinstance(kind, type):
        raise UnsupportedTransformError(
            f"the class {kind.__name__} was given in place of a transform",
            expected=f"an instance of it, {kind.__name__}(…)",
            hint="Call the class with its arguments, as in v2.Resize(224).",
        )


def qualified_name(kind: Any) -> str:
    """Return the qualified name that a class or a function can be registered by."""
    return f"{getattr(kind, '__module__', None)}.{getattr(kind, '__qualname__', None)}"


def _registered(kind: Any, kinds: Container[Hashable]) -> Hashable | None:
    """Return what a class or a function is registered as, itself or its name; None if it is not."""
    try:
        if kind in kinds:
            known: Hashable = kind
            return known
    except TypeError:
        # A transform without a hash, or with an argument that has none.
        return None
    return name if (name := qualified_name(kind)) in kinds else None


def nearest_kind(transform: Callable[..., Any], kinds: Container[Hashable]) -> Hashable | None:
    """Find the first class in a transform's method resolution order that is one of ``kinds``; None without one.

    Raises:
        UnsupportedTransformError: If a class before that one changes what the transform does.
    """
    above = type(transform).__mro__
    for index, kind in enumerate(above):
        if (found := _registered(kind, kinds)) is not None:
            for subclass in above[:index]:
                if changed := [name for name in _BEHAVIOUR if name in vars(subclass)]:
                    raise UnsupportedTransformError(
                        f"{subclass.__name__} inherits from {kind.__name__} but has its own {changed[0]}", hint=REGISTER
                    )
            return found
    return None


def has_hooks(transform: object) -> bool:
    """Whether a module has hooks, which would be lost where it is not called."""
    return bool(getattr(transform, "_forward_hooks", None) or getattr(transform, "_forward_pre_hooks", None))


def kind_of(transform: Callable[..., Any], kinds: Container[Hashable] = HANDLERS) -> Hashable:
    """Find the kind of a transform: the class, or the function, that is registered.

    Args:
        transform: The transform.
        kinds: Kinds that are registered.

    Raises:
        UnsupportedTransformError: If there is none.
    """
    refuse_class(transform)
    if (found := _registered(function_of(transform), kinds)) is not None:
        return found
    patched = [name for name in _BEHAVIOUR if name in getattr(transform, "__dict__", {})]
    if patched or has_hooks(transform):
        raise UnsupportedTransformError(
            f"this {name_of(transform)} has {patched[0] if patched else 'hooks'} of its own, which would be lost",
            hint=REGISTER,
        )
    kind = nearest_kind(transform, kinds)
    if kind is None:
        raise UnsupportedTransformError(f"{name_of(transform)} is not a transform that onelayer knows", hint=REGISTER)
    return kind


def arguments(transform: Callable[..., Any], *names: str) -> tuple[Any, ...]:
    """Read a transform's arguments: attributes of these names, or the keywords of a partial of a function.

    Raises:
        UnsupportedTransformError: If a partial has positional arguments, or keywords that its function does not take.
    """
    function = function_of(transform)
    if not inspect.isroutine(function):
        return tuple(getattr(transform, name) for name in names)
    partial = transform if isinstance(transform, functools.partial) else functools.partial(function)
    if partial.args:
        raise UnsupportedTransformError(
            f"{function.__name__} has positional arguments, of which the first would be the image",
            expected="keywords of functools.partial",
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
