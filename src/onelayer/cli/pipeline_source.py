"""Find the pipeline that PIPELINE names: built in, in a module, in a file, or of torchvision's weights.

Importing this imports neither torch nor torchvision, and :func:`check_pipeline` refuses most mistakes without them.
"""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from onelayer.cli.user_code import check_place, imports_only_libraries, is_path, load, naming_errors
from onelayer.errors import OnelayerError, did_you_mean

if TYPE_CHECKING:
    from onelayer.frontends import Transform
    from onelayer.pipelines import Pipeline
    from onelayer.records import Shape

BUILT_IN = (
    "cifar10",
    "clip",
    "convnext-tiny",
    "dinov2",
    "efficientnet-b0",
    "efficientnet-v2-s",
    "hf-vit",
    "keras-caffe",
    "keras-tf",
    "medical",
    "mnist",
    "report",
    "resnet50",
    "sam",
    "siglip",
    "swin-t",
    "timm-resnet50-a1",
    "timm-vit",
    "vit-b-16",
    "yolo",
)
"""The names of :mod:`onelayer.pipelines`, which takes seconds to import."""

_OTHER_FORMS = "module:attribute, file.py:attribute or torchvision:ResNet50_Weights.IMAGENET1K_V2"
_FORMS = f"a built-in name, {_OTHER_FORMS}"
_TRANSFORM = "a transform, or a class or function that makes one when it is called without arguments"
_LISTED = 12
"""Attributes named in an error."""
_SUFFIX = "_Weights"
"""End of the names of torchvision's weights."""
_NEAR = 0.5
"""Similarity at which a name is suggested, lower than usual: names of models are short."""


@dataclass(frozen=True)
class FoundPipeline:
    """A pipeline, or any function of images.

    Args:
        name: The text that it was found by.
        transform: Function of one image.
        usual_shape: Channels, height and width of its usual images; None where nothing says so.
    """

    name: str
    transform: Transform
    usual_shape: Shape | None


def check_pipeline(text: str, *, has_shape: bool = True) -> None:
    """Refuse a PIPELINE that cannot be found, as far as that shows without importing or running anything.

    Args:
        text: See :func:`find_pipeline`.
        has_shape: Whether the size of the images is given elsewhere.

    Raises:
        OnelayerError: If the text has none of the forms, or names no built-in pipeline, file or module; or if the size
            of the images is missing, and the pipeline cannot bring one.
    """
    if text in BUILT_IN:
        return
    if text.lower().endswith(".py"):
        raise OnelayerError(
            f"{text} names a file, but not which pipeline in it",
            expected=f"{text}:attribute",
            hint="Add a colon and the name of the transform, or of a function that makes it.",
        )
    place, attribute = _split(text)
    if not place and ":" not in text and text.strip():
        raise _unknown(text)
    if not place or place.endswith(":") or not all(part.isidentifier() for part in attribute.split(".")):
        raise OnelayerError(f"{text!r} names no pipeline", expected=_FORMS)
    if place == "torchvision":
        if not attribute.partition(".")[0].endswith(_SUFFIX):
            raise _no_weights(attribute, _weights_in_source())
        return
    check_place(place)
    if not has_shape and imports_only_libraries(place):
        raise missing_shape(text)


def find_pipeline(text: str) -> FoundPipeline:
    """Find the pipeline that a text names.

    ``module:attribute`` imports the module, and ``file.py:attribute`` runs the file, as ``python file.py`` would: name
    only what you trust. Meanwhile imports are looked for in the file's folder first (for a module, in the current
    one). The attribute, which may be dotted, is a transform, or makes one when it is called without arguments.

    Args:
        text: A name of ``onelayer.pipelines.names()``; ``module:attribute``; ``file.py:attribute``; or
            ``torchvision:`` and the name of weights, whose transforms are meant. Nothing is downloaded.

    Raises:
        OnelayerError: If nothing of that name is found, it cannot be loaded, or is no transform.
    """
    check_pipeline(text)
    if text in BUILT_IN:
        from onelayer import pipelines

        return _found(text, pipelines.named(text))
    place, attribute = _split(text)
    if place == "torchvision":
        return _found(text, _transforms_of_weights(attribute))
    with load(place) as module:
        return _found(text, transform_of(attribute_of(module, attribute), text))


def source_file(text: str) -> Path | None:
    """Find the file that a PIPELINE's code is in; None for one that is built in, or of torchvision.

    Args:
        text: See :func:`find_pipeline`, which has found it.
    """
    place, _ = _split(text)
    if text in BUILT_IN or place == "torchvision":
        return None
    if is_path(place):
        return Path(place).resolve()
    origin = getattr(sys.modules.get(place), "__file__", None)
    return None if origin is None else Path(origin)


def missing_shape(name: str) -> OnelayerError:
    """Make the error for a pipeline that does not say which images it takes."""
    return OnelayerError(
        f"{name} does not say which images it is for",
        expected="--shape with channels, height and width, such as --shape 3x375x500",
    )


def _split(text: str) -> tuple[str, str]:
    """Split at the last colon, because a drive of Windows has one too."""
    place, _, attribute = text.rpartition(":")
    return place, attribute


def _found(name: str, found: Pipeline | Transform) -> FoundPipeline:
    from torchvision.transforms._presets import ImageClassification

    from onelayer.pipelines import Pipeline
    from onelayer.pipelines.catalogue import PHOTOGRAPH

    if isinstance(found, Pipeline):
        return FoundPipeline(name, found.transform, found.input_shape)
    return FoundPipeline(name, found, PHOTOGRAPH if isinstance(found, ImageClassification) else None)


def _unknown(text: str) -> OnelayerError:
    weights = _same_model(text, _weights_in_source())
    module, _, attribute = text.rpartition(".")
    hints = [
        did_you_mean(text, BUILT_IN, _NEAR),
        f"For torchvision's weights give torchvision:{weights}.DEFAULT." if weights else None,
        f"In a module, give {module}:{attribute}." if module and not weights else None,
        f"Of your own, give {_OTHER_FORMS}.",
    ]
    return OnelayerError(
        f"there is no pipeline named {text!r}",
        expected="one of " + ", ".join(BUILT_IN),
        hint=" ".join(filter(None, hints)),
    )


def _transforms_of_weights(name: str) -> Transform:
    from torchvision import models

    enums = {weights.__name__: weights for weights in map(models.get_model_weights, models.list_models())}
    model, _, version = name.partition(".")
    if model not in enums:
        raise _no_weights(name, enums)
    versions = enums[model].__members__
    if version not in versions:
        raise OnelayerError(
            f"torchvision's {model} has no {version!r}" if version else f"{model} has several weights",
            expected="one of " + ", ".join(f"torchvision:{model}.{known}" for known in versions),
        )
    transforms: Transform = versions[version].transforms()
    return transforms


def _no_weights(name: str, known: Iterable[str]) -> OnelayerError:
    same = _same_model(name, known)
    near = did_you_mean(name.partition(".")[0], known, _NEAR)
    meant = f"Did you mean torchvision:{same}.DEFAULT?" if same else near
    return OnelayerError(
        f"torchvision has no weights named {name!r}",
        expected="the name of weights, as ResNet50_Weights.IMAGENET1K_V2",
        hint=" ".join(filter(None, [meant, "All are listed by torchvision.models.get_model_weights."])),
    )


def _weights_in_source() -> list[str]:
    """Read the names of torchvision's weights in its source: to import it takes seconds, too long for a hint."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return []
    sources = sorted((Path(spec.origin).parent / "models").rglob("*.py"))
    classes = re.compile(rf"^class (\w+{_SUFFIX})\(", re.MULTILINE)
    return [name for source in sources for name in classes.findall(source.read_text("utf-8"))]


def _same_model(text: str, weights: Iterable[str]) -> str | None:
    """The weights of the model that a text names, whatever it has for capitals and dashes: ``resnet-50``."""

    def plain(name: str) -> str:
        return re.sub("[^a-z0-9]", "", name.partition(".")[0].removesuffix(_SUFFIX).lower())

    return {plain(name): name for name in weights}.get(plain(text))


def attribute_of(module: ModuleType, dotted: str) -> Any:
    """Get the object behind a dotted name.

    Raises:
        OnelayerError: If there is none; it lists what could have been meant.
    """
    found: Any = module
    for name in dotted.split("."):
        with naming_errors(f"{_name(found)}, asked for {name},"):
            there = hasattr(found, name)
        if not there:
            known = _transforms_in(found)
            listed = ", ".join(known[:_LISTED]) + (", …" if len(known) > _LISTED else "")
            raise OnelayerError(
                f"{_name(found)} has no attribute {name!r}",
                expected=f"one of {listed}" if known else _TRANSFORM,
                hint=did_you_mean(name, known),
            )
        found = getattr(found, name)
    return found


def transform_of(found: Any, text: str) -> Pipeline | Transform:
    """Get the transform that an object is or makes.

    A class, a function or a partial that can be called without arguments is called, and what it returns is the
    transform; a function that needs one is a transform itself, and so is any other object that can be called.

    Args:
        found: The object.
        text: Its name, for errors.

    Raises:
        OnelayerError: If it neither is nor makes a transform, or raises.
    """
    from onelayer.pipelines import Pipeline

    if isinstance(found, Pipeline):
        return found
    if not callable(found):
        raise OnelayerError(f"{text} is {_a(type(found))}, and cannot be called", expected=_TRANSFORM)
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
            expected=_TRANSFORM,
            hint="Name an object, or give the other arguments with functools.partial.",
        )
    itself: Transform = found
    return itself


def _makes_one(found: Any) -> bool:
    from onelayer.frontends.base import function_of

    function = function_of(found)
    return (inspect.isclass(function) or inspect.isroutine(function)) and _takes(found)


def _takes(function: Any, *arguments: object) -> bool:
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError:
        return False
    except ValueError:  # a function in C without a signature: torch's take an image
        return bool(arguments)
    return True


def _transforms_in(place: Any) -> list[str]:
    """List the public names in a module, or of an object, that are or make transforms."""
    home = place.__name__ if isinstance(place, ModuleType) else None
    members = getattr(place, "__dict__", {}).items()
    return sorted(name for name, value in members if not name.startswith("_") and _is_or_makes(value, home))


def _is_or_makes(value: Any, home: str | None) -> bool:
    if not (inspect.isclass(value) or inspect.isroutine(value)):
        # What a module imported for its annotations can be called too.
        return callable(value) and type(value).__module__ != "typing"
    # What a module imported to build its transforms is not meant.
    defined_here = home is None or str(getattr(value, "__module__", None)).startswith(home)
    # `dir` of a class, unlike `hasattr`, does not see that the class itself can be called.
    return defined_here and (not inspect.isclass(value) or (_takes(value) and "__call__" in dir(value)))


def _name(found: Any) -> str:
    if isinstance(found, ModuleType):
        return str(getattr(found, "__file__", None) or found.__name__)
    return str(getattr(found, "__qualname__", None) or _a(type(found)))


def _a(kind: type) -> str:
    return f"a value of type {kind.__name__}"
