"""Transform objects → operators: what a torchvision pipeline is in the algebra."""

from __future__ import annotations

from onelayer.frontends.base import Handler, UnsupportedTransformError, register
from onelayer.frontends.derivation import Transform, derive, parts_of
from onelayer.frontends.torchvision import color as values  # noqa: F401
from onelayer.frontends.torchvision import dtype as conversions  # noqa: F401
from onelayer.frontends.torchvision import (
    exact_resizing,  # noqa: F401
    exact_values,  # noqa: F401
    geometry,  # noqa: F401
    presets,  # noqa: F401
    sharpness,  # noqa: F401
)

# Imported for the handlers that they register.
from onelayer.frontends.torchvision import multicrop as branches  # noqa: F401
from onelayer.frontends.torchvision import unsupported as refusals  # noqa: F401
from onelayer.frontends.torchvision import warp as warps  # noqa: F401
from onelayer.frontends.torchvision.multicrop import Branches, derive_branches
from onelayer.image_spec import Container, Derived, ImageSpec, PixelType, RoundingMode, Step

__all__ = [
    "Branches",
    "Container",
    "Derived",
    "Handler",
    "ImageSpec",
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
