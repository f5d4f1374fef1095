"""State how Pillow and PyTorch round, as data: what a bit-exact result depends on besides the transform.

Sources: Pillow's ``Resample.c``, ``Convert.c`` and ``Image.py``; PyTorch's ``UpSampleKernel.cpp``; torchvision's
``_functional_tensor.py`` and ``v2/functional``. What the sources leave to the compiler was measured, on the builds that
``pip`` installs; ``onelayer selfcheck`` compares all of it with what is installed.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version

import torch

from onelayer.frontends.placement import (
    COLUMNS_FIRST,
    ROWS_FIRST_IF_SHORTENED,
    ROWS_FIRST_IF_TALL,
    FirstPass,
)
from onelayer.frontends.torchvision import passed_here
from onelayer.frontends.torchvision.comparisons import TESTED, release


@dataclass(frozen=True)
class FixedPoint:
    """The rules of a resize of bytes: one pass along each axis, in whole numbers, each rounded half up and saturated.

    Args:
        limit: Bound of the largest weight as a whole number, exclusive; see
            :func:`onelayer.algebra.fixed_point.in_fixed_point`.
        first: Choice of the first pass; see :func:`onelayer.frontends.placement.rows_first`.
    """

    limit: int | None
    first: FirstPass


@dataclass(frozen=True)
class Float32Rules:
    """The rules of PyTorch's sums in float32; see :class:`onelayer.algebra.Float32Sum`.

    Args:
        resize_unfused: Products per group in a resize whose groups are rounded before they are added, without FMA; 0
            for none, 1 for every product.
        weights_fused: Whether the weights of a resize are computed with FMA.
        luma_unfused: Products per such group in the luma of v2; that of v1 rounds every product.
    """

    resize_unfused: int
    weights_fused: bool
    luma_unfused: int


TORCH_BYTES = FixedPoint(1 << 15, COLUMNS_FIRST)
"""PyTorch's resize of uint8 tensors on the CPU, with antialiasing and without."""

_PILLOW = (
    ((0, 0), FixedPoint(None, COLUMNS_FIRST)),
    ((12, 2), FixedPoint(None, ROWS_FIRST_IF_TALL)),
    ((13, 0), FixedPoint(None, ROWS_FIRST_IF_SHORTENED)),
)
"""Pillow's resize, by the version that it starts with."""

_FLOAT32 = {
    "DEFAULT": Float32Rules(resize_unfused=1, weights_fused=False, luma_unfused=1),
    "AVX2": Float32Rules(resize_unfused=4, weights_fused=True, luma_unfused=0),
    "AVX512": Float32Rules(resize_unfused=4, weights_fused=True, luma_unfused=0),
}
"""PyTorch's float32 sums, by the instruction set that it uses."""

_FUSED_PLACES = (((0, 0), False), ((2, 10), True), ((2, 15), False))
"""Whether PyTorch's compiler made one step (FMA) of the product and the difference that place a sample of a bilinear
resize of float32 images without antialiasing, by the version that it starts with; never without AVX2. It was measured:
the weights are those of one of the two to 5·10⁻⁷, and up to 1.5·10⁻⁵ from those of the other at 4,000 samples."""

_TENSOR_LANCZOS = (0, 27)
"""The torchvision from which on v2 resizes tensors with Lanczos, uint8 and on the CPU; before, only PIL images."""

TENSOR_LUMA = (0.2989, 0.587, 0.114)
"""Torchvision's weights of red, green and blue, for tensors; the fraction of a uint8 result is cut off."""

PILLOW_LUMA = (19595 / 65536, 38470 / 65536, 7471 / 65536)
"""Pillow's weights of red, green and blue, in 16 bits of fraction; the result is rounded half up."""


def fuses_places() -> bool:
    """Whether the installed PyTorch rounds a place once on this processor; see :data:`_FUSED_PLACES`."""
    installed = release(version("torch"))
    return _capability() != "DEFAULT" and [fused for since, fused in _FUSED_PLACES if since <= installed][-1]


def tensors_have_lanczos() -> bool:
    """Whether the installed torchvision resizes tensors with Lanczos."""
    return release(version("torchvision")) >= _TENSOR_LANCZOS


def pillow_resize() -> FixedPoint:
    """Return the resize rules of the installed Pillow."""
    _warn_if_untested("pillow")
    installed = release(version("pillow"))
    return [rules for since, rules in _PILLOW if since <= installed][-1]


def torch_float32() -> Float32Rules:
    """Return the float32 rules of the installed PyTorch on this processor; warn once where they were not tested."""
    _warn_if_untested("torch")
    _warn_if_untested("torchvision")
    return _float32_of(_capability())


def torch_bytes() -> FixedPoint:
    """Return the rules of the installed PyTorch for a resize of uint8 tensors."""
    _warn_if_untested("torch")
    _warn_if_untested("torchvision")
    return TORCH_BYTES


def _capability() -> str:
    """Return the instruction set that PyTorch uses, by its name of today: none was "NO AVX" until 2.8."""
    capability: str = torch.backends.cpu.get_cpu_capability()
    return "DEFAULT" if capability == "NO AVX" else capability


@lru_cache(maxsize=8)
def _float32_of(capability: str) -> Float32Rules:
    if capability not in _FLOAT32 and not passed_here.is_recorded():
        warnings.warn(
            f"how PyTorch rounds float32 sums with {capability} instructions was not compared (tested: "
            f"{', '.join(_FLOAT32)}); those of AVX2 are assumed. Run `onelayer selfcheck`; it takes some seconds.",
            stacklevel=3,
        )
    return _FLOAT32.get(capability, _FLOAT32["AVX2"])


@lru_cache(maxsize=8)
def _warn_if_untested(package: str) -> None:
    """Warn, once, of an installed version that was compared neither by the authors nor on this machine."""
    installed = version(package)
    tested = TESTED[package]
    if "{}.{}".format(*release(installed)) in tested or passed_here.is_recorded():
        return
    warnings.warn(
        f"{package} {installed} was not compared with onelayer's rounding, which promises its pixels bit for bit "
        f"(tested: {', '.join(tested)}). Run `onelayer selfcheck`; it takes some seconds, and if no bit differs, "
        "this warning does not come again.",
        stacklevel=3,
    )
