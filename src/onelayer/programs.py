"""What a pipeline gives for one kind of image: simplified programs, derived from transforms or kept from before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from onelayer.algebra import Range, Simplified, simplify
from onelayer.errors import OnelayerError
from onelayer.frontends import DerivedOutputs, ImageSpec, RoundingMode, Transform, derive_outputs, transforms_of

_ANY_FLOAT = 1e30
"""Float images may hold any value; this stands for infinity where ranges are computed."""


@dataclass(frozen=True)
class Output:
    """One image that comes out.

    Args:
        simplified: Its program, with the rules that made it.
        after: What it is.
        rounding: Whether its program rounds as the original does, or is one in real arithmetic.
    """

    simplified: Simplified
    after: ImageSpec
    rounding: RoundingMode = "fused"


@dataclass(frozen=True)
class Outputs:
    """All that comes out for one image.

    Args:
        each: One, or several after a ``FiveCrop`` or ``TenCrop``.
        joined: ``one`` image, a ``tuple`` of them, or one tensor in which they are ``stacked``.
    """

    each: tuple[Output, ...]
    joined: Literal["one", "tuple", "stacked"]


class Source(Protocol):
    """Where a layer has its programs from."""

    def outputs(self, given: ImageSpec) -> Outputs:
        """What comes out for such an image.

        Raises:
            OnelayerError: If the source has nothing for it.
        """


class Transforms:
    """Derives programs from transforms, for images of any size.

    Args:
        transform: Torchvision transforms, nested as you like.
        rounding: ``exact`` or ``fused``; None for exact where uint8 images are given, and fused for all others.
    """

    def __init__(self, transform: Transform, rounding: RoundingMode | None = None) -> None:
        self.transform = transform
        self.rounding = rounding

    def rounding_for(self, given: ImageSpec) -> RoundingMode:
        """That of the programs for such images."""
        if self.rounding is not None:
            return self.rounding
        return "fused" if given.is_float else "exact"

    def derived(self, given: ImageSpec) -> DerivedOutputs:
        """What the transforms are, before they are simplified.

        Raises:
            UnsupportedTransformError: For a transform that cannot be derived, with its name and place.
        """
        return derive_outputs(transforms_of(self.transform), given, self.rounding_for(given))

    def outputs(self, given: ImageSpec) -> Outputs:
        """Derive and simplify.

        Raises:
            UnsupportedTransformError: For a transform that cannot be derived, with its name and place.
        """
        derived = self.derived(given)
        rounding = self.rounding_for(given)
        low, high = (-_ANY_FLOAT, _ANY_FLOAT) if given.is_float else (0.0, 255.0)
        input_range = Range.of(given.shape[0], low, high)
        each = tuple(Output(simplify(one.program, input_range), one.output_spec, rounding) for one in derived.each)
        return Outputs(each, derived.joined)

    def __repr__(self) -> str:
        return repr(self.transform)


class SavedPrograms:
    """Programs that were derived before, for images of certain sizes.

    Args:
        programs: What comes out, by what is given.
    """

    def __init__(self, programs: Mapping[ImageSpec, Outputs]) -> None:
        self.programs = dict(programs)

    def outputs(self, given: ImageSpec) -> Outputs:
        """Look it up.

        Raises:
            OnelayerError: If there is no program for such images.
        """
        if given not in self.programs:
            raise OnelayerError(
                "the layer was saved without a program for such images",
                expected=f"one of: {self}",
                hint="Save the layer again with this size among `images`.",
                shape=given.shape,
                dtype=f"{given.dtype} ({given.container})",
            )
        return self.programs[given]

    def __repr__(self) -> str:
        return "; ".join(f"{given.shape} {given.dtype} ({given.container})" for given in self.programs)
