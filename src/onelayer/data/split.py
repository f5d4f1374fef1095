"""Carving the parts that a data set does not bring along out of its train part."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from onelayer.data.parts import PARTS, Images, Part
from onelayer.errors import OnelayerError

SPLIT_VERSION = 1
"""To be raised when the same seed comes to give another split: it is part of the key of a data set."""

_VALIDATION_DIVISOR = 10
_TEST_DIVISOR = 5


def carve_missing(given: Mapping[Part, Images], *, seed: int, source: str) -> dict[Part, Images]:
    """All three parts, of which the missing ones are drawn at random from train.

    A tenth of train becomes validation and a fifth becomes test, so that a data set without any parts, which is to
    be passed as train, is split 70 : 10 : 20. Each gets at least one image. A part that is given is left as it is.

    Args:
        given: At least train.
        seed: Of the draw.
        source: Named in errors.

    Returns:
        Train and what is carved from it in random order, so that their first images are a fair sample even where
        files are sorted by class. They are copies; where nothing is missing nothing is copied.

    Raises:
        OnelayerError: If a given part is empty, or train has too few images to carve from.
    """
    for part, images in given.items():
        if len(images) == 0:
            raise OnelayerError(f"{source} has no images in its {part} part", expected="at least one image per part")
    missing = [part for part in PARTS if part not in given]
    if not missing:
        return dict(given)
    pool = given["train"]
    if len(pool) < 1 + len(missing):
        raise OnelayerError(
            f"{source} has too few images to split: {len(pool)}",
            expected=f"at least {1 + len(missing)}, one per part",
            hint="Give --data more images.",
        )
    order = np.random.default_rng(seed).permutation(len(pool))
    parts = dict(given)
    taken = 0
    for part in missing:
        count = max(1, len(pool) // (_VALIDATION_DIVISOR if part == "validation" else _TEST_DIVISOR))
        parts[part] = pool[order[taken : taken + count]]
        taken += count
    parts["train"] = pool[order[taken:]]
    return parts


def describe_split(given: Collection[Part]) -> str:
    """How the parts come about, as the end of a sentence."""
    own = [part for part in PARTS if part in given]
    if own == ["train"]:
        return "split at random into 70% train, 10% validation and 20% test"
    if "validation" not in own:
        return "with their own train and test parts, a random tenth of train being validation"
    if "test" not in own:
        return "with their own train and validation parts, a random fifth of train being test"
    return "with their own train, validation and test parts"
