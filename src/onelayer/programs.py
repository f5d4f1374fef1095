"""The simplified programs of a pipeline for one kind of image, derived from transforms or known from before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import torch

from onelayer.algebra import Range, Simplified, simplify
from onelayer.errors import OnelayerError
from onelayer.frontends import DerivedOutputs, ImageSpec, RoundingMode, Transform, derive_outputs, transforms_of
from onelayer.frontends.base import Draw, draws_of
from onelayer.frontends.structure import Structure, structure_of

ANY_FLOAT = 1e30
"""Float images may hold any value; this stands for infinity where ranges are computed."""

Joined = Literal["one", "tuple", "stacked"]
Origin = Literal["saved", "identified", "recognised"]


@dataclass(frozen=True)
class Output:
    """One image that comes out.

    Args:
        simplified: Its program, with the rules that made it.
        spec: Spec of the image.
        rounding: ``exact`` if the program rounds as the original does, ``fused`` if it is one in real arithmetic.
    """

    simplified: Simplified
    spec: ImageSpec
    rounding: RoundingMode = "fused"


@dataclass(frozen=True)
class Outputs:
    """All that comes out for one image.

    Args:
        each: The one image, or several after a ``FiveCrop`` or ``TenCrop``.
        joined: ``one`` image, a ``tuple`` of them, or one tensor in which they are ``stacked``.

    Raises:
        OnelayerError: If there is none, more than ``one``, or those that are stacked differ in shape, dtype or
            container.
    """

    each: tuple[Output, ...]
    joined: Joined

    def __post_init__(self) -> None:
        specs = {output.spec for output in self.each}
        if not self.each or (self.joined == "one" and len(self.each) > 1):
            raise OnelayerError(f"{len(self.each)} images were given as joined to {self.joined}", expected="one image")
        if self.joined == "stacked" and (len(specs) > 1 or next(iter(specs)).container not in ("tensor", "image")):
            raise OnelayerError(f"images were given as stacked: {specs}", expected="tensors of one shape and dtype")

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays of all programs."""
        stages = (stage for output in self.each for stage in output.simplified.program.stages)
        return sum(array.nbytes for stage in stages for array in stage.arrays().values())

    def is_same(self, other: Outputs) -> bool:
        """Whether other outputs are of the same kinds and come from equal programs."""
        pairs = zip(self.each, other.each, strict=False)
        return (
            self.joined == other.joined
            and len(self.each) == len(other.each)
            and all(
                (one.spec, one.rounding) == (another.spec, another.rounding)
                and one.simplified.program.is_same(another.simplified.program)
                for one, another in pairs
            )
        )


class Source(Protocol):
    """A source of a layer's programs."""

    def structure(self, spec: ImageSpec) -> Structure | str:
        """State the pipeline for images of every size, or return the reason why each takes a program of its own.

        Args:
            spec: The image, of which the height and the width mean nothing.
        """

    def draws(self, spec: ImageSpec) -> tuple[Draw, ...]:
        """List the random numbers that the original draws for an image, though its result is fixed.

        Args:
            spec: The image, for which the pipeline has programs.
        """

    def outputs(self, spec: ImageSpec) -> Outputs:
        """Find what comes out for an image of this spec.

        Raises:
            OnelayerError: If the source has nothing for it.
        """


class Transforms:
    """Derives programs from transforms, for images of any size.

    Args:
        transform: Torchvision transforms, nested as you like.
        rounding: ``exact`` or ``fused``; None for exact where images are uint8, and fused for all others.
    """

    def __init__(self, transform: Transform, rounding: RoundingMode | None = None) -> None:
        self.transform = transform
        self.rounding = rounding

    def rounding_for(self, spec: ImageSpec) -> RoundingMode:
        """Choose the rounding of the programs for images of this spec."""
        if self.rounding is not None:
            return self.rounding
        return "fused" if spec.is_float else "exact"

    def structure(self, spec: ImageSpec) -> Structure | str:
        """State the pipeline for images of every size; see :class:`Source`."""
        # Tables are filled by calling the transforms, which is done on the CPU whatever the default device is.
        with torch.device("cpu"):
            return structure_of(transforms_of(self.transform), spec, self.rounding_for(spec))

    def draws(self, spec: ImageSpec) -> tuple[Draw, ...]:
        """List what the transforms draw; see :class:`Source`."""
        return draws_of(transforms_of(self.transform), spec)

    def derived(self, spec: ImageSpec) -> DerivedOutputs:
        """Derive programs from the transforms, without simplifying them.

        Raises:
            UnsupportedTransformError: For a transform that cannot be derived, with its name and place.
        """
        with torch.device("cpu"):
            return derive_outputs(transforms_of(self.transform), spec, self.rounding_for(spec))

    def outputs(self, spec: ImageSpec) -> Outputs:
        """Derive and simplify.

        Raises:
            UnsupportedTransformError: For a transform that cannot be derived, with its name and place.
        """
        derived = self.derived(spec)
        rounding = self.rounding_for(spec)
        low, high = (-ANY_FLOAT, ANY_FLOAT) if spec.is_float else (0.0, 255.0)
        input_range = Range.of(spec.shape[0], low, high)
        each = tuple(Output(simplify(one.program, input_range), one.output_spec, rounding) for one in derived.each)
        return Outputs(each, derived.joined)

    def __repr__(self) -> str:
        return repr(self.transform)


_MISSING: dict[Origin, tuple[str, str]] = {
    "saved": (
        "the layer was saved without a program for such images",
        "Save the original layer again with this size among `images`.",
    ),
    "identified": (
        "the layer was identified for other images",
        "Identify the function for this kind of image, too: its weights depend on the size.",
    ),
    "recognised": (
        "the layer was recognised in weights for other images",
        "Learned weights are for one size; convert or resize the image.",
    ),
}
"""Problem and hint where there is no program, by the origin of the programs."""


class SavedPrograms:
    """Programs that are known already, for images of certain sizes.

    Args:
        programs: Outputs by the spec of the input.
        origin: Origin of the programs: read from a file, identified in a function's answers, or recognised in
            learned weights.
    """

    def __init__(self, programs: Mapping[ImageSpec, Outputs], origin: Origin = "saved") -> None:
        self.programs = dict(programs)
        self.origin = origin

    def structure(self, spec: ImageSpec) -> str:  # noqa: ARG002 - there is none for any image
        """Return the reason why each size has a program of its own; see :class:`Source`."""
        return f"the programs were {self.origin} for certain sizes"

    def draws(self, spec: ImageSpec) -> tuple[Draw, ...]:  # noqa: ARG002 - the original is not known
        """Draw nothing; see :class:`Source`."""
        return ()

    def outputs(self, spec: ImageSpec) -> Outputs:
        """Look up what comes out for an image of this spec.

        Raises:
            OnelayerError: If there is no program for such images.
        """
        if spec not in self.programs:
            problem, hint = _MISSING[self.origin]
            raise OnelayerError(
                problem,
                expected=f"one of: {self}",
                hint=hint,
                shape=spec.shape,
                dtype=f"{spec.dtype} ({spec.container})",
            )
        return self.programs[spec]

    def __repr__(self) -> str:
        return "; ".join(f"{spec.shape} {spec.dtype} ({spec.container})" for spec in self.programs)
