"""Image preprocessing as one layer.

``onelayer.compile(transform)`` derives one layer from torchvision transforms; ``onelayer.register`` teaches it a
transform of your own. ``onelayer.load(folder)`` gives back a layer that a run has learned;
``onelayer.save(layer, folder)`` keeps one. ``onelayer.pipelines`` names the pipelines that layers replace. Everything a
user can get wrong is reported as ``onelayer.OnelayerError``.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

from onelayer.errors import OnelayerError

if TYPE_CHECKING:
    from onelayer import pipelines
    from onelayer.frontends import register
    from onelayer.layer import OneLayer, compile  # noqa: A004 - as in torch.compile
    from onelayer.layer_files import load, save
    from onelayer.learning.dense_layer import DenseLayer
    from onelayer.pipelines import Pipeline

__version__ = version("onelayer")

__all__ = [
    "DenseLayer",
    "OneLayer",
    "OnelayerError",
    "Pipeline",
    "__version__",
    "compile",
    "load",
    "pipelines",
    "register",
    "save",
]

# Loaded when first asked for: torch takes seconds to import, and `onelayer --help` does not need it.
_HOMES = {
    "DenseLayer": "onelayer.learning.dense_layer",
    "OneLayer": "onelayer.layer",
    "Pipeline": "onelayer.pipelines",
    "compile": "onelayer.layer",
    "load": "onelayer.layer_files",
    "pipelines": "onelayer.pipelines",
    "register": "onelayer.frontends",
    "save": "onelayer.layer_files",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'onelayer' has no attribute {name!r}")
    home = import_module(_HOMES[name])
    return home if home.__name__ == f"onelayer.{name}" else getattr(home, name)


def __dir__() -> list[str]:
    return sorted(__all__)
