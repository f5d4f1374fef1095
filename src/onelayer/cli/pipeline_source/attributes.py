"""What an attribute of a user's module is: a transform, something that makes one, or neither."""

from __future__ import annotations

import difflib
import inspect
from types import ModuleType
from typing import Any

from onelayer.cli.pipeline_source.loading import naming_errors
from onelayer.errors import OnelayerError
from onelayer.frontends import Transform
from onelayer.frontends.base import function_of
from onelayer.pipelines import Pipeline

_LISTED = 12
"""Attributes named in an error."""

_EXPECTED = "a transform, or a class or function that makes one when it is called without arguments"


def attribute_of(module: ModuleType, dotted: str) -> Any:
    """The object behind a dotted name.

    Raises:
        OnelayerError: If there is none; it lists what could have been meant.
    """
    found: Any = module
    for name in dotted.split("."):
        with naming_errors(f"{_name(found)}, asked for {name},"):
            there = hasattr(found, name)
        if not there:
            known = _transforms_in(found)
            near = difflib.get_close_matches(name, known, n=1)
            listed = ", ".join(known[:_LISTED]) + (", …" if len(known) > _LISTED else "")
            raise OnelayerError(
                f"{_name(found)} has no attribute {name!r}",
                expected=f"one of {listed}" if known else _EXPECTED,
                hint=f"Did you mean {near[0]}?" if near else None,
            )
        found = getattr(found, name)
    return found


def transform_of(found: Any, text: str) -> Pipeline | Transform:
    """The transform that an object is or makes.

    A class, a function or a partial that can be called without arguments is called, and what it gives is the
    transform; a function that needs one is a transform itself, and so is any other object that can be called.

    Args:
        found: The object.
        text: What it was named by, for errors.

    Raises:
        OnelayerError: If it neither is nor makes a transform, or raises.
    """
    if isinstance(found, Pipeline):
        return found
    if not callable(found):
        raise OnelayerError(f"{text} is {_a(type(found))}, and cannot be called", expected=_EXPECTED)
    if _makes_one(found):
        with naming_errors(f"{text}, called without arguments,"):
            made = found()
        if isinstance(made, Pipeline):
            return made
        if callable(made) and not inspect.isclass(made):
            transform: Transform = made
            return transform
        raise OnelayerError(
            f"{text}, called without arguments, gives {_a(type(made))}",
            expected="a transform",
            hint="A function that is a transform itself takes the image as its first argument, without a default.",
        )
    if inspect.isclass(found) or not _takes(found, object()):
        signature = str(inspect.signature(found))
        raise OnelayerError(
            f"{text} takes {signature}, not an image alone",
            expected=_EXPECTED,
            hint="Name an object, or give the other arguments with functools.partial.",
        )
    itself: Transform = found
    return itself


def _makes_one(found: Any) -> bool:
    function = function_of(found)
    return (inspect.isclass(function) or inspect.isroutine(function)) and _takes(found)


def _takes(function: Any, *arguments: object) -> bool:
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError:
        return False
    except ValueError:  # a function in C that does not tell: torch's take an image
        return bool(arguments)
    return True


def _transforms_in(place: Any) -> list[str]:
    """Public names in a module, or of an object, that are or make transforms."""
    home = place.__name__ if isinstance(place, ModuleType) else None
    members = getattr(place, "__dict__", {}).items()
    return sorted(name for name, value in members if not name.startswith("_") and _is_or_makes(value, home))


def _is_or_makes(value: Any, home: str | None) -> bool:
    if not (inspect.isclass(value) or inspect.isroutine(value)):
        # What a module imported for its annotations can be called too.
        return callable(value) and type(value).__module__ != "typing"
    # What a module imported to build its transforms is not meant.
    own = home is None or str(getattr(value, "__module__", None)).startswith(home)
    # `dir` of a class, unlike `hasattr`, does not see that the class itself can be called.
    return own and (not inspect.isclass(value) or (_takes(value) and "__call__" in dir(value)))


def _name(found: Any) -> str:
    if isinstance(found, ModuleType):
        return str(getattr(found, "__file__", None) or found.__name__)
    return str(getattr(found, "__qualname__", None) or _a(type(found)))


def _a(kind: type) -> str:
    return f"a value of type {kind.__name__}"
