"""Compile image processors of transformers: a subclass that computes what is known, and leaves the rest to its parent.

Keywords are resolved by the original's own code. What it resolves for a set of keywords is kept as long as no attribute
of the processor changes, because its checks take longer than a small image.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Mapping, Sequence
from functools import cache, wraps
from operator import is_
from typing import Any

import numpy as np
import PIL.Image
import torch
from torchvision.transforms import v2

from onelayer.errors import OnelayerError
from onelayer.frontends.front_end import MakeLayer
from onelayer.frontends.libraries.huggingface.prepared import Prepared, in_other_modes
from onelayer.frontends.libraries.huggingface.recipes import (
    LIKE_BEIT,
    LIKE_DETR,
    LIKE_GLM4V,
    LIKE_QWEN2_VL,
    family_of,
    recipe_of,
    unsupported,
)
from onelayer.image_spec import ImageSpec

BACKEND = "onelayer"
"""Name of the backend that ``AutoImageProcessor`` knows compiled processors by."""

_STATE = "_onelayer"
"""Slot of what is prepared for a processor. What lies in ``__dict__`` would be saved with the configuration."""

_MAX_PREPARED = 64
"""Maximum number of sets of keywords that are kept."""

_PLAIN_PREPROCESS = {"", *LIKE_QWEN2_VL, *LIKE_GLM4V, *LIKE_DETR, *LIKE_BEIT}
"""Models whose ``preprocess`` does nothing but hand on its keywords; "" for that of all."""

_WARNING = frozenset({"min_pixels", "max_pixels"})
"""Keywords of calls that the original warns of each time."""

_ANNOTATIONS = "annotations", "return_segmentation_masks", "masks_path", "segmentation_maps"
"""Arguments beside the images, which are computed here only without any."""

_SCALARS = bool, int, float, str, type(None)

_TRIAL_SIZES = (45, 68), (71, 52)
"""Height and width of the images that a processor proves itself with."""


class _OfThread(threading.local):
    """What the methods of a processor tell each other within a call."""

    resolves = False
    """Whether keywords are only to be resolved."""
    leaves = False
    """Whether the call is left to the original."""
    prepared: Any = None
    """Processor of the last call, and what was prepared for its keywords; or None."""


_OF_THREAD = _OfThread()


class _Resolved(BaseException):
    """Carries the keywords that a processor has resolved out of its call."""

    def __init__(self, keywords: dict[str, Any]) -> None:
        super().__init__()
        self.keywords = keywords


class _State:
    """What is prepared for a processor, as long as its attributes are what they are.

    Args:
        make_layer: Makes layers.
        attributes: Attributes of the processor.
    """

    def __init__(self, make_layer: MakeLayer, attributes: Mapping[str, Any]) -> None:
        self.make_layer = make_layer
        self._attributes = tuple(attributes.values())
        self._changeable = tuple(
            (vars(value), tuple(vars(value).values())) for value in self._attributes if _is_size(value)
        )
        self.names = frozenset(attributes.get("_valid_kwargs_names", ()))
        self.is_lasting = all(_lasts(value) for value in self._attributes)
        self.by_call: dict[Any, Prepared] = {}
        self.by_keywords: dict[Any, Prepared | OnelayerError] = {}

    def is_of(self, attributes: Mapping[str, Any]) -> bool:
        """Whether a processor still has the attributes."""
        return (
            len(attributes) == len(self._attributes)
            and all(map(is_, attributes.values(), self._attributes))
            and all(tuple(now.values()) == before for now, before in self._changeable)
        )


def compiled(processor: Any, make_layer: MakeLayer) -> Any:
    """Make a processor that computes what is known with layers, and is in all else as the given one."""
    return _restored(_original(type(processor)), make_layer, vars(processor))


def _restored(original: type, make_layer: MakeLayer, attributes: Mapping[str, Any]) -> Any:
    kind = _compiled_class(original)
    made = kind.__new__(kind)
    made.__dict__.update({name: _copied(value) for name, value in attributes.items()})
    object.__setattr__(made, _STATE, _State(make_layer, made.__dict__))
    return made


def _copied(value: Any) -> Any:
    # The original's sizes can be changed, and are its own.
    return type(value)(**dict(value)) if _is_size(value) else value


def _original(kind: type) -> type:
    """Return the class that a compiled class was made of, and any other as it is."""
    above = kind.__mro__
    return next((above[at + 1] for at, each in enumerate(above) if _STATE in vars(each)), kind)


@cache
def _compiled_class(original: Any) -> Any:
    """Make the subclass of a processor's class; under its name, which configurations are saved with."""

    @wraps(original.preprocess)
    def preprocess(self: Any, images: Any, *args: Any, **kwargs: Any) -> Any:
        state, key = getattr(self, _STATE, None), None
        if state is not None and not args and is_plain:
            if not state.is_of(self.__dict__):
                state = _State(state.make_layer, self.__dict__)
                object.__setattr__(self, _STATE, state)
            key = _key_of_call(kwargs, state.names) if state.is_lasting else None
            prepared = None if key is None else state.by_call.get(key)
            if prepared is not None:
                if (result := prepared(images)) is not None:
                    return result
                key, _OF_THREAD.leaves = None, True
        _OF_THREAD.prepared = None
        try:
            result = original.preprocess(self, images, *args, **kwargs)
        finally:
            _OF_THREAD.leaves = False
        found = _OF_THREAD.prepared
        if state is not None and key is not None and found is not None and found[0] is self:
            _keep(state.by_call, key, found[1])
        _OF_THREAD.prepared = None
        return result

    @wraps(original._preprocess_image_like_inputs)
    def preprocess_image_like_inputs(self: Any, images: Any, *args: Any, **kwargs: Any) -> Any:
        if _OF_THREAD.resolves:
            raise _Resolved(kwargs)
        state: Any = getattr(self, _STATE, None)
        is_left = state is None or _OF_THREAD.leaves or in_other_modes()
        if not is_left and all(each is None for each in args):
            prepared = _prepared(self, state, kwargs)
            if isinstance(prepared, Prepared):
                _OF_THREAD.prepared = self, prepared
                if (result := prepared(images)) is not None:
                    return result
        return original._preprocess_image_like_inputs(self, images, *args, **kwargs)

    def reduce(self: Any) -> Any:
        state = getattr(self, _STATE, None)
        if state is None:
            return _restored_without_state, (original, self.__dict__)
        return _restored, (original, state.make_layer, self.__dict__)

    module = original.preprocess.__module__.removeprefix("transformers.")
    model = "" if module == "image_processing_utils" else module.split(".")[1] if module.startswith("models.") else None
    is_plain = model in _PLAIN_PREPROCESS
    namespace = {
        "__slots__": (_STATE,),
        "__module__": original.__module__,
        "__qualname__": original.__qualname__,
        "__doc__": original.__doc__,
        "__reduce__": reduce,
        "preprocess": preprocess,
        "_preprocess_image_like_inputs": preprocess_image_like_inputs,
    }
    return type(original.__name__, (original,), namespace)


def _restored_without_state(original: type, attributes: Mapping[str, Any]) -> Any:
    kind = _compiled_class(original)
    made = kind.__new__(kind)
    made.__dict__.update(attributes)
    return made


def _keep(cache: dict[Any, Any], key: Any, value: Any) -> None:
    if len(cache) >= _MAX_PREPARED:
        cache.clear()
    cache[key] = value


def _is_size(value: Any) -> bool:
    return type(value).__name__ == "SizeDict"


def _lasts(value: Any) -> bool:
    """Whether an attribute that is still the same object has still the same value."""
    if isinstance(value, tuple):
        return all(map(_lasts, value))
    if isinstance(value, list):
        # The names of keywords.
        return all(isinstance(each, str) for each in value)
    return isinstance(value, (*_SCALARS, torch.device)) or _is_size(value)


def _key_of_call(keywords: Mapping[str, Any], names: frozenset[str]) -> Any:
    """Return what tells keywords apart; None for such as are resolved anew each time.

    Args:
        keywords: Keywords of a call.
        names: Keywords of images; others may hold anything.
    """
    if not names.issuperset(keywords) or not _WARNING.isdisjoint(keywords):
        return None
    parts = []
    for name, value in keywords.items():
        kind = type(value)
        if kind in _SCALARS:
            parts.append((name, kind, value))
        elif kind in (dict, list, tuple):
            parts.append((name, kind, repr(value)))
        else:
            return None
    return tuple(parts)


def _prepared(processor: Any, state: _State, keywords: Mapping[str, Any]) -> Prepared | OnelayerError:
    """Return what is prepared for resolved keywords, or the reason why the original computes."""
    kind = _original(type(processor))
    if not _methods_of(kind).isdisjoint(processor.__dict__):
        return unsupported("this processor has methods of its own")
    try:
        key = tuple((name, type(value), value, repr(value)) for name, value in keywords.items())
        known = state.by_keywords.get(key)
    except TypeError:
        return unsupported("a keyword has a value that is not known here")
    if known is not None:
        return known
    try:
        made: Prepared | OnelayerError = Prepared(recipe_of(processor, kind, keywords), keywords, state.make_layer)
        assert isinstance(made, Prepared)
        if (problem := _difference(processor, made, keywords)) is not None:
            made = unsupported(problem)
    except OnelayerError as error:
        made = error
    except Exception as error:  # noqa: BLE001 - then the original says what is wrong
        made = unsupported(f"its configuration was not understood: {type(error).__name__}: {error}")
    _keep(state.by_keywords, key, made)
    return made


@cache
def _methods_of(kind: type) -> frozenset[str]:
    return frozenset(name for name in dir(kind) if callable(getattr(kind, name, None)))


def _difference(processor: Any, prepared: Prepared, keywords: Mapping[str, Any]) -> str | None:
    """Compare with the original on images of noise; return what differs.

    Another version of transformers may do something else under the same names.
    """
    generator = np.random.default_rng(0)
    images = [PIL.Image.fromarray(generator.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in _TRIAL_SIZES]
    original: Any = _original(type(processor))
    for image in images:
        found = prepared([image])
        if found is None:
            return "images cannot be read here"
        expected = original._preprocess_image_like_inputs(
            processor, [image], **_without_annotations(keywords, original)
        )
        if not _is_equal(dict(found), dict(expected)):
            return "its pixels differ from the original's on a trial image"
    return None


def _without_annotations(keywords: Mapping[str, Any], original: Any) -> dict[str, Any]:
    taken: set[str] = set()
    for method in (original._preprocess_image_like_inputs, original._preprocess):
        taken.update(inspect.signature(method).parameters)
    return {**keywords, **{name: None for name in _ANNOTATIONS if name in taken}}


def _is_equal(found: Any, expected: Any) -> bool:
    if type(found) is not type(expected):
        return False
    if isinstance(found, dict):
        return list(found) == list(expected) and all(_is_equal(found[name], expected[name]) for name in found)
    if isinstance(found, list):
        return len(found) == len(expected) and all(map(_is_equal, found, expected))
    if isinstance(found, torch.Tensor):
        return found.dtype == expected.dtype and torch.equal(found, expected)
    return found.dtype == expected.dtype and np.array_equal(found, expected)


def transforms_for(processor: Any, spec: ImageSpec) -> Sequence[Any]:
    """List the transforms of an image that a processor applies with its own keywords.

    Raises:
        OnelayerError: If it is left to the original.
    """
    if spec.is_float:
        raise unsupported(f"an image of {spec.dtype}")
    if spec.shape[0] != 3:
        raise unsupported(f"an image of {spec.shape[0]} channels, which is not read as bytes of three colors")
    kind = _original(type(processor))
    family_of(kind)
    if not _methods_of(kind).isdisjoint(vars(processor)):
        raise unsupported("this processor has methods of its own")
    recipe = recipe_of(processor, kind, resolved(processor))
    values = [recipe.values] if recipe.patches is not None else []
    as_tensor = [v2.ToImage(), v2.ToPureTensor()] if spec.container == "numpy" else []
    as_pil = [v2.ToPILImage()] if recipe.backend == "pil" and spec.container != "pil" else []
    return [*as_tensor, *as_pil, *recipe.transforms, *values]


def resolved(processor: Any) -> dict[str, Any]:
    """Return the keywords that a processor resolves for a call without any."""
    kind = _compiled_class(_original(type(processor)))
    asked = kind.__new__(kind)
    asked.__dict__.update(vars(processor))
    _OF_THREAD.resolves = True
    try:
        asked.preprocess(None)
    except _Resolved as found:
        return found.keywords
    except Exception as error:
        raise unsupported(f"{kind.__name__} refuses its own keywords: {error}") from error
    finally:
        _OF_THREAD.resolves = False
    raise unsupported(f"{kind.__name__} resolves its keywords in a way of its own")


def register_backend(make_layer: MakeLayer, model_types: Sequence[str]) -> None:
    """Register compiled classes with transformers, as a backend of its ``AutoImageProcessor``.

    Args:
        make_layer: Makes layers.
        model_types: Types of models, as ``clip``; none for all that have an image processor with a known backend.
    """
    from transformers import AutoImageProcessor
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.models.auto.image_processing_auto import (
        IMAGE_PROCESSOR_MAPPING,
        IMAGE_PROCESSOR_MAPPING_NAMES,
    )

    for model_type in model_types or list(IMAGE_PROCESSOR_MAPPING_NAMES):
        if model_type not in CONFIG_MAPPING or model_type not in IMAGE_PROCESSOR_MAPPING_NAMES:
            if model_types:
                raise OnelayerError(
                    f"{model_type!r} was given as a type of models", expected="one that has an image processor"
                )
            continue
        config = CONFIG_MAPPING[model_type]
        classes = IMAGE_PROCESSOR_MAPPING[config]
        original = classes.get("torchvision") or classes.get("pil")
        if original is not None and not getattr(original, "is_dummy", False):
            kind = _registered_class(_original(original), make_layer)
            AutoImageProcessor.register(config, image_processor_classes={BACKEND: kind}, exist_ok=True)


def _registered_class(original: Any, make_layer: MakeLayer) -> Any:
    """Make a subclass whose instances are compiled from the beginning."""
    parent = _compiled_class(original)

    @wraps(original.__init__)
    def initialize(self: Any, *args: Any, **kwargs: Any) -> None:
        original.__init__(self, *args, **kwargs)
        object.__setattr__(self, _STATE, _State(make_layer, self.__dict__))

    namespace = {"__slots__": (), "__init__": initialize}
    for name in ("__module__", "__qualname__", "__doc__"):
        namespace[name] = getattr(original, name)
    return type(original.__name__, (parent,), namespace)
