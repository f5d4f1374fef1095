"""Transform objects → operators: what a torchvision pipeline is in the algebra."""

from __future__ import annotations

# Imported for the handlers that they register.
from onelayer.frontends import (  # noqa: F401
    branches,
    conversions,
    exact_resizing,
    exact_values,
    geometry,
    presets,
    refusals,
    sharpness,
    values,
    warps,
)
from onelayer.frontends.branches import Branches, derive_branches
from onelayer.frontends.derivation import Transform, derive, parts_of
from onelayer.frontends.given import Container, Derived, Given, PixelType, RoundingMode, Step
from onelayer.frontends.registry import Handler, UnsupportedTransformError, register

__all__ = [
    "Branches",
    "Container",
    "Derived",
    "Given",
    "Handler",
    "PixelType",
    "RoundingMode",
    "Step",
    "Transform",
    "UnsupportedTransformError",
    "derive",
    "derive_branches",
    "parts_of",
    "register",
]
