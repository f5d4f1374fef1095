"""Arithmetic that rounds to float32 as PyTorch's own kernels do, in float64, on any device."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, partial

import numpy as np
import torch

from onelayer.algebra import AxisMap, Float32Sum, FloatOp, Taps
from onelayer.algebra.activations import Arithmetic
from onelayer.backends.kernel_memory import only_for_pytorch
from onelayer.backends.pytorch.factors import Home, Step

_DIMS = (-3, -2, -1)


def single_sums(operator: Float32Sum, home: Home) -> list[Step]:
    """The steps of sums that round to float32.

    Args:
        operator: The sums.
        home: Where, and in float64, whose values here are all float32's.
    """
    steps = [_copied(factor, dim, home) for factor, dim in zip(operator.factors, _DIMS, strict=True)]
    return [step for step in steps if step is not None] + [
        _added(factor, dim, operator.apart, home)
        for factor, dim in zip(operator.factors, _DIMS, strict=True)
        if isinstance(factor, Taps)
    ]


def float_step(stage: FloatOp, home: Home) -> Step:
    """An operation with a number per channel, rounded to the stage's dtype."""
    dtype = {"float32": torch.float32, "float64": torch.float64}[stage.dtype]
    numbers = home.tensor(stage.numbers[:, None, None]).to(dtype)
    operations: dict[Arithmetic, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
        "multiply": torch.mul,
        "subtract": torch.sub,
        "divide": torch.div,
    }
    return lambda images: operations[stage.operation](images.to(dtype), numbers).to(home.dtype)


def _copied(factor: AxisMap | Taps, dim: int, home: Home) -> Step | None:
    if isinstance(factor, Taps) or factor.is_identity:
        return None
    places = torch.from_numpy(factor.starts.copy()).to(home.device)
    return lambda images: images.index_select(dim, places)


def _added(taps: Taps, dim: int, apart: int, home: Home) -> Step:
    anywhere = cache(partial(_added_anywhere, taps, dim, apart, home))
    if home.device.type != "cpu" or dim == -3:
        return anywhere()
    kernel = _added_by_kernel(taps, dim, apart)
    return lambda images: anywhere()(images) if only_for_pytorch(images) else kernel(images)


def _added_by_kernel(taps: Taps, dim: int, apart: int) -> Step:
    # Only here, because it takes a quarter of a second to import Numba.
    from onelayer.backends.cpu.float32_sum_kernel import sums_of_columns, sums_of_rows

    def add(images: torch.Tensor) -> torch.Tensor:
        *batch, height, width = images.shape
        planes = images.to(torch.float32).contiguous().numpy().reshape(math.prod(batch), height, width)
        if dim == -1:
            sums = np.empty((len(planes), height, taps.n_out), np.float32)
            lines = planes.reshape(-1, width), sums.reshape(-1, taps.n_out)
            if sums.size:
                sums_of_columns(lines[0], taps.starts, taps.counts, taps.weights, apart, lines[1])
        else:
            sums = np.empty((len(planes), taps.n_out, width), np.float32)
            if sums.size:
                sums_of_rows(planes, taps.starts, taps.counts, taps.weights, apart, sums)
        return torch.from_numpy(sums).reshape(*batch, *sums.shape[1:]).to(images.dtype)

    return add


def _added_anywhere(taps: Taps, dim: int, apart: int, home: Home) -> Step:
    starts, counts = (torch.from_numpy(numbers.copy()).to(home.device) for numbers in (taps.starts, taps.counts))
    weights = home.tensor(taps.weights)
    fused_from = 1 + (counts - 1) // apart * apart if apart else torch.ones_like(counts)
    longest = int(taps.counts.max())

    def add(images: torch.Tensor) -> torch.Tensor:
        # Along the last dimension, where a number per output broadcasts.
        lines = images.movedim(dim, -1)
        sums = _singles(lines[..., starts] * weights[:, 0])
        for k in range(1, longest):
            products = lines[..., (starts + k).clamp(max=taps.n_in - 1)] * weights[:, k]
            fused = _singles(_added_to_odd(products, sums))
            added = torch.where(k >= fused_from, fused, _singles(sums + _singles(products)))
            sums = torch.where(k < counts, added, sums)
        return sums.movedim(-1, dim).contiguous()

    return add


def _singles(values: torch.Tensor) -> torch.Tensor:
    return values.to(torch.float32).to(values.dtype)


def _added_to_odd(product: torch.Tensor, addend: torch.Tensor) -> torch.Tensor:
    """See :func:`onelayer.algebra.float32_sum.multiplied_and_added`, which this is in PyTorch."""
    total = product + addend
    part = total - product
    lost = (product - (total - part)) + (addend - part)
    bits = total.contiguous().view(torch.int64)
    step = torch.where((lost > 0) == (total > 0), 1, -1)
    return torch.where((lost != 0) & (bits & 1 == 0), bits + step, bits).view(torch.float64)
