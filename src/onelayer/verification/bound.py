"""The proved bound on the difference of a layer from a pipeline, over every image of a kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from onelayer.algebra import (
    Activation,
    Clamp,
    Operator,
    Program,
    Quantize,
    Range,
    Separable,
    Stage,
    affine_part,
    difference_range,
    simplify,
)
from onelayer.algebra.dense import refuse_too_large
from onelayer.backends.target import computes_in
from onelayer.dense_layer import DenseLayer
from onelayer.errors import OnelayerError
from onelayer.frontends import Derived, ImageSpec, derive
from onelayer.layer import OneLayer
from onelayer.pipelines import Pipeline
from onelayer.programs import Outputs, Transforms
from onelayer.verification.measurement import GreyScale
from onelayer.verification.rounding import UNIT_ROUNDOFF, Rounds, forward_error, levels_apart, stored

Layer = Callable[..., Any]
Transform = Callable[..., Any]

_COMPUTES_IN = {"auto": None, "numba": None, "triton": None, "torch": None, "reference": "float64"}
"""The dtype that each backend computes in; None for float64 where images are float64, and else float32."""


class NoBoundError(OnelayerError):
    """Raised where nothing can be proved of a layer and a pipeline, with the reason."""


@dataclass(frozen=True)
class Bound:
    """The largest difference of any output value of any image in a range.

    Attributes:
        units: The difference in units of the output.
        grey_levels: The difference in grey levels of the channel.
        pixel: Channel, row and column of the output value that can be furthest off, in grey levels.
        rounding_units: The part of ``units`` that allows for the rounding of the layer's arithmetic.
        bit_exact: Whether both sides give the same bits for every image, the original's own rounding included.
    """

    units: float
    grey_levels: float
    pixel: tuple[int, int, int]
    rounding_units: float
    bit_exact: bool = False


@dataclass(frozen=True)
class Arithmetic:
    """A layer's program and the precision it is computed in.

    Args:
        program: The program, in float64.
        dtype: Dtype of the weights and the sums.
        results: Dtypes that the result is converted to, in turn.
    """

    program: Program
    dtype: str
    results: tuple[str, ...]

    @cached_property
    def stored(self) -> Program:
        """The program with its weights in their dtype."""
        return stored(self.program, self.dtype)


def default_range(spec: ImageSpec) -> tuple[float, float]:
    """Return the smallest and largest value that images are assumed to have: 0 … 255 for uint8, or else 0 … 1."""
    return 0.0, spec.white


def proved_bound(
    layer: Layer, transform: Transform, spec: ImageSpec, input_range: tuple[float, float] | None = None
) -> Bound:
    """Bound the difference of a layer from a pipeline over every image of one kind.

    A layer that rounds as the original does is compared with the pipeline's program as it is derived bit for bit: where
    both are the same there is no difference on any image, provided that the libraries round as documented (``onelayer
    selfcheck`` compares).

    For all others the pipeline is taken in real arithmetic: derived, its operators multiplied out in float64. The layer
    is taken as it computes: its weights as they are stored, in float32 mostly, and on top of their difference (see
    :func:`onelayer.algebra.difference_range`) the bound for the rounding of its sums, ``n·2⁻²⁴·Σ|w||x|`` for n terms
    in float32 (see :func:`onelayer.verification.rounding.forward_error`). What the original's own float32 rounding adds
    is not in it, unless both sides only copy pixels, which rounds nothing.

    Args:
        layer: A :class:`~onelayer.OneLayer` or a :class:`~onelayer.DenseLayer`.
        transform: Torchvision transforms or a :class:`~onelayer.Pipeline`.
        spec: Kind of the images.
        input_range: Smallest and largest value of an image; None for 0 … 255 for uint8, or else 0 … 1.

    Raises:
        NoBoundError: If one of the two is not known, or not affine up to clamps and one rounding at the end; if uint8
            values are rounded between the pipeline's steps; or if there are too many weights to compare.
    """
    if isinstance(layer, OneLayer) and _is_exact(layer, spec):
        return _exact_bound(layer, transform, spec)
    low, high = default_range(spec) if input_range is None else input_range
    values = Range.of(spec.shape[0], low, high)
    derived = derived_from(transform, spec)
    arithmetic = arithmetic_of(layer, spec)
    try:
        return _bound(derived, arithmetic, values)
    except NoBoundError:
        raise
    except OnelayerError as error:
        raise NoBoundError(error.problem) from error


def _is_exact(layer: OneLayer, spec: ImageSpec) -> bool:
    return any(output.rounding == "exact" for output in _outputs_of(layer, spec).each)


def _outputs_of(layer: OneLayer, spec: ImageSpec) -> Outputs:
    try:
        return layer.source.outputs(spec)
    except OnelayerError as error:
        raise NoBoundError(f"the layer has no program for such images: {error.problem}") from error


def _exact_bound(layer: OneLayer, transform: Transform, spec: ImageSpec) -> Bound:
    _refuse_unknown(layer)
    try:
        original = Transforms(_transforms_of(transform), "exact").outputs(spec)
    except OnelayerError as error:
        raise NoBoundError(f"the pipeline is not known bit for bit: {error.problem}") from error
    if not _outputs_of(layer, spec).is_same(original):
        raise NoBoundError("the layer rounds between its stages, and is another program than the pipeline's")
    return Bound(0.0, 0.0, (0, 0, 0), 0.0, bit_exact=True)


def _transforms_of(transform: Transform) -> Transform:
    return transform.transform if isinstance(transform, Pipeline) else transform


def derived_from(transform: Transform, spec: ImageSpec) -> Derived:
    """Derive a pipeline in the operator algebra.

    Raises:
        NoBoundError: If it cannot be derived.
    """
    try:
        return derive(_transforms_of(transform), spec)
    except OnelayerError as error:
        where = "" if error.transform is None else f"{error.transform} in "
        raise NoBoundError(f"{where}the pipeline is not known as operators: {error.problem}") from error


def arithmetic_of(layer: Any, spec: ImageSpec) -> Arithmetic:
    """Find out what a layer computes.

    Raises:
        NoBoundError: If that is not known.
    """
    _refuse_unknown(layer)
    if isinstance(layer, DenseLayer):
        return _dense_arithmetic(layer, spec)
    assert isinstance(layer, OneLayer)
    outputs = _outputs_of(layer, spec)
    if len(outputs.each) > 1:
        raise NoBoundError(f"the layer makes {len(outputs.each)} images of one")
    (output,) = outputs.each
    if output.rounding == "exact":
        raise NoBoundError("the layer rounds between its stages, as the original does")
    lowered = str(computes_in(spec, output.spec, output.rounding)).removeprefix("torch.")
    dtype = _COMPUTES_IN[layer.backend] or lowered
    results = (lowered, output.spec.dtype) if output.spec.is_float else (lowered,)
    return Arithmetic(output.simplified.program, dtype, results)


def _refuse_unknown(layer: Any) -> None:
    """Refuse a layer that does more than its weights say, or whose backend rounds in an unknown way."""
    if type(layer) not in (OneLayer, DenseLayer):
        raise NoBoundError("the layer is neither a OneLayer nor a DenseLayer, so its weights are not known")
    if layer._forward_hooks or layer._forward_pre_hooks or "forward" in vars(layer):
        raise NoBoundError("the layer has hooks, so its weights are not all that it does")
    if isinstance(layer, OneLayer) and layer.backend not in _COMPUTES_IN:
        raise NoBoundError(f"how the backend {layer.backend!r} rounds is not known")


def _dense_arithmetic(layer: DenseLayer, spec: ImageSpec) -> Arithmetic:
    dtype = str(layer.weight.dtype).removeprefix("torch.")
    if dtype not in ("float32", "float64"):
        raise NoBoundError(f"the layer computes in {dtype}, which is too coarse")
    if spec.shape != layer.input_shape:
        raise NoBoundError(f"the layer takes images {layer.input_shape}, not {spec.shape}")
    try:
        refuse_too_large(layer.input_shape, layer.output_shape)
    except OnelayerError as error:
        raise NoBoundError(error.problem) from error
    if not (layer.weight.isfinite().all() and layer.bias.isfinite().all()):
        raise NoBoundError("a weight of the layer is not finite")
    operator = layer.to_operator()
    return Arithmetic(Program(layer.input_shape, (operator,)), dtype, (dtype,))


def _bound(derived: Derived, arithmetic: Arithmetic, values: Range) -> Bound:
    if arithmetic.dtype == "float32" and torch.get_float32_matmul_precision() != "highest":
        raise NoBoundError("torch.set_float32_matmul_precision lets products be less precise than float32")
    if not derived.input_spec.is_float:
        _refuse_rounding_between(derived)
    original, ending = _affine(derived.program, values, "pipeline")
    idle = _idle_clamps(arithmetic.program, values)
    acting = tuple(stage for index, stage in enumerate(arithmetic.stored.stages) if index not in idle)
    approximation, layer_ending = _affine(Program(arithmetic.program.in_shape, acting), values, "layer")
    if (original.in_shape, original.out_shape) != (approximation.in_shape, approximation.out_shape):
        raise NoBoundError(f"the layer gives images {approximation.out_shape}, the pipeline {original.out_shape}")
    # Clamps bring two values closer together, never further apart; but only if both are clamped alike.
    if ending != layer_ending:
        raise NoBoundError("the layer and the pipeline end with different activations")
    smallest, largest = difference_range(approximation, original, values)
    rounding, reach = forward_error(arithmetic.stored, values, arithmetic.dtype, idle)
    rounding = rounding + (reach + rounding) * _conversions(arithmetic)
    apart = np.maximum(-smallest, largest) + rounding
    if ending and isinstance(ending[-1], Quantize):
        apart = levels_apart(apart, _rounding_of(derived, ending[-1]))
    levels = apart / GreyScale.of_derived(derived, values).level[:, None, None]
    channel, row, col = (int(place) for place in np.unravel_index(int(levels.argmax()), levels.shape))
    pixel = channel, row, col
    bit_exact = not apart.any() and all(map(_is_copy, derived.program.stages))
    return Bound(float(apart.max()), float(levels.max()), pixel, float(rounding[pixel]), bit_exact)


def _is_copy(stage: Stage) -> bool:
    """Whether a stage of a pipeline copies pixels, which rounds nothing, or rounds whole numbers."""
    return isinstance(stage, Quantize) or (isinstance(stage, Separable) and stage.is_choice)


def _idle_clamps(program: Program, values: Range) -> frozenset[int]:
    """Find the clamps that never act on real numbers, although stored weights may add up to a little more."""
    applied = simplify(program, values).applied
    return frozenset(index for rule in applied if rule.name == "drop idle clamp" for index in rule.stages)


def _affine(program: Program, values: Range, name: str) -> tuple[Operator, tuple[Activation, ...]]:
    simplified = simplify(program, values).program
    parts = affine_part(simplified)
    if parts is None:
        between = next(type(stage).__name__ for stage in simplified.stages if isinstance(stage, Activation))
        raise NoBoundError(f"the {name} is not affine: it has a {between} between its operators")
    operator, ending = parts
    for place, stage in enumerate(ending, 1):
        if not (isinstance(stage, Clamp) or (isinstance(stage, Quantize) and place == len(ending))):
            raise NoBoundError(f"the {name} is not affine: it ends with a {type(stage).__name__}")
    return operator, ending


def _conversions(arithmetic: Arithmetic) -> float:
    """Compute the relative error of converting the sums to the dtypes of the results."""
    relative, finest = 0.0, UNIT_ROUNDOFF[arithmetic.dtype]
    for result in arithmetic.results:
        if UNIT_ROUNDOFF[result] > finest:
            relative += UNIT_ROUNDOFF[result] * (1 + relative)
            finest = UNIT_ROUNDOFF[result]
    return relative


def _refuse_rounding_between(derived: Derived) -> None:
    """Refuse a pipeline that rounds uint8 values other than once, in the last computing step, pixel by pixel."""
    computing = [
        step for step in derived.steps if not all(stage.keeps_integers for stage in _stages(derived, step.stages))
    ]
    rounded = [step for step in computing if not step.output_spec.is_float]
    if not rounded:
        return
    pointwise = all(
        not isinstance(stage, Operator)
        or (isinstance(stage, Separable) and stage.rows.is_identity and stage.cols.is_identity)
        for stage in _stages(derived, rounded[0].stages)
    )
    # A resize rounds between its two passes, and its weights are fixed point numbers.
    if len(rounded) > 1 or rounded[0] is not computing[-1] or not pointwise or derived.output_spec.is_float:
        names = ", ".join(step.name for step in rounded)
        raise NoBoundError(f"the original rounds between its steps, as it gives uint8 values after {names}")


def _stages(derived: Derived, indices: range) -> list[Any]:
    return [derived.program.stages[index] for index in indices]


def _rounding_of(derived: Derived, quantize: Quantize) -> Rounds:
    if all(stage.keeps_integers for stage in derived.program.stages):
        return "nowhere"
    # A rounding that the pipeline does not ask for stands for any rounding of the original.
    last = len(derived.program.stages) - 1
    asked_for = any(last in step.stages for step in derived.steps)
    return "alike" if asked_for and quantize.rounding in ("truncate", "half_up") else "somehow"
