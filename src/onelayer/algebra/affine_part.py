"""A program as one affine operator and what acts on its values afterwards."""

from __future__ import annotations

from functools import reduce

from onelayer.algebra.activations import Activation
from onelayer.algebra.compose import compose
from onelayer.algebra.operator import Operator
from onelayer.algebra.program import Program
from onelayer.algebra.separable import Separable


def affine_part(program: Program) -> tuple[Operator, tuple[Activation, ...]] | None:
    """The product of a program's operators, and the activations behind them.

    Args:
        program: Simplified for the values it is given, so that activations that never act are gone.

    Returns:
        The operator, which is the identity where the program has none, and the activations in order; None if an
        operator stands behind an activation.

    Raises:
        TooLargeError: If the matrix of the product would be too large to build.
    """
    operators = [stage for stage in program.stages if isinstance(stage, Operator)]
    activations = tuple(stage for stage in program.stages if isinstance(stage, Activation))
    if program.stages != (*operators, *activations):
        return None
    return reduce(compose, operators) if operators else Separable.identity(program.in_shape), activations
