"""Image preprocessing as one layer.

``onelayer.load(folder)`` gives back a layer that a run has kept; ``onelayer.save(layer, folder)`` keeps one.
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
    from onelayer.layer_files import load, save
    from onelayer.learning.dense_layer import DenseLayer
    from onelayer.pipelines import Pipeline

__version__ = version("onelayer")

__all__ = ["DenseLayer", "OnelayerError", "Pipeline", "__version__", "load", "pipelines", "save"]

# Loaded when first asked for: torch takes seconds to import, and `onelayer --help` does not need it.
_HOMES = {
    "DenseLayer": "onelayer.learning.dense_layer",
    "Pipeline": "onelayer.pipelines",
    "load": "onelayer.layer_files",
    "pipelines": "onelayer.pipelines",
    "save": "onelayer.layer_files",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'onelayer' has no attribute {name!r}")
    home = import_module(_HOMES[name])
    return home if home.__name__ == f"onelayer.{name}" else getattr(home, name)


def __dir__() -> list[str]:
    return sorted(__all__)
