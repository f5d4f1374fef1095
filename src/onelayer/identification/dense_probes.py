"""A function of few values, one input value at a time."""

from __future__ import annotations

import numpy as np

from onelayer.algebra.operator import FloatArray, samples_of
from onelayer.identification.affinity import WorkingPoint
from onelayer.identification.black_box import BlackBox
from onelayer.identification.outputs_seen import OutputsSeen

_AT_ONCE = 32


def find_dense(box: BlackBox, point: WorkingPoint, seen: OutputsSeen) -> FloatArray:
    """All weights, float64 [C'·H'·W', C·H·W].

    Raises:
        OverBudgetError: If the budget does not allow as many images as there are input values.
    """
    inputs = samples_of(box.given.shape)
    signs = (1, -1) if seen.grain > 0.0 else (1,)
    box.reserve(len(signs) * inputs, "asking about every input value")
    base = point.base.ravel()
    weight = np.zeros((samples_of(box.after.shape), inputs))
    for begin in range(0, inputs, _AT_ONCE):
        places = np.arange(begin, min(begin + _AT_ONCE, inputs))
        for sign in signs:
            images = np.repeat(base[None], len(places), axis=0)
            images[np.arange(len(places)), places] += sign * point.reach
            shaped = images.reshape(len(places), *box.given.shape)
            apart = (box(shaped) - point.output).reshape(len(places), -1)
            values = box.values(images[np.arange(len(places)), places]) - box.values(base[places])
            weight[:, places] += (apart / values[:, None]).T / len(signs)
    return weight
