"""The product of two operators, by the pair of their types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from onelayer.algebra.channels import bias_image
from onelayer.algebra.dense import Dense, refuse_too_large
from onelayer.algebra.float32_sum import Float32Sum
from onelayer.algebra.operator import FloatArray, Operator, TooLargeError, samples_of
from onelayer.algebra.pixel_matrix import Spatial, pixel_matrix, taps_per_row
from onelayer.algebra.separable import Separable
from onelayer.algebra.spatial_sparse import SpatialSparse
from onelayer.errors import OnelayerError

MAX_TERMS = 20_000_000
"""Multiplications of the largest product of two pixel matrices that is formed, 240 MB where none of them merge."""


def compose(first: Operator, second: Operator) -> Operator:
    """The operator that applies ``first``, then ``second``, as one.

    Returns:
        A Separable for two of them, a Dense if either is one, a SpatialSparse otherwise; Float32Sum for these with a
        choice of their outputs (:attr:`Separable.is_choice`) behind them.

    Raises:
        OnelayerError: If the output shape of the first is not the input shape of the second, or the product has no
            such form: sums that round to float32 have none with other operators.
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
    if isinstance(first, Float32Sum):
        return isinstance(second, Separable) and second.is_choice and not second.transpose
    return not isinstance(second, Float32Sum)


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


def _sparse(first: Spatial, second: Spatial) -> SpatialSparse:
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
    bias = second.apply(first.apply(np.zeros(first.in_shape)))
    return Dense(weight.reshape(outputs, -1), bias.ravel(), first.in_shape, second.out_shape)


def _behind_dense(first: Dense, second: Spatial) -> Dense:
    refuse_too_large(first.in_shape, second.out_shape)
    inputs = samples_of(first.in_shape)
    weight = second.apply_linear(first.weight.T.reshape(inputs, *first.out_shape))
    bias = second.apply(first.bias.reshape(first.out_shape))
    return Dense(weight.reshape(inputs, -1).T, bias.ravel(), first.in_shape, second.out_shape)


def _chosen(first: Float32Sum, second: Separable) -> Float32Sum:
    return first.chosen(second.rows, second.cols)


_PRODUCTS: dict[tuple[type, type], Callable[[Any, Any], Operator]] = {
    (Separable, Separable): _separable,
    (Float32Sum, Separable): _chosen,
    (Separable, SpatialSparse): _sparse,
    (SpatialSparse, Separable): _sparse,
    (SpatialSparse, SpatialSparse): _sparse,
    (Separable, Dense): _before_dense,
    (SpatialSparse, Dense): _before_dense,
    (Dense, Dense): _before_dense,
    (Dense, Separable): _behind_dense,
    (Dense, SpatialSparse): _behind_dense,
}


def _product_bias(first: Spatial, second: Spatial) -> FloatArray:
    if not first.bias.any():
        return second.bias
    if first.bias.ndim == 1 and second.gain is not None:
        carried: FloatArray = second.gain * (second.channel @ first.bias)
        return second.bias + (carried if second.bias.ndim == 1 else bias_image(carried))
    return second.apply(np.broadcast_to(bias_image(first.bias), first.out_shape))


def _pixel_matrix(operator: Spatial) -> Any:
    _refuse_too_many(int(taps_per_row(operator).sum()))
    return pixel_matrix(operator)


def _refuse_too_many(terms: int) -> None:
    if terms > MAX_TERMS:
        raise TooLargeError(
            f"a product of pixel matrices would take {terms:,} multiplications to form",
            expected=f"at most {MAX_TERMS:,}",
            hint="Keep the two as stages of their own.",
        )
