"""A pipeline by what is given as PIPELINE: a built-in name, an attribute of a module or a file, or weights."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torchvision import models
from torchvision.transforms._presets import ImageClassification

from onelayer import pipelines
from onelayer.cli.pipeline_source.attributes import attribute_of, transform_of
from onelayer.cli.pipeline_source.loading import load
from onelayer.errors import OnelayerError
from onelayer.frontends import Transform
from onelayer.pipelines import Pipeline
from onelayer.pipelines.catalogue import PHOTOGRAPH
from onelayer.records import Shape

_OTHER_FORMS = "module:attribute, file.py:attribute or torchvision:ResNet50_Weights.IMAGENET1K_V2"
_FORMS = f"a built-in name, {_OTHER_FORMS}"


@dataclass(frozen=True)
class FoundPipeline:
    """What was meant.

    Args:
        name: The words that it was found by.
        transform: To be called with an image.
        usual_shape: Channels, height and width of the images that it is usually given; None where nothing says so.
    """

    name: str
    transform: Transform
    usual_shape: Shape | None


def find_pipeline(text: str) -> FoundPipeline:
    """Find a pipeline by what was given on the command line.

    ``module:attribute`` imports the module, and ``file.py:attribute`` runs the file, as ``python file.py`` would: name
    only what you trust. Meanwhile imports are looked for in the file's folder first (for a module, in the current
    one). What the attribute, which may be dotted, must be is said at ``transform_of``.

    Args:
        text: A name of ``onelayer.pipelines.names()``; ``module:attribute``; ``file.py:attribute``; or
            ``torchvision:`` and the name of weights, whose transforms are meant. Nothing is downloaded.

    Raises:
        OnelayerError: If nothing of that name is found, it cannot be loaded, or is no transform.
    """
    if text in pipelines.names():
        return _found(text, pipelines.named(text))
    if text.lower().endswith(".py"):
        raise OnelayerError(
            f"{text} names a file, but not which pipeline in it",
            expected=f"{text}:attribute",
            hint="Add a colon and the name of the transform, or of a function that makes it.",
        )
    # The last colon, because a drive of Windows has one too.
    place, colon, attribute = text.rpartition(":")
    if not colon and text.strip():
        raise _unknown(text)
    if not place or not all(part.isidentifier() for part in attribute.split(".")):
        raise OnelayerError(f"{text!r} names no pipeline", expected=_FORMS)
    if place == "torchvision":
        return _found(text, _weights(attribute))
    with load(place) as module:
        return _found(text, transform_of(attribute_of(module, attribute), text))


def _found(name: str, found: Pipeline | Transform) -> FoundPipeline:
    if isinstance(found, Pipeline):
        return FoundPipeline(name, found.transform, found.input_shape)
    return FoundPipeline(name, found, PHOTOGRAPH if isinstance(found, ImageClassification) else None)


def _unknown(text: str) -> OnelayerError:
    near = _nearest(text, pipelines.names())
    return OnelayerError(
        f"there is no pipeline named {text!r}",
        expected="one of " + ", ".join(pipelines.names()),
        hint=f"{near}Of your own, give {_OTHER_FORMS}.",
    )


def _weights(name: str) -> Any:
    enums = {weights.__name__: weights for weights in map(models.get_model_weights, models.list_models())}
    model, _, version = name.partition(".")
    if model not in enums:
        raise OnelayerError(
            f"torchvision has no weights named {name!r}",
            expected="the name of weights, as ResNet50_Weights.IMAGENET1K_V2",
            hint=_nearest(model, enums) + "All are listed by torchvision.models.get_model_weights.",
        )
    versions = enums[model].__members__
    if version not in versions:
        raise OnelayerError(
            f"torchvision's {model} has no {version!r}" if version else f"{model} has several weights",
            expected="one of " + ", ".join(f"{model}.{known}" for known in versions),
        )
    return versions[version].transforms()


def _nearest(text: str, known: Iterable[str]) -> str:
    by_lower = {name.lower(): name for name in known}
    near = difflib.get_close_matches(text.lower(), by_lower, n=1, cutoff=0.5)
    return f"Did you mean {by_lower[near[0]]}? " if near else ""
