"""Running cases: the original and the layer, and whether every bit is the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import PIL.Image
import torch

from onelayer.environment import current_environment
from onelayer.errors import OnelayerError
from onelayer.layer import compile as compiled
from onelayer.selfcheck.families import FAMILIES, Case
from onelayer.selfcheck.results import FamilyResult, SelfcheckRecord

_SHARES = sum(share for _, share in FAMILIES.values())


def check(cases: int, seed: int = 0, advance: Callable[[], object] | None = None) -> SelfcheckRecord:
    """Compare layers with the transforms that they replace, bit for bit, on random images.

    Args:
        cases: About so many, at least one of each family.
        seed: Of all that is random; the same seed gives the same cases.
        advance: Called after each case.

    Raises:
        OnelayerError: If fewer cases than one are asked for.
    """
    if cases < 1:
        raise OnelayerError(f"{cases} cases were asked for", expected="at least 1")
    results = []
    for place, (name, (draw, share)) in enumerate(FAMILIES.items()):
        count = max(1, round(cases * share / _SHARES))
        differing, first = 0, None
        for index in range(count):
            problem = _compared(draw(np.random.default_rng((seed, place, index))))
            if problem is not None:
                differing += 1
                first = first or f"case {index} of seed {seed}: {problem}"
            if advance is not None:
                advance()
        results.append(FamilyResult(name=name, cases=count, differing=differing, first_difference=first))
    return SelfcheckRecord(seed=seed, families=tuple(results), environment=current_environment())


def _compared(case: Case) -> str | None:
    """What differs between the original's result and the layer's; None if nothing does."""
    original = case.transform(case.image)
    try:
        result = compiled(case.transform, rounding="exact")(case.image)
    except OnelayerError as error:
        return f"{_words(case)} is refused: {error}"
    difference = difference_of(result, original)
    return None if difference is None else f"{_words(case)}: {difference}"


def difference_of(result: Any, original: Any) -> str | None:
    """How a result differs from another in type, dtype, shape or any bit; None if it does not."""
    kinds = [_kind(one) for one in (result, original)]
    if kinds[0] != kinds[1]:
        return f"{kinds[0]} in place of {kinds[1]}"
    ours, theirs = (_array(one) for one in (result, original))
    # As whole numbers: 0 and −0 are equal as floating point ones, and NaN is not.
    bits = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}[ours.itemsize]
    differing = int(np.count_nonzero(ours.view(bits) != theirs.view(bits)))
    if not differing:
        return None
    furthest = float(np.abs(ours.astype(np.float64) - theirs.astype(np.float64)).max())
    return f"{differing:,} of {ours.size:,} values differ, by up to {furthest:g}"


def _kind(image: Any) -> str:
    if isinstance(image, PIL.Image.Image):
        return f"a PIL image {image.mode} {image.size}"
    return f"{type(image).__name__} {getattr(image, 'dtype', '')} {tuple(getattr(image, 'shape', ()))}"


def _array(image: Any) -> Any:
    if isinstance(image, torch.Tensor):
        return np.ascontiguousarray(image.as_subclass(torch.Tensor).numpy())
    return np.ascontiguousarray(np.asarray(image))


def _words(case: Case) -> str:
    image = case.image
    strides = f", strides {image.stride()}" if isinstance(image, torch.Tensor) else ""
    return f"{' '.join(repr(case.transform).split())} of {_kind(image)}{strides}"
