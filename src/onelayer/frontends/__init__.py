"""Transform objects → operators: what a torchvision pipeline is in the algebra."""

from __future__ import annotations

# Imported for the handlers that they register.
from onelayer.frontends import conversions, geometry, presets, refusals, values  # noqa: F401
from onelayer.frontends.derivation import derive
from onelayer.frontends.given import Container, Derived, Given, PixelType, Step
from onelayer.frontends.registry import Handler, UnsupportedTransformError, register

__all__ = [
    "Container",
    "Derived",
    "Given",
    "Handler",
    "PixelType",
    "Step",
    "UnsupportedTransformError",
    "derive",
    "register",
]
