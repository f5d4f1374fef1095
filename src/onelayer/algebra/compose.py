"""The product of two operators, by the pair of their types, and of all operators of a program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from onelayer.algebra.activations import Activation
from onelayer.algebra.channels import bias_image
from onelayer.algebra.checks import FloatArray
from onelayer.algebra.dense import Dense, refuse_too_large
from onelayer.algebra.float32_sum import Float32Sum
from onelayer.algebra.operator import Operator, TooLargeError, samples_of
from onelayer.algebra.program import Program
from onelayer.algebra.separable import Separable
from onelayer.algebra.spatial import SpatialOperator
from onelayer.algebra.spatial_sparse import SpatialSparse
from onelayer.errors import OnelayerError

MAX_TERMS = 20_000_000
"""Multiplications of the largest product of two pixel matrices that is formed, 240 MB where none of them merge."""


def compose(first: Operator, second: Operator) -> Operator:
    """Multiply two operators: the product applies ``first``, then ``second``.

    Returns:
        A Separable for two of them, a Dense if either is one, a SpatialSparse otherwise; Float32Sum for these with a
        choice of their outputs (:attr:`Separable.is_choice`) behind them.

    Raises:
        OnelayerError: If the output shape of the first is not the input shape of the second, or the product has no
            such form: sums that round to float32, and operators of other kinds, have none.
        TooLargeError: If the matrix of the result would be too large to build.
    """
    if first.out_shape != second.in_shape:
        raise OnelayerError(
            f"an operator for images {second.in_shape} was put behind one that gives {first.out_shape}",
            expected="equal shapes",
        )
    if not has_product(first, second):
        raise OnelayerError(f"{type(first).__name__} and {type(second).__name__} have no product as one operator")
    return _PRODUCTS[type(first), type(second)](first, second)


def has_product(first: Operator, second: Operator) -> bool:
    """Whether there is an operator that does what the two do, one after the other."""
    if isinstance(first, Float32Sum) and isinstance(second, Separable):
        return second.is_choice and not second.transpose
    return (type(first), type(second)) in _PRODUCTS


def affine_part(program: Program) -> tuple[Operator, tuple[Activation, ...]] | None:
    """Multiply out a program's operators, and give the activations behind them.

    Args:
        program: Program simplified for its input range, so that activations that never act are gone.

    Returns:
        The operator, which is the identity where the program has none, and the activations in order; None if an
        operator stands behind an activation, or some operators have no product.

    Raises:
        TooLargeError: If the matrix of the product would be too large to build.
    """
    operators = [stage for stage in program.stages if isinstance(stage, Operator)]
    activations = tuple(stage for stage in program.stages if isinstance(stage, Activation))
    if program.stages != (*operators, *activations):
        return None
    if not operators:
        return Separable.identity(program.in_shape), activations
    product = operators[0]
    for operator in operators[1:]:
        if not has_product(product, operator):
            return None
        product = compose(product, operator)
    return product, activations


def _separable(first: Separable, second: Separable) -> Separable:
    # What transposes last decides which of the first one's axes its rows meet.
    rows, cols = (first.cols, first.rows) if second.transpose else (first.rows, first.cols)
    return Separable(
        second.channel @ first.channel,
        second.rows @ rows,
        second.cols @ cols,
        _product_bias(first, second),
        first.transpose != second.transpose,
    )


def _sparse(first: SpatialOperator, second: SpatialOperator) -> SpatialSparse:
    before, after = _pixel_matrix(first), _pixel_matrix(second)
    terms = int(np.diff(before.indptr)[after.indices].sum())
    _refuse_too_many(terms)
    return SpatialSparse(
        second.channel @ first.channel,
        after @ before,
        first.in_shape[1:],
        second.out_shape[1:],
        _product_bias(first, second),
    )


def _before_dense(first: Operator, second: Dense) -> Dense:
    refuse_too_large(first.in_shape, second.out_shape)
    outputs = samples_of(second.out_shape)
    weight = first.apply_transposed(second.weight.reshape(outputs, *second.in_shape))
    bias = second.apply(first.offset())
    return Dense(weight.reshape(outputs, -1), bias.ravel(), first.in_shape, second.out_shape)


def _behind_dense(first: Dense, second: SpatialOperator) -> Dense:
    refuse_too_large(first.in_shape, second.out_shape)
    inputs = samples_of(first.in_shape)
    weight = second.apply_linear(first.weight.T.reshape(inputs, *first.out_shape))
    bias = second.apply(first.offset())
    return Dense(weight.reshape(inputs, -1).T, bias.ravel(), first.in_shape, second.out_shape)


def _selected(first: Float32Sum, second: Separable) -> Float32Sum:
    return first.selecting(second.rows, second.cols)


_PRODUCTS: dict[tuple[type, type], Callable[[Any, Any], Operator]] = {
    (Separable, Separable): _separable,
    (Float32Sum, Separable): _selected,
    (Separable, SpatialSparse): _sparse,
    (SpatialSparse, Separable): _sparse,
    (SpatialSparse, SpatialSparse): _sparse,
    (Separable, Dense): _before_dense,
    (SpatialSparse, Dense): _before_dense,
    (Dense, Dense): _before_dense,
    (Dense, Separable): _behind_dense,
    (Dense, SpatialSparse): _behind_dense,
}
"""Products by the pair of types; pairs that are missing stay two stages."""


def _product_bias(first: SpatialOperator, second: SpatialOperator) -> FloatArray:
    if not first.bias.any():
        return second.bias
    if first.bias.ndim == 1 and second.gain is not None:
        carried: FloatArray = second.gain * (second.channel.matrix @ first.bias)
        return second.bias + (carried if second.bias.ndim == 1 else bias_image(carried))
    return second.apply(first.offset())


def _pixel_matrix(operator: SpatialOperator) -> Any:
    _refuse_too_many(int(operator.taps_per_row.sum()))
    return operator.pixel_matrix()


def _refuse_too_many(terms: int) -> None:
    if terms > MAX_TERMS:
        raise TooLargeError(
            f"a product of pixel matrices would take {terms:,} multiplications to form",
            expected=f"at most {MAX_TERMS:,}",
            hint="Keep the two as stages of their own.",
        )
