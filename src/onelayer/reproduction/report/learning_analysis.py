"""Explain the error of the learned layer, and compare it with other recipes on the same images: sentences and a table.

As in the conclusion, nothing is taken for granted: every sentence follows from the records.
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
from onelayer.reproduction.report.ranking import derived_first

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from onelayer.reproduction.records import (
        DirectionErrors,
        DirectionsRecord,
        Epoch,
        LayerMetrics,
        MetricsRecord,
        OtherRecipeLayer,
        OtherRecipesRecord,
        RunRecord,
    )

MOST_VARIANCE = 0.95
"""Share of the variance that the first directions are said to hold."""
LEARNED, UNTOUCHED = 0.1, 0.9
"""Shares of its initial error: at most the first is left in a learned direction, at least the second in an untouched
one."""
_CLEARLY_BETTER = 3.0
"""Gain in decibels of a clearly better layer: half the squared error."""

OTHER_RECIPES_HEADER = (
    "Recipe",
    "Images",
    "Epochs",
    "Time",
    "MSE",
    "PSNR",
    "Largest error (of\N{NO-BREAK SPACE}255)",
    "Proved bound (of\N{NO-BREAK SPACE}255)",
)
OTHER_RECIPES_MINOR = ("Images", "Epochs", "MSE", OTHER_RECIPES_HEADER[-1])
"""Columns that narrow screens leave out."""
_RECIPES = {
    "report": "Adam (this run)",
    "least-squares": "least squares",
    "adam-whitened": "Adam on whitened images",
}


@dataclass(frozen=True)
class DirectionShare:
    """A number of directions, and their part in the mean squared error over the images."""

    directions: int
    error: float


@dataclass(frozen=True)
class ErrorShares:
    """The parts of a layer's error by direction. With that of the mean image they add up to 1.

    Attributes:
        learned: Directions with little of their initial error left.
        between: All other directions.
        untouched: Directions with nearly all of it left.
        offset: Part of the mean image, bias included: an error that is the same for every image.
        total: Mean squared error.
    """

    learned: DirectionShare
    between: DirectionShare
    untouched: DirectionShare
    offset: float
    total: float


def error_shares(record: DirectionsRecord, errors: DirectionErrors) -> ErrorShares | None:
    """Sort directions by the rest of their error before the first step; None if that was not recorded."""
    start = next((each.errors for each in record.epochs if each.epoch == 0), None)
    total = sum(errors.left) + errors.offset
    if start is None or total == 0:
        return None
    now, before = np.array(errors.squared), np.array(start.squared)
    # The shares are those of roots of mean squares, which is what the figure shows.
    learned = now <= LEARNED**2 * before
    untouched = ~learned & (now >= UNTOUCHED**2 * before)

    def share(groups: NDArray[np.bool_]) -> DirectionShare:
        left = float(np.array(errors.left)[groups].sum())
        return DirectionShare(int(np.array(record.sizes)[groups].sum()), left / total)

    return ErrorShares(share(learned), share(~learned & ~untouched), share(untouched), errors.offset / total, total)


def directions(
    record: DirectionsRecord, run: RunRecord, history: list[Epoch], others: OtherRecipesRecord | None
) -> list[str]:
    """Put the figure of the directions into numbers."""
    count = sum(record.sizes)
    sentences = [_spectrum(record)]
    epochs = {each.epoch: each.errors for each in record.epochs}
    kept = run.training.best_epoch if run.training else None
    here = error_shares(record, epochs[kept]) if kept in epochs else None
    if here is None:
        return sentences
    first = error_shares(record, epochs[1]) if 1 in epochs and kept != 1 else None
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


def _meaning(here: ErrorShares, history: list[Epoch]) -> str:
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
        if other.recipe == "adam-whitened" and other.directions and (found := error_shares(record, other.directions)):
            return [
                f"Whitened images vary alike in every direction. After {_epochs(other)} of Adam on these, at most a "
                f"tenth of that error at the start was left in {found.learned.directions:,} of {count:,} directions; "
                f"the mean squared error on training images is {mse_with_psnr(found.total)}."
            ]
    return []


def better_recipes(metrics: MetricsRecord, others: OtherRecipesRecord) -> list[str]:
    """Say which recipes did better on the same test images, and which did not."""
    by_name = {layer.layer: layer for layer in metrics.layers}
    own = metrics.layers[0]
    known = [(other, by_name[other.name]) for other in others.layers if other.name in by_name]
    better = [(other, layer) for other, layer in known if _gain(own, layer) >= _CLEARLY_BETTER]
    sentences = [
        f"{_capital(_RECIPES[other.recipe])}, from {other.images:,} images in {duration(other.seconds)}: "
        f"{decibels(layer.psnr_db)}."
        for other, layer in better
    ]
    if better:
        sentences.append(
            "The learned layer is of the same kind as these: one layer, as many weights. So its recipe limits it, and "
            "not that a layer is linear."
        )
    worse = [other for other, layer in known if _gain(own, layer) < _CLEARLY_BETTER]
    sentences += [
        f"{_capital(_RECIPES[other.recipe])}, from {other.images:,} images, was not clearly better in this run."
        for other in worse
    ]
    return sentences


def best_recipe(metrics: MetricsRecord, others: OtherRecipesRecord | None) -> str | None:
    """Name the best of the other recipes in one sentence, if it is clearly better than the run's own."""
    own = metrics.layers[0]
    by_name = {layer.layer: layer for layer in metrics.layers}
    known = [(other, by_name[other.name]) for other in (others.layers if others else ()) if other.name in by_name]
    if not known:
        return None
    other, layer = max(known, key=lambda each: _gain(own, each[1]))
    if _gain(own, layer) < _CLEARLY_BETTER:
        return None
    return (
        f"The recipe limits the learned layer: {_RECIPES[other.recipe]} on {other.images:,} of the "
        f"same images found a layer of {decibels(layer.psnr_db)} in {duration(other.seconds)}."
    )


def other_recipe_rows(run: RunRecord, metrics: MetricsRecord, others: OtherRecipesRecord) -> list[tuple[str, ...]]:
    """Make one row of text per compared layer, under OTHER_RECIPES_HEADER; the derived layer comes first."""
    learned = {other.name: other for other in others.layers}
    rows = []
    own = metrics.layers[0].layer
    for layer in derived_first(metrics.layers, lambda each: each.layer):
        if layer.layer in learned:
            other = learned[layer.layer]
            cells = _RECIPES[other.recipe], f"{other.images:,}", _epochs(other), duration(other.seconds)
        elif layer.layer == own and run.training is not None:
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


def _epochs(other: OtherRecipeLayer) -> str:
    if other.recipe == "least-squares":
        return "one pass"
    return f"{other.epochs} epoch" if other.epochs == 1 else f"{other.epochs} epochs"


def _gain(own: LayerMetrics, layer: LayerMetrics) -> float:
    """Compute by how many decibels a layer is better than the run's own."""
    if layer.psnr_db is None or own.psnr_db is None:
        return 0.0 if own.psnr_db is None else float("inf")
    return layer.psnr_db - own.psnr_db


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
