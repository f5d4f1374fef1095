"""Torchvision's transforms, v1 and v2. Importing this package registers their handlers."""

from __future__ import annotations

from onelayer.frontends.torchvision import (  # noqa: F401
    by_rule,
    color,
    composed,
    draws,
    dtype,
    geometry,
    multicrop,
    policies,
    random_color,
    random_erasing,
    random_geometry,
    random_windows,
    resize,
    unsupported,
    warp,
    warp_functions,
    with_numbers,
)
