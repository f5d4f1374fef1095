"""Why the learned layer is as far off as it is, and what else was found on the same images: sentences and a table.

As in the conclusion, nothing is taken for granted: every sentence follows from the records given.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from onelayer.formats import (
    ABSENT,
    decibels,
    duration,
    grey_levels,
    grey_levels_at_most,
    mse_with_psnr,
    percent,
    scientific,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from onelayer.reproduction.history import Epoch
    from onelayer.reproduction.records import (
        DirectionErrors,
        DirectionsRecord,
        LayerMetrics,
        MetricsRecord,
        OtherLayer,
        OtherRecipesRecord,
        RunRecord,
    )

MOST_VARIANCE = 0.95
"""What share of the variance the first directions are said to hold."""
LEARNED, AS_AT_THE_START = 0.1, 0.9
"""Of the error that a direction began with: at most so much is left where it counts as learned, and at least so much
where it counts as left as it was."""
_CLEARLY = 3.0
"""Decibels by which a layer must be better to be called so: half the squared error."""

OTHERS_HEADER = (
    "Recipe",
    "Images",
    "Epochs",
    "Time",
    "MSE",
    "PSNR",
    "Largest error (of 255)",
    "Proved bound (of 255)",
)
_RECIPES = {
    "report": "Adam (this run)",
    "least-squares": "least squares",
    "adam-whitened": "Adam on whitened images",
}


@dataclass(frozen=True)
class Share:
    """Some directions: how many there are, and what part of the mean squared error over the images is left in them."""

    directions: int
    error: float


@dataclass(frozen=True)
class Shares:
    """Where the error of a layer is left. The parts, and that of the mean image, add up to 1.

    Attributes:
        learned: Directions in which little of the error at the start is left.
        between: The others.
        untouched: Directions in which nearly all of it is left.
        offset: The part of the mean image, bias included: an error that is the same for every image.
        total: The mean squared error.
    """

    learned: Share
    between: Share
    untouched: Share
    offset: float
    total: float


def shares(record: DirectionsRecord, errors: DirectionErrors) -> Shares | None:
    """Sort directions by how much is left of the error before the first step; None if that was not kept."""
    start = next((each.errors for each in record.epochs if each.epoch == 0), None)
    total = sum(errors.left) + errors.offset
    if start is None or total == 0:
        return None
    now, before = np.array(errors.squared), np.array(start.squared)
    # The shares are those of roots of mean squares, which is what the figure shows.
    learned = now <= LEARNED**2 * before
    untouched = ~learned & (now >= AS_AT_THE_START**2 * before)

    def share(groups: NDArray[np.bool_]) -> Share:
        left = float(np.array(errors.left)[groups].sum())
        return Share(int(np.array(record.sizes)[groups].sum()), left / total)

    return Shares(share(learned), share(~learned & ~untouched), share(untouched), errors.offset / total, total)


def directions(
    record: DirectionsRecord, run: RunRecord, history: list[Epoch], others: OtherRecipesRecord | None
) -> list[str]:
    """What the figure of the directions shows, in numbers."""
    count = sum(record.sizes)
    sentences = [_spectrum(record)]
    epochs = {each.epoch: each.errors for each in record.epochs}
    kept = run.training.best_epoch if run.training else None
    here = shares(record, epochs[kept]) if kept in epochs else None
    if here is None:
        return sentences
    first = shares(record, epochs[1]) if 1 in epochs and kept != 1 else None
    so_far = f"{first.learned.directions:,} after the first epoch, " if first else ""
    sentences += [
        f"Directions in which at most a tenth of the error at the start was left: {so_far}{here.learned.directions:,} "
        f"after epoch {kept}, whose layer was kept. In {here.untouched.directions:,} of {count:,} "
        f"({percent(here.untouched.directions / count)}) nine tenths or more were left.",
        f"Of that layer’s mean squared error on training images, {mse_with_psnr(here.total)}, "
        f"{percent(here.offset)} is left in the mean image, the same for every image; {percent(here.learned.error)} in "
        f"the directions that were learned, {percent(here.between.error)} in those in between and "
        f"{percent(here.untouched.error)} in those that are nearly as at the start.",
        _meaning(here, history),
    ]
    return [*sentences, *_whitened(record, others, count)]


def _spectrum(record: DirectionsRecord) -> str:
    sizes, eigenvalues = np.array(record.sizes), np.array(record.eigenvalues)
    held = np.cumsum(sizes * eigenvalues)
    if held[-1] == 0:
        return "The images are all the same: they vary in no direction."
    enough = int(np.cumsum(sizes)[np.searchsorted(held, MOST_VARIANCE * held[-1])])
    most = f"Of {sizes.sum():,} directions the first {enough:,} hold {percent(MOST_VARIANCE)} of the images’ variance"
    if eigenvalues[-1] == 0:
        return f"{most}; in the last there is none."
    return f"{most}. From the first to the last it falls by a factor of {scientific(eigenvalues[0] / eigenvalues[-1])}."


def _meaning(here: Shares, history: list[Epoch]) -> str:
    if here.between.error + here.untouched.error > 0.5:
        return (
            "So most of what is left lies in directions of small variance, along which gradient descent creeps: the "
            "gradient there is as small as the variance."
        )
    errors = [epoch.validation_mse for epoch in history if epoch.finite]
    rises = sum(after > before for before, after in pairwise(errors))
    jumped = f" The validation MSE rose after {rises} of {len(errors) - 1} epochs." if rises else ""
    slow = (
        " In the directions of small variance they are too small to get anywhere. Images like these hardly show it, "
        "because they hardly vary there; other images can."
        if here.untouched.directions
        else ""
    )
    return (
        "So most of what is left does not wait to be learned: it is in the mean image and where images vary most, and "
        f"there Adam’s steps are too large to settle.{jumped}{slow}"
    )


def _whitened(record: DirectionsRecord, others: OtherRecipesRecord | None, count: int) -> list[str]:
    for other in others.layers if others else ():
        if other.recipe == "adam-whitened" and other.directions and (found := shares(record, other.directions)):
            return [
                f"Whitened images vary alike in every direction. After {_epochs(other)} of Adam on these, at most a "
                f"tenth of that error at the start was left in {found.learned.directions:,} of {count:,} directions; "
                f"the mean squared error on training images is {mse_with_psnr(found.total)}."
            ]
    return []


def cures(metrics: MetricsRecord, others: OtherRecipesRecord) -> list[str]:
    """Which recipes did better, on the same test images."""
    by_name = {layer.layer: layer for layer in metrics.layers}
    own = metrics.layers[0]
    known = [(other, by_name[other.name]) for other in others.layers if other.name in by_name]
    better = [(other, layer) for other, layer in known if _gain(own, layer) >= _CLEARLY]
    sentences = [
        f"{_capital(_RECIPES[other.recipe])}, from {other.images:,} images in {duration(other.seconds)}: "
        f"{decibels(layer.psnr_db)}."
        for other, layer in better
    ]
    if better:
        sentences.append(
            "The learned layer is of the same kind as these: one layer, as many weights. So it is the way of learning "
            "that limits it, and not that a layer is linear."
        )
    worse = [other for other, layer in known if _gain(own, layer) < _CLEARLY]
    sentences += [
        f"{_capital(_RECIPES[other.recipe])}, from {other.images:,} images, was not clearly better in this run."
        for other in worse
    ]
    return sentences


def best_cure(metrics: MetricsRecord, others: OtherRecipesRecord | None) -> str | None:
    """The best of the other recipes in one sentence, if it is clearly better than the run's own."""
    own = metrics.layers[0]
    by_name = {layer.layer: layer for layer in metrics.layers}
    known = [(other, by_name[other.name]) for other in (others.layers if others else ()) if other.name in by_name]
    if not known:
        return None
    other, layer = max(known, key=lambda each: _gain(own, each[1]))
    if _gain(own, layer) < _CLEARLY:
        return None
    return (
        f"What limits the learned layer is the way of learning: {_RECIPES[other.recipe]} on {other.images:,} of the "
        f"same images found one of {decibels(layer.psnr_db)} in {duration(other.seconds)}."
    )


def others_rows(run: RunRecord, metrics: MetricsRecord, others: OtherRecipesRecord) -> list[tuple[str, ...]]:
    """One row of text per layer that was compared, under OTHERS_HEADER."""
    learned = {other.name: other for other in others.layers}
    rows = []
    for number, layer in enumerate(metrics.layers):
        if layer.layer in learned:
            other = learned[layer.layer]
            cells = _RECIPES[other.recipe], f"{other.images:,}", _epochs(other), duration(other.seconds)
        elif number == 0 and run.training is not None:
            name = _RECIPES["report"] if run.recipe == "report" else f"{_RECIPES[run.recipe]} (this run)"
            summary = run.training
            cells = name, f"{run.data.train:,}", str(summary.epochs_run), duration(summary.seconds)
        else:
            cells = f"{layer.layer}, no learning", ABSENT, ABSENT, ABSENT
        rows.append((*cells, *_reached(layer)))
    return rows


def _reached(layer: LayerMetrics) -> tuple[str, ...]:
    bound = layer.bound_grey_levels
    return (
        scientific(layer.mse),
        decibels(layer.psnr_db),
        grey_levels(layer.max_grey_levels),
        ABSENT if bound is None else grey_levels_at_most(bound),
    )


def _epochs(other: OtherLayer) -> str:
    if other.recipe == "least-squares":
        return "one pass"
    return f"{other.epochs} epoch" if other.epochs == 1 else f"{other.epochs} epochs"


def _gain(own: LayerMetrics, layer: LayerMetrics) -> float:
    """By how many decibels a layer is better than the run's own."""
    if layer.psnr_db is None or own.psnr_db is None:
        return 0.0 if own.psnr_db is None else float("inf")
    return layer.psnr_db - own.psnr_db


def _capital(words: str) -> str:
    return words[0].upper() + words[1:]
