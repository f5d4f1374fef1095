"""Image preprocessing as one layer.

``onelayer.compile(transform)`` derives one layer from torchvision transforms, ``onelayer.explain`` shows how, and
``onelayer.verify`` certifies it; ``onelayer.register`` adds a handler for a transform of your own, and
``register_sequence`` and ``register_table`` one that consists of others, or that a table says all about.
``onelayer.identify(function, shape)`` finds the layer of a function that can only be called, from its answers;
``onelayer.learn(function, images)`` learns one from pairs of images and answers, and ``onelayer.recognise`` finds the
structure in what was learned.
``onelayer.save(layer, folder)`` writes a layer, derived or learned, and ``onelayer.load(folder)`` reads it;
``onelayer.export(layer, path)`` writes an ONNX file of plain operators, alone or in front of a model.
``onelayer.warmup()`` compiles the kernels for the CPU ahead of the first image.
``onelayer.ray.apply(dataset, layer)`` applies one to a Ray dataset.
``onelayer.pipelines`` names the pipelines that layers replace. Everything a user can get wrong is reported as
``onelayer.OnelayerError``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from onelayer.errors import OnelayerError

if TYPE_CHECKING:
    from onelayer import pipelines, ray
    from onelayer.backends.cpu.warmup import warmup
    from onelayer.dense_layer import DenseLayer
    from onelayer.explanation import Explanation, explain
    from onelayer.exports import Exported, ExportedLayer, export
    from onelayer.frontends import ImageSpec, register, register_sequence, register_table
    from onelayer.identification import Identified, IdentifiedPipeline, NotAffineError, identify
    from onelayer.layer import (
        OneLayer,
        compile,  # noqa: A004 - as in torch.compile
        register_with_transformers,
    )
    from onelayer.pipelines import Pipeline
    from onelayer.recognition import NotRecognisedError, Recognised, recognise
    from onelayer.reproduction.recipes import LearnedLayer, learn
    from onelayer.serialize import load, save
    from onelayer.verification import verify
    from onelayer.verification.certificate import Certificate

    __version__: str

__all__ = [
    "Certificate",
    "DenseLayer",
    "Explanation",
    "Exported",
    "ExportedLayer",
    "Identified",
    "IdentifiedPipeline",
    "ImageSpec",
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
    "export",
    "identify",
    "learn",
    "load",
    "pipelines",
    "ray",
    "recognise",
    "register",
    "register_sequence",
    "register_table",
    "register_with_transformers",
    "save",
    "verify",
    "warmup",
]

# Imported on first access: torch takes seconds to import, and `onelayer --help` does not need it.
_MODULE_OF = {
    "Certificate": "onelayer.verification.certificate",
    "DenseLayer": "onelayer.dense_layer",
    "Explanation": "onelayer.explanation",
    "Exported": "onelayer.exports",
    "ExportedLayer": "onelayer.exports",
    "ImageSpec": "onelayer.frontends",
    "Identified": "onelayer.identification",
    "IdentifiedPipeline": "onelayer.identification",
    "LearnedLayer": "onelayer.reproduction.recipes",
    "NotAffineError": "onelayer.identification",
    "NotRecognisedError": "onelayer.recognition",
    "OneLayer": "onelayer.layer",
    "Pipeline": "onelayer.pipelines",
    "Recognised": "onelayer.recognition",
    "compile": "onelayer.layer",
    "explain": "onelayer.explanation",
    "export": "onelayer.exports",
    "identify": "onelayer.identification",
    "learn": "onelayer.reproduction.recipes",
    "load": "onelayer.serialize",
    "pipelines": "onelayer.pipelines",
    "ray": "onelayer.ray",
    "recognise": "onelayer.recognition",
    "register": "onelayer.frontends",
    "register_sequence": "onelayer.frontends",
    "register_table": "onelayer.frontends",
    "register_with_transformers": "onelayer.layer",
    "save": "onelayer.serialize",
    "verify": "onelayer.verification",
    "warmup": "onelayer.backends.cpu.warmup",
}


def __getattr__(name: str) -> object:
    if name == "__version__":
        # Takes a tenth of a second to import, a third of what `onelayer --help` takes.
        from importlib.metadata import version

        return version("onelayer")
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'onelayer' has no attribute {name!r}")
    module = import_module(_MODULE_OF[name])
    return module if module.__name__ == f"onelayer.{name}" else getattr(module, name)


def __dir__() -> list[str]:
    return sorted(__all__)
