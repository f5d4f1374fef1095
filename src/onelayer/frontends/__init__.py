"""Front ends: derive operators from the transform objects of a library."""

from __future__ import annotations

from onelayer.frontends import torchvision  # noqa: F401 - registers its handlers
from onelayer.frontends.base import Handler, UnsupportedTransformError, register, register_sequence
from onelayer.frontends.derivation import Derived, Step, Transform, derive, transforms_of
from onelayer.frontends.torchvision.color import register_table
from onelayer.frontends.torchvision.multicrop import DerivedOutputs, derive_outputs
from onelayer.image_spec import Container, ImageSpec, PixelType, RoundingMode

__all__ = [
    "Container",
    "Derived",
    "DerivedOutputs",
    "Handler",
    "ImageSpec",
    "PixelType",
    "RoundingMode",
    "Step",
    "Transform",
    "UnsupportedTransformError",
    "derive",
    "derive_outputs",
    "register",
    "register_sequence",
    "register_table",
    "transforms_of",
]
