"""Front ends: derive operators from the transform objects of a library."""

from __future__ import annotations

from onelayer.frontends import libraries, torchvision  # noqa: F401 - they register their handlers
from onelayer.frontends.base import Handler, UnsupportedTransformError, register, register_sequence
from onelayer.frontends.derivation import Derived, Step, Transform, derive, transforms_of
from onelayer.frontends.front_end import FRONT_ENDS, FrontEnd, front_end_of
from onelayer.frontends.torchvision.color import register_table
from onelayer.frontends.torchvision.multicrop import DerivedOutputs, derive_outputs
from onelayer.image_spec import Container, ImageSpec, PixelType, RoundingMode

__all__ = [
    "FRONT_ENDS",
    "Container",
    "Derived",
    "DerivedOutputs",
    "FrontEnd",
    "Handler",
    "ImageSpec",
    "PixelType",
    "RoundingMode",
    "Step",
    "Transform",
    "UnsupportedTransformError",
    "derive",
    "derive_outputs",
    "front_end_of",
    "register",
    "register_sequence",
    "register_table",
    "transforms_of",
]
