"""Image preprocessing as one layer.

``onelayer.compile(transform)`` derives one layer from torchvision transforms, ``onelayer.explain`` shows how, and
``onelayer.verify`` certifies it; ``onelayer.register`` teaches it a transform of your own.
``onelayer.identify(function, shape)`` finds one in what a function that cannot be read answers;
``onelayer.learn(function, images)`` learns one from what it makes of images, and ``onelayer.recognise`` finds the
structure in what was learned.
``onelayer.save(layer, folder)`` keeps a layer, derived or learned, and ``onelayer.load(folder)`` gives it back.
``onelayer.pipelines`` names the pipelines that layers replace. Everything a user can get wrong is reported as
``onelayer.OnelayerError``.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

from onelayer.errors import OnelayerError

if TYPE_CHECKING:
    from onelayer import pipelines
    from onelayer.certificate import Certificate
    from onelayer.compiling import compile  # noqa: A004 - as in torch.compile
    from onelayer.explanation import Explanation, explain
    from onelayer.frontends import Given, register
    from onelayer.identification import Identified, NotAffineError, identify
    from onelayer.layer import OneLayer
    from onelayer.layer_files import load, save
    from onelayer.learning.dense_layer import DenseLayer
    from onelayer.pipelines import Pipeline
    from onelayer.recipes import LearnedLayer, learn
    from onelayer.recognition import NotRecognisedError, Recognised, recognise
    from onelayer.verification import verify

__version__ = version("onelayer")

__all__ = [
    "Certificate",
    "DenseLayer",
    "Explanation",
    "Given",
    "Identified",
    "LearnedLayer",
    "NotAffineError",
    "NotRecognisedError",
    "OneLayer",
    "OnelayerError",
    "Pipeline",
    "Recognised",
    "__version__",
    "compile",
    "explain",
    "identify",
    "learn",
    "load",
    "pipelines",
    "recognise",
    "register",
    "save",
    "verify",
]

# Loaded when first asked for: torch takes seconds to import, and `onelayer --help` does not need it.
_HOMES = {
    "Certificate": "onelayer.certificate",
    "DenseLayer": "onelayer.learning.dense_layer",
    "Explanation": "onelayer.explanation",
    "Given": "onelayer.frontends",
    "Identified": "onelayer.identification",
    "LearnedLayer": "onelayer.recipes",
    "NotAffineError": "onelayer.identification",
    "NotRecognisedError": "onelayer.recognition",
    "OneLayer": "onelayer.layer",
    "Pipeline": "onelayer.pipelines",
    "Recognised": "onelayer.recognition",
    "compile": "onelayer.compiling",
    "explain": "onelayer.explanation",
    "identify": "onelayer.identification",
    "learn": "onelayer.recipes",
    "load": "onelayer.layer_files",
    "pipelines": "onelayer.pipelines",
    "recognise": "onelayer.recognition",
    "register": "onelayer.frontends",
    "save": "onelayer.layer_files",
    "verify": "onelayer.verification",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'onelayer' has no attribute {name!r}")
    home = import_module(_HOMES[name])
    return home if home.__name__ == f"onelayer.{name}" else getattr(home, name)


def __dir__() -> list[str]:
    return sorted(__all__)
