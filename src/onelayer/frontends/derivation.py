"""Derive programs from pipelines of transform objects."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from onelayer.algebra import Lookup, Program, Quantize, Range, Shape, Stage
from onelayer.algebra.ranges import ranges_of
from onelayer.errors import OnelayerError
from onelayer.frontends.base import (
    UNREADABLE,
    UnsupportedTransformError,
    function_of,
    has_hooks,
    name_of,
    nearest_kind,
    not_bit_exact,
    stages_of,
    unreadable,
)
from onelayer.frontends.probing import keeps_type
from onelayer.image_spec import ImageSpec, RoundingMode
from onelayer.memory_limits import refuse_impossible

Transform = Callable[..., Any]
"""A transform, a function or a ``functools.partial`` of one, or a container of these."""

CONTAINERS: dict[Hashable, Callable[[Any], Iterable[Transform] | None]] = {}
"""The transforms of a container in order, by its kind; None for a container that is a transform of its own. Front ends
add theirs."""


OF_V1: set[str] = {"torchvision.transforms."}
"""Beginnings of the names of modules whose transforms work through v1's functions, but for v2 itself. Front ends add
theirs."""


@dataclass(frozen=True)
class Step:
    """A transform of a pipeline and the stages that it became.

    Args:
        name: Name of its class or function.
        transform: The transform itself.
        index: Index in the pipeline, from 0, with nested containers flattened.
        stages: Indices of its stages in the program; empty for a transform that changes no value.
        input_spec: The image that arrives.
        output_spec: The image that leaves.
    """

    name: str
    transform: Any
    index: int
    stages: range
    input_spec: ImageSpec
    output_spec: ImageSpec

    @property
    def text(self) -> str:
        """The transform's ``repr``, made on request: for some transforms it takes longer than deriving them."""
        return repr(self.transform)


@dataclass(frozen=True)
class Derived:
    """A pipeline in the operator algebra.

    Args:
        program: The stages, not fused. With ``exact`` rounding they contain every rounding of the original; with
            ``fused`` rounding none between steps, and one rounding to uint8, which belongs to no step, at the end if
            the output is uint8.
        steps: The transforms in order.
        input_spec: The image that arrives.
        output_spec: The image that leaves.
    """

    program: Program
    steps: tuple[Step, ...]
    input_spec: ImageSpec
    output_spec: ImageSpec


def derive(transform: Transform, spec: ImageSpec, rounding: RoundingMode = "fused") -> Derived:
    """Derive the program of a transform or a pipeline of transforms.

    Values are in the units of the tensors: 0 … 255 for uint8. With ``fused`` rounding they are real numbers.
    Saturation that torchvision does stays in the program, once per transform. Between the two passes of one resize,
    where Pillow and PyTorch round and saturate uint8 values too, both are left out: with bicubic and Lanczos filters an
    image that overshoots in the first pass can differ by far more than the rounding (31 levels were seen on small
    images of uint8 noise). With ``exact`` rounding every rounding of the libraries stays where they do it.

    Args:
        transform: A transform, a function or a ``functools.partial`` of one, or a ``Compose`` or ``nn.Sequential``
            of these, nested at will.
        spec: The image that arrives at the first transform.
        rounding: ``fused`` or ``exact``.

    Raises:
        UnsupportedTransformError: For a transform that cannot be derived, or not bit for bit with ``exact`` rounding,
            with its name and index.
    """
    return derive_sequence(transforms_of(transform), spec, rounding)


def derive_sequence(transforms: Sequence[Any], spec: ImageSpec, rounding: RoundingMode) -> Derived:
    """Derive transforms in order, none of which contains others; see :func:`derive`."""
    steps: list[Step] = []
    stages: list[Stage] = []
    current = spec
    for index, transform in enumerate(transforms):
        try:
            if spec.is_float and changes_its_image(transform):
                raise UnsupportedTransformError(
                    "it may change the image itself, in place", expected="inplace=False, or an image of bytes"
                )
            added, output = stages_of(transform, current, rounding)
            is_wrapped = output.container == "image" and returns_plain_tensors(transform)
            if is_wrapped and (added or not keeps_type(transform, current)):
                output = replace(output, container="tensor")
            _check_shape(added, current, output)
            refuse_impossible("an image", output.shape, 1)
            if rounding == "fused":
                _check_look_ups(stages, added)
            else:
                check_conversion(spec, stages, current, added, output)
        except UNREADABLE as raised:
            error = raised if isinstance(raised, OnelayerError) else unreadable(transform, raised)
            raise UnsupportedTransformError(
                error.problem,
                expected=error.expected,
                hint=_hint(error, transforms, spec, rounding),
                transform=name_of(transform),
                stage=index,
                shape=current.shape,
                dtype=current.dtype,
            ) from raised
        indices = range(len(stages), len(stages) + len(added))
        steps.append(Step(name_of(transform), transform, index, indices, current, output))
        stages += added
        current = output
    if rounding == "fused" and not current.is_float and not (stages and isinstance(stages[-1], Quantize)):
        stages.append(Quantize("half_even"))
    return Derived(Program(spec.shape, tuple(stages)), tuple(steps), spec, current)


def transforms_of(transform: Transform) -> tuple[Transform, ...]:
    """List the transforms of a pipeline in order, with nested containers flattened."""
    return tuple(_flattened(transform))


def _flattened(transform: Transform) -> Iterator[Transform]:
    try:
        kind = nearest_kind(transform, CONTAINERS)
    except UnsupportedTransformError:
        # A container that does more than its parent is a transform of its own, for which there may be a handler.
        kind = None
    parts = None if kind is None or has_hooks(transform) else CONTAINERS[kind](transform)
    if parts is None:
        yield transform
        return
    for part in parts:
        yield from _flattened(part)


def returns_plain_tensors(transform: Transform) -> bool:
    """Whether a transform makes a plain tensor of a ``tv_tensors.Image``."""
    if getattr(transform, "returns_plain_tensors", False):
        return True
    # The functions of v1 work through tensor operations, which do not keep the subclass.
    module = getattr(function_of(transform), "__module__", None) or type(transform).__module__
    return module.startswith(tuple(OF_V1)) and not module.startswith("torchvision.transforms.v2")


def changes_its_image(transform: Transform) -> bool:
    """Whether a transform writes its result over the image that it gets."""
    keywords = getattr(transform, "keywords", {})
    return bool(keywords.get("inplace", getattr(transform, "inplace", False)))


def _check_shape(stages: list[Stage], spec: ImageSpec, output: ImageSpec) -> None:
    out_shape = Program(spec.shape, tuple(stages)).out_shape
    if out_shape != output.shape:
        raise OnelayerError(
            f"the handler's stages give images {out_shape}, but it says {output.shape}",
            expected="equal shapes",
            hint="Correct the handler.",
        )


def _check_look_ups(before: list[Stage], added: list[Stage]) -> None:
    if any(isinstance(stage, Lookup) for stage in added) and not all(stage.keeps_integers for stage in before):
        raise OnelayerError(
            "a look-up table takes whole numbers, and without rounding the steps before it give others",
            hint="Put it before the steps that compute new values, or use rounding='exact'.",
        )


def check_conversion(
    first: ImageSpec, stages: Sequence[Stage], before: ImageSpec, added: Sequence[Stage], after: ImageSpec
) -> None:
    """Refuse a conversion of floats to bytes where values may lie beyond 0 … 255.

    These saturate here; what PyTorch makes of them depends on the processor, and on their place in memory.

    Args:
        first: The image that enters the pipeline.
        stages: Stages before the conversion.
        before: The image that is converted.
        added: Stages of the conversion.
        after: The image that leaves it.

    Raises:
        UnsupportedTransformError: If it is not proved that they do not.
    """
    if not added or not before.is_float or after.is_float:
        return
    if not first.is_float:
        *_, values = ranges_of([*stages, *added[:-1]], Range.of(first.shape[0], 0.0, 255.0))
        if values.low.min() > -1 and values.high.max() < 256:
            return
    raise not_bit_exact(
        f"a conversion from {before.dtype} to {after.dtype} of values that may lie beyond black and white",
        "values that were bytes, and have stayed between black and white",
    )


def _hint(error: OnelayerError, transforms: Sequence[Any], spec: ImageSpec, rounding: RoundingMode) -> str:
    """Choose the hint for transforms that cannot be derived for such images: another order of axes, if that helps."""
    channels, height, width = spec.shape
    if channels > 4 and width in (1, 3) and _can_derive(transforms, (width, channels, height), spec, rounding):
        return (
            f"Channels come first: {spec.shape} means {channels} channels of {height}×{width} pixels. The shape of "
            f"{channels}×{height} pixels with {width} channel{'s' * (width > 1)} is {(width, channels, height)}, as "
            "image.permute(2, 0, 1) makes it."
        )
    swapped = spec.container == "numpy" and channels > 4 and height in (1, 3)
    if swapped and _can_derive(transforms, (height, width, channels), spec, rounding):
        return (
            f"Channels of NumPy arrays come last: this one has {channels} of them, and {height}×{width} pixels. "
            "np.moveaxis(image, 0, -1) makes them the last."
        )
    return error.hint or "Change the arguments of the transform, or the images that arrive at it."


def _can_derive(transforms: Sequence[Any], shape: Shape, spec: ImageSpec, rounding: RoundingMode) -> bool:
    try:
        derive_sequence(transforms, replace(spec, shape=shape), rounding)
    except OnelayerError:
        return False
    return True
