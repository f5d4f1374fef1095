"""Layers as ONNX files, in front of a model or alone, and the runtimes that run them."""

from __future__ import annotations

from onelayer.exports.exporting import Exported, export
from onelayer.exports.runtimes import ExportedLayer

__all__ = ["Exported", "ExportedLayer", "export"]
